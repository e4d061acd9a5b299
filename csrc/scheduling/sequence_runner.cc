#include "scheduling/sequence_runner.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "concurrency/delivery_scope.h"
#include "scheduling/batch_assembler.h"
#include "scheduling/executed_request.h"
#include "scheduling/sequence_batcher.h"

namespace fastserve {

void SequenceRunner::Run(SequenceRows rows) {
  rows_ = std::move(rows);
  // The last response may drop the last reference to the model.
  const std::shared_ptr<SequenceBatcher> keep = batcher_.shared_from_this();
  times_ = {};
  times_.compute_start_ns = batcher_.clock_.NowNs();
  for (Sequence* row : rows_) {
    if (row == nullptr) continue;
    if (row->running->sequence_start) row->states.clear();
    // A decoupled model may answer before the execution is over; one turn of several counts.
    if (batcher_.spec_->decoupled && row->running->timestamps.compute_start == 0)
      row->running->timestamps.compute_start = times_.compute_start_ns;
  }
  const Status status = batcher_.assembler_.Assemble(rows_, &execution_);
  times_.compute_input_end_ns = batcher_.clock_.NowNs();
  if (!status.ok()) {
    OnExecuted(&execution_, status);
    return;
  }
  instance_.Execute(&execution_, this);
}

void SequenceRunner::OnExecuted(Execution* /*execution*/, Status status) {
  // As in Run, from which an asynchronous instance has returned.
  const std::shared_ptr<SequenceBatcher> keep = batcher_.shared_from_this();
  times_.compute_output_start_ns = batcher_.clock_.NowNs();
  if (status.ok()) status = TakeOutputs();
  Finish(status);
}

Status SequenceRunner::TakeOutputs() {
  if (std::ranges::count(execution_.rescheduled, true) != 0 &&
      !batcher_.spec_->sequence_batching.iterative) {
    return Status::Internal("the backend reschedules requests of model '" + batcher_.spec_->name +
                            "', whose configuration does not say iterative_sequence: true");
  }
  if (batcher_.spec_->decoupled) return Status::Ok();  // its backend answers, and it has no states
  std::vector<RowStates> states;
  FASTSERVE_RETURN_IF_ERROR(batcher_.states_->Take(rows_, &execution_, &states));
  if (instance_.takes_requests()) {
    responses_ = std::exchange(execution_.responses, {});
  } else {
    FASTSERVE_RETURN_IF_ERROR(SplitBatch(*batcher_.spec_, &execution_, &responses_));
  }
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    if (rows_[i] != nullptr) rows_[i]->states = std::move(states[i]);
  }
  return Status::Ok();
}

void SequenceRunner::Finish(const Status& status) {
  times_.compute_end_ns = batcher_.clock_.NowNs();
  if (!status.ok()) execution_.rescheduled.clear();
  Record(status.ok());
  // Ends after the sequences are given back: this thread then has time for the receivers' work.
  DeliveryScope delivery;
  status.ok() ? RespondAll() : FailAll(status);
  const std::vector<bool> rescheduled = std::exchange(execution_.rescheduled, {});
  execution_.inputs.clear();
  execution_.outputs.clear();
  execution_.requests.clear();
  responses_.clear();
  batcher_.FinishBatch(index_, std::exchange(rows_, {}), rescheduled);
  delivery.set_may_linger(batcher_.pending_requests() == 0);
}

void SequenceRunner::Record(bool succeeded) {
  std::vector<RequestPtr> completed;
  std::int64_t batch_size = 0;
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    if (rows_[i] == nullptr) continue;
    ++batch_size;
    // Those of a decoupled model count when they end.
    if (Rescheduled(i) || batcher_.spec_->decoupled) continue;
    if (succeeded) FailIfAbandoned(*rows_[i]->running, &responses_[i]);
    if (!succeeded || responses_[i].status.ok()) completed.push_back(rows_[i]->running);
  }
  batcher_.statistics_->RecordBatch(completed, batch_size, times_, succeeded,
                                    batcher_.clock_.WallMs());
}

void SequenceRunner::RespondAll() {
  if (batcher_.spec_->decoupled) return;
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    if (rows_[i] == nullptr || Rescheduled(i)) continue;
    CompleteExecuted(rows_[i]->running.get(), times_, std::move(responses_[i]));
  }
}

void SequenceRunner::FailAll(const Status& status) {
  for (const Sequence* row : rows_) {
    // The backend of a decoupled model may have answered already.
    if (row != nullptr && !row->running->completed())
      row->running->Fail(status, FailureReason::kBackend);
  }
}

}  // namespace fastserve
