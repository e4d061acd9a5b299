#include "scheduling/executed_request.h"

#include <utility>

namespace fastserve {

void FailIfAbandoned(const InferRequest& request, InferResponse* response) {
  if (request.abandoned() && response->status.ok())
    response->status = Status::Cancelled("request cancelled while it was executed");
}

void CompleteExecuted(InferRequest* request, const BatchTimes& times, InferResponse response) {
  request->timestamps.compute_start = times.compute_start_ns;
  request->timestamps.compute_input_end = times.compute_input_end_ns;
  request->timestamps.compute_output_start = times.compute_output_start_ns;
  request->timestamps.compute_end = times.compute_end_ns;
  if (response.status.ok()) return request->Respond(std::move(response), /*final=*/true);
  const bool cancelled = response.status.code() == StatusCode::kCancelled;
  request->Fail(std::move(response.status),
                cancelled ? FailureReason::kCanceled : FailureReason::kOther);
}

}  // namespace fastserve
