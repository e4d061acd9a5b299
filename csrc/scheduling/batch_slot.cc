#include "scheduling/batch_slot.h"

#include <utility>

#include "concurrency/delivery_scope.h"
#include "scheduling/batch_assembler.h"
#include "scheduling/dynamic_batcher.h"

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
    request.timestamps.compute_start = times.compute_start_ns;
    request.timestamps.compute_input_end = times.compute_input_end_ns;
    request.timestamps.compute_output_start = times.compute_output_start_ns;
    request.timestamps.compute_end = times.compute_end_ns;
    InferResponse& response = (*responses)[i];
    if (!response.status.ok()) {
      request.Fail(response.status, FailureReason::kOther);
    } else {
      request.Respond(std::move(response), /*final=*/true);
    }
  }
}

}  // namespace

void BatchSlot::Run(bool lent) {
  lent_ = lent;
  // The last response may drop the last reference to the model.
  const std::shared_ptr<DynamicBatcher> keep = batcher_.shared_from_this();
  times_ = {};
  times_.compute_start_ns = batcher_.clock_.NowNs();
  const Status status = AssembleBatch(*batcher_.spec_, &execution_);
  times_.compute_input_end_ns = batcher_.clock_.NowNs();
  if (!status.ok()) {
    OnExecuted(&execution_, status);
    return;
  }
  instance_.Execute(&execution_, this);
}

void BatchSlot::OnExecuted(Execution* execution, Status status) {
  times_.compute_output_start_ns = batcher_.clock_.NowNs();
  batcher_.RecordCost(times_.compute_output_start_ns - times_.compute_start_ns);
  if (status.ok()) status = SplitBatch(*batcher_.spec_, execution, &responses_);
  Finish(status);
}

void BatchSlot::Finish(const Status& status) {
  times_.compute_end_ns = batcher_.clock_.NowNs();
  batcher_.statistics_->RecordBatch(execution_.requests, execution_.batch_size, times_, status.ok(),
                                    batcher_.clock_.WallMs());
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
  delivery.set_may_linger(!run.lent && batcher_.pending_requests() == 0);
}

void BatchSlot::Respond(const Status& status) {
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
