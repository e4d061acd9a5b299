#include "scheduling/batch_slot.h"

#include <algorithm>
#include <utility>

#include "concurrency/delivery_scope.h"
#include "scheduling/batch_assembler.h"
#include "scheduling/dynamic_batcher.h"
#include "scheduling/executed_request.h"

namespace fastserve {

namespace {

// Completes every request of a batch; `status` not OK fails them all.
void SendResponses(const std::vector<RequestPtr>& requests, const BatchTimes& times,
                   const Status& status, std::vector<InferResponse>* responses) {
  for (std::size_t i = 0; i < requests.size(); ++i) {
    InferRequest& request = *requests[i];
    if (!status.ok()) {
      request.Fail(status, FailureReason::kBackend);
      continue;
    }
    CompleteExecuted(&request, times, std::move((*responses)[i]));
  }
}

bool AnswersItsRequest(const InferResponse& response) { return response.status.ok(); }

}  // namespace

void BatchSlot::Run(bool lent) {
  lent_ = lent;
  // The last response may drop the last reference to the model.
  const std::shared_ptr<DynamicBatcher> keep = batcher_.shared_from_this();
  times_ = {};
  times_.compute_start_ns = batcher_.clock_.NowNs();
  Status status;
  if (instance_.takes_requests()) {
    CountRows(&execution_);
    for (const RequestPtr& request : execution_.requests)
      request->timestamps.compute_start = times_.compute_start_ns;
  } else {
    status = AssembleBatch(*batcher_.spec_, &execution_);
  }
  times_.compute_input_end_ns = batcher_.clock_.NowNs();
  if (!status.ok()) {
    OnExecuted(&execution_, status);
    return;
  }
  instance_.Execute(&execution_, this);
}

void BatchSlot::OnExecuted(Execution* execution, Status status) {
  // As in Run, from which an asynchronous instance has returned.
  const std::shared_ptr<DynamicBatcher> keep = batcher_.shared_from_this();
  times_.compute_output_start_ns = batcher_.clock_.NowNs();
  batcher_.RecordCost(times_.compute_output_start_ns - times_.compute_start_ns);
  if (instance_.takes_requests()) {
    responses_ = std::exchange(execution->responses, {});
    if (status.ok()) status = CheckResponseCount();
  } else if (status.ok()) {
    status = SplitBatch(*batcher_.spec_, execution, &responses_);
  }
  Finish(status);
}

Status BatchSlot::CheckResponseCount() const {
  const std::size_t expected = batcher_.spec_->decoupled ? 0 : execution_.requests.size();
  if (responses_.size() == expected) return Status::Ok();
  return Status::Internal("model '" + batcher_.spec_->name + "': the backend returned " +
                          std::to_string(responses_.size()) + " responses, expected " +
                          std::to_string(expected));
}

void BatchSlot::Finish(const Status& status) {
  times_.compute_end_ns = batcher_.clock_.NowNs();
  Record(status.ok());
  // Ends after the slot is given back: this thread then has time for the receivers' work.
  DeliveryScope delivery;
  Respond(status);
  const DynamicBatcher::BatchRun run{
      execution_.batch_size, status.ok() ? times_.compute_end_ns - times_.compute_start_ns : 0,
      times_.compute_end_ns, lent_};
  execution_.inputs.clear();
  execution_.outputs.clear();
  execution_.requests.clear();
  responses_.clear();
  // Another thread may have the slot as soon as it is released.
  batcher_.ReleaseSlot(this, run);
  // First: the instances run on while this thread delivers.
  batcher_.RunOnInstances();
  delivery.set_may_linger(!run.lent && batcher_.pending_requests() == 0);
}

void BatchSlot::Record(bool succeeded) {
  const std::vector<RequestPtr>* counted = &execution_.requests;
  std::vector<RequestPtr> answered;
  if (batcher_.spec_->decoupled) {
    counted = &answered;  // each counts when it ends
  } else if (succeeded) {
    for (std::size_t i = 0; i < responses_.size(); ++i)
      FailIfAbandoned(*execution_.requests[i], &responses_[i]);
    if (!std::ranges::all_of(responses_, AnswersItsRequest)) {
      for (std::size_t i = 0; i < responses_.size(); ++i) {
        if (AnswersItsRequest(responses_[i])) answered.push_back(execution_.requests[i]);
      }
      counted = &answered;
    }
  }
  batcher_.statistics_->RecordBatch(*counted, execution_.batch_size, times_, succeeded,
                                    batcher_.clock_.WallMs());
}

void BatchSlot::Respond(const Status& status) {
  if (batcher_.spec_->decoupled) {  // its backend does, unless it failed
    for (const RequestPtr& request : execution_.requests) {
      if (!status.ok() && !request->completed()) request->Fail(status, FailureReason::kBackend);
    }
    return;
  }
  if (batcher_.order_ == nullptr) {
    SendResponses(execution_.requests, times_, status, &responses_);
    return;
  }
  batcher_.order_->Finish(ticket_, [requests = std::move(execution_.requests), times = times_,
                                    status, responses = std::move(responses_)]() mutable {
    SendResponses(requests, times, status, &responses);
  });
}

}  // namespace fastserve
