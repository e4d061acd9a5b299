#include "scheduling/model_statistics.h"

#include <algorithm>
#include <tuple>

#include "base/clock.h"

namespace fastserve {

namespace {

void Add(PhaseStatistics* phase, std::uint64_t count, std::int64_t ns) {
  phase->count += count;
  phase->ns += static_cast<std::uint64_t>(ns > 0 ? ns : 0);
}

void Record(LatencyHistogram* histogram, std::int64_t ns, std::uint64_t times = 1) {
  histogram->Record(static_cast<std::uint64_t>(ns > 0 ? ns / kNsPerUs : 0), times);
}

}  // namespace

ModelStatistics::ModelStatistics(const StatisticsOptions& options)
    : optional_(options.summaries || !options.first_response_buckets_ms.empty()
                    ? std::make_unique<OptionalLatencies>(options)
                    : nullptr) {}

void ModelStatistics::RecordBatch(const std::vector<RequestPtr>& requests, std::int64_t batch_size,
                                  const BatchTimes& times, bool succeeded, std::int64_t wall_ms) {
  const std::int64_t input_ns = times.compute_input_end_ns - times.compute_start_ns;
  const std::int64_t infer_ns = times.compute_output_start_ns - times.compute_input_end_ns;
  const std::int64_t output_ns = times.compute_end_ns - times.compute_output_start_ns;
  std::int64_t queue_ns = 0;
  std::int64_t request_ns = 0;
  for (const RequestPtr& request : requests) {
    const std::int64_t queued = times.compute_start_ns - request->timestamps.queue_start;
    const std::int64_t whole = times.compute_end_ns - request->timestamps.request_start;
    queue_ns += queued;
    request_ns += whole;
    if (!succeeded) continue;
    Record(&histograms_.queue, queued);
    Record(&histograms_.request, whole);
  }
  if (succeeded) {
    Record(&histograms_.compute_input, input_ns, requests.size());
    Record(&histograms_.compute_infer, infer_ns, requests.size());
    Record(&histograms_.compute_output, output_ns, requests.size());
  }
  const auto count = static_cast<std::int64_t>(requests.size());

  const MutexLock lock(mutex_);
  numbers_.last_inference_ms = static_cast<std::uint64_t>(wall_ms);
  ++numbers_.execution_count;
  BatchStatistics& batch = numbers_.batches[batch_size];
  Add(&batch.compute_input, 1, input_ns);
  Add(&batch.compute_infer, 1, infer_ns);
  Add(&batch.compute_output, 1, output_ns);
  if (!succeeded) return;
  numbers_.inference_count += static_cast<std::uint64_t>(batch_size);
  Add(&numbers_.success, requests.size(), request_ns);
  Add(&numbers_.queue, requests.size(), queue_ns);
  Add(&numbers_.compute_input, requests.size(), input_ns * count);
  Add(&numbers_.compute_infer, requests.size(), infer_ns * count);
  Add(&numbers_.compute_output, requests.size(), output_ns * count);
  if (optional_ != nullptr) ObserveBatchLocked(requests, times);
}

void ModelStatistics::ObserveBatchLocked(const std::vector<RequestPtr>& requests,
                                         const BatchTimes& times) {
  const std::int64_t now_ns = times.compute_end_ns;
  for (const RequestPtr& request : requests) {
    const std::int64_t request_ns = now_ns - request->timestamps.request_start;
    optional_->RecordFirstResponse(request_ns);
    optional_->Record(SummaryPhase::kRequest, request_ns, now_ns);
    optional_->Record(SummaryPhase::kQueue,
                      times.compute_start_ns - request->timestamps.queue_start, now_ns);
  }
  const std::size_t count = requests.size();
  optional_->Record(SummaryPhase::kComputeInput,
                    times.compute_input_end_ns - times.compute_start_ns, now_ns, count);
  optional_->Record(SummaryPhase::kComputeInfer,
                    times.compute_output_start_ns - times.compute_input_end_ns, now_ns, count);
  optional_->Record(SummaryPhase::kComputeOutput,
                    times.compute_end_ns - times.compute_output_start_ns, now_ns, count);
}

void ModelStatistics::RecordDecoupled(const InferRequest& request, std::int64_t end_ns) {
  const RequestTimestamps& times = request.timestamps;
  const std::int64_t queue_ns = times.compute_start - times.queue_start;
  const std::int64_t request_ns = end_ns - times.request_start;
  Record(&histograms_.queue, queue_ns);
  Record(&histograms_.request, request_ns);

  const MutexLock lock(mutex_);
  Add(&numbers_.success, 1, request_ns);
  Add(&numbers_.queue, 1, queue_ns);
  if (optional_ == nullptr) return;
  // Without any response: when it ended.
  const std::int64_t first_ns = times.first_response == 0 ? end_ns : times.first_response;
  optional_->RecordFirstResponse(first_ns - times.request_start);
  optional_->Record(SummaryPhase::kRequest, request_ns, end_ns);
  optional_->Record(SummaryPhase::kQueue, queue_ns, end_ns);
}

void ModelStatistics::RecordResponse(std::uint32_t index, ResponseKind kind, std::int64_t infer_ns,
                                     std::int64_t output_ns) {
  const MutexLock lock(mutex_);
  ResponseStatistics& response = numbers_.responses[std::min(index, kMaxResponseIndex)];
  switch (kind) {
    case ResponseKind::kEmpty:
      return Add(&response.empty_response, 1, infer_ns + output_ns);
    case ResponseKind::kCancel:
      return Add(&response.cancel, 1, infer_ns + output_ns);
    case ResponseKind::kSuccess:
      Add(&response.success, 1, infer_ns + output_ns);
      break;
    case ResponseKind::kFail:
      Add(&response.fail, 1, infer_ns + output_ns);
      break;
  }
  Add(&response.compute_infer, 1, infer_ns);
  Add(&response.compute_output, 1, output_ns);
}

void ModelStatistics::RecordEnsemble(const InferRequest& request, const ComputeSums& sums,
                                     std::int64_t end_ns, std::int64_t wall_ms) {
  const RequestTimestamps& times = request.timestamps;
  const std::int64_t queue_ns = times.compute_start - times.queue_start;
  const std::int64_t request_ns = end_ns - times.request_start;
  const bool whole = !request.spec->decoupled;
  if (whole) Record(&histograms_.queue, queue_ns);
  if (whole) Record(&histograms_.request, request_ns);
  Record(&histograms_.compute_input, sums.input_ns);
  Record(&histograms_.compute_infer, sums.infer_ns);
  Record(&histograms_.compute_output, sums.output_ns);

  const MutexLock lock(mutex_);
  numbers_.last_inference_ms = static_cast<std::uint64_t>(wall_ms);
  ++numbers_.execution_count;
  numbers_.inference_count += static_cast<std::uint64_t>(request.batch_size);
  if (whole) Add(&numbers_.success, 1, request_ns);
  if (whole) Add(&numbers_.queue, 1, queue_ns);
  BatchStatistics& batch = numbers_.batches[request.batch_size];
  for (const auto& [total, of_batch, ns] :
       {std::tuple{&numbers_.compute_input, &batch.compute_input, sums.input_ns},
        std::tuple{&numbers_.compute_infer, &batch.compute_infer, sums.infer_ns},
        std::tuple{&numbers_.compute_output, &batch.compute_output, sums.output_ns}}) {
    Add(total, 1, ns);
    Add(of_batch, 1, ns);
  }
  if (optional_ == nullptr) return;
  if (whole) {
    optional_->RecordFirstResponse(request_ns);
    optional_->Record(SummaryPhase::kRequest, request_ns, end_ns);
    optional_->Record(SummaryPhase::kQueue, queue_ns, end_ns);
  }
  optional_->Record(SummaryPhase::kComputeInput, sums.input_ns, end_ns);
  optional_->Record(SummaryPhase::kComputeInfer, sums.infer_ns, end_ns);
  optional_->Record(SummaryPhase::kComputeOutput, sums.output_ns, end_ns);
}

void ModelStatistics::RecordFailure(FailureReason reason, std::int64_t duration_ns) {
  const MutexLock lock(mutex_);
  Add(&numbers_.fail, 1, duration_ns);
  ++numbers_.failures[static_cast<std::size_t>(reason)];
}

void ModelStatistics::RecordCacheHit(const CacheHitTimes& times, std::int64_t now_ns) {
  Record(&histograms_.request, times.request_ns);
  Record(&histograms_.queue, times.queue_ns);
  const MutexLock lock(mutex_);
  Add(&numbers_.success, 1, times.request_ns);
  Add(&numbers_.queue, 1, times.queue_ns);
  Add(&numbers_.cache_hit, 1, times.lookup_ns);
  if (optional_ == nullptr) return;
  optional_->RecordFirstResponse(times.request_ns);
  optional_->Record(SummaryPhase::kRequest, times.request_ns, now_ns);
  optional_->Record(SummaryPhase::kQueue, times.queue_ns, now_ns);
  optional_->Record(SummaryPhase::kCacheHit, times.lookup_ns, now_ns);
}

void ModelStatistics::RecordCacheMiss(std::int64_t lookup_and_insert_ns, std::int64_t now_ns) {
  const MutexLock lock(mutex_);
  Add(&numbers_.cache_miss, 1, lookup_and_insert_ns);
  if (optional_ != nullptr)
    optional_->Record(SummaryPhase::kCacheMiss, lookup_and_insert_ns, now_ns);
}

LatencySummary::Snapshot ModelStatistics::ReadSummary(SummaryPhase phase,
                                                      std::span<const double> quantiles,
                                                      std::int64_t now_ns) const {
  const MutexLock lock(mutex_);
  return optional_ == nullptr ? LatencySummary::Snapshot{}
                              : optional_->ReadSummary(phase, quantiles, now_ns);
}

std::optional<BucketHistogram::Snapshot> ModelStatistics::ReadFirstResponse() const {
  const MutexLock lock(mutex_);
  return optional_ == nullptr ? std::nullopt : optional_->ReadFirstResponse();
}

StatisticsSnapshot ModelStatistics::Snapshot() const {
  const MutexLock lock(mutex_);
  return numbers_;
}

}  // namespace fastserve
