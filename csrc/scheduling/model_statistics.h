// What one version of a model did so far: the numbers behind the statistics extension and the
// nv_inference_* metrics. Source: Triton protocol extension_statistics.md, user guide metrics.md.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/mutex.h"
#include "inference/request.h"
#include "metrics/latency_histogram.h"
#include "scheduling/optional_latencies.h"

namespace fastserve {

struct PhaseStatistics {
  std::uint64_t count = 0;
  std::uint64_t ns = 0;
};

struct BatchStatistics {
  PhaseStatistics compute_input;
  PhaseStatistics compute_infer;
  PhaseStatistics compute_output;
};

// The responses of one index: first, second, ... of their requests to a decoupled model.
struct ResponseStatistics {
  PhaseStatistics compute_infer;   // since the response before, or the start of the execution
  PhaseStatistics compute_output;  // until it had been handed to the front end
  PhaseStatistics success;
  PhaseStatistics fail;
  PhaseStatistics empty_response;  // the end, without tensors
  PhaseStatistics cancel;
};

inline constexpr std::size_t kFailureReasonCount = 4;

struct StatisticsSnapshot {
  std::uint64_t last_inference_ms = 0;
  std::uint64_t inference_count = 0;  // rows
  std::uint64_t execution_count = 0;  // batches
  PhaseStatistics success;
  PhaseStatistics fail;
  PhaseStatistics queue;
  PhaseStatistics compute_input;
  PhaseStatistics compute_infer;
  PhaseStatistics compute_output;
  PhaseStatistics cache_hit;   // looking up and building the response
  PhaseStatistics cache_miss;  // looking up and inserting
  std::array<std::uint64_t, kFailureReasonCount> failures{};  // by FailureReason
  std::map<std::int64_t, BatchStatistics> batches;            // by batch size
  std::map<std::uint32_t, ResponseStatistics> responses;      // by index
};

// The per-phase latency histograms in microseconds (beyond Triton).
struct PhaseHistograms {
  LatencyHistogram request;
  LatencyHistogram queue;
  LatencyHistogram compute_input;
  LatencyHistogram compute_infer;
  LatencyHistogram compute_output;
};

// One executed batch: the times are shared by its requests.
struct BatchTimes {
  std::int64_t compute_start_ns = 0;
  std::int64_t compute_input_end_ns = 0;
  std::int64_t compute_output_start_ns = 0;
  std::int64_t compute_end_ns = 0;
};

// The sums over the steps of one request to an ensemble.
struct ComputeSums {
  std::int64_t input_ns = 0;
  std::int64_t infer_ns = 0;
  std::int64_t output_ns = 0;
};

// Thread safe; one short lock per batch.
class ModelStatistics {
 public:
  explicit ModelStatistics(const StatisticsOptions& options = {});

  // A batch that the backend executed, and those of its requests that it answered: they count as
  // successes if it `succeeded`.
  void RecordBatch(const std::vector<RequestPtr>& requests, std::int64_t batch_size,
                   const BatchTimes& times, bool succeeded, std::int64_t wall_ms);
  // A request to a decoupled model, after its final response: a success. What its execution took is
  // in RecordBatch, which counts none of its requests.
  void RecordDecoupled(const InferRequest& request, std::int64_t end_ns);
  // Response `index` (from 0) of a request to a decoupled model. Responses from kMaxResponseIndex
  // on are counted as that one.
  static constexpr std::uint32_t kMaxResponseIndex = 1023;
  void RecordResponse(std::uint32_t index, ResponseKind kind, std::int64_t infer_ns,
                      std::int64_t output_ns);
  // A request that an ensemble answered, as Triton counts it: one execution of its own, the compute
  // phases of its steps added up (so they may exceed the request's duration when steps run side by
  // side), the queue phase its wait before the first step. Without the latter and the success when
  // the ensemble is decoupled: RecordDecoupled adds them.
  void RecordEnsemble(const InferRequest& request, const ComputeSums& sums, std::int64_t end_ns,
                      std::int64_t wall_ms);
  void RecordFailure(FailureReason reason, std::int64_t duration_ns);
  // A request answered from the response cache: a success that waited, but was not executed.
  struct CacheHitTimes {
    std::int64_t request_ns = 0;
    std::int64_t queue_ns = 0;
    std::int64_t lookup_ns = 0;
  };
  void RecordCacheHit(const CacheHitTimes& times, std::int64_t now_ns);
  // What the response cache added to a request that was executed.
  void RecordCacheMiss(std::int64_t lookup_and_insert_ns, std::int64_t now_ns);

  StatisticsSnapshot Snapshot() const;
  const PhaseHistograms& histograms() const { return histograms_; }
  // Empty where they are off.
  LatencySummary::Snapshot ReadSummary(SummaryPhase phase, std::span<const double> quantiles,
                                       std::int64_t now_ns) const;
  std::optional<BucketHistogram::Snapshot> ReadFirstResponse() const;

 private:
  void ObserveBatchLocked(const std::vector<RequestPtr>& requests, const BatchTimes& times)
      REQUIRES(mutex_);

  mutable Mutex mutex_;
  // Null: nothing of it was asked for.
  const std::unique_ptr<OptionalLatencies> optional_ PT_GUARDED_BY(mutex_);
  StatisticsSnapshot numbers_ GUARDED_BY(mutex_);
  PhaseHistograms histograms_;  // atomic inside
};

}  // namespace fastserve
