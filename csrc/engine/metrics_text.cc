#include "engine/metrics_text.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/clock.h"
#include "memory/buffer.h"
#include "metrics/prometheus_text.h"

namespace fastserve {

namespace {

constexpr std::size_t kUsualBytesPerModel = 12'000;

// In the order of FailureReason; Triton's spelling.
constexpr const char* kFailureReasons[kFailureReasonCount] = {"REJECTED", "CANCELED", "BACKEND",
                                                              "OTHER"};

std::uint64_t ToUs(std::uint64_t ns) { return ns / static_cast<std::uint64_t>(kNsPerUs); }

// What one scrape says of one version, read once.
struct Row {
  PrometheusLabels labels;
  StatisticsSnapshot numbers;
  const LoadedModel* model = nullptr;
};

std::vector<Row> ReadRows(const std::vector<std::shared_ptr<LoadedModel>>& models) {
  std::vector<Row> rows;
  rows.reserve(models.size());
  for (const auto& model : models) {
    Row& row = rows.emplace_back();
    const ModelSpec& spec = *model->spec();
    for (const auto& [tag, value] : spec.metric_tags) row.labels.Set("_" + tag, value);
    row.labels.Set("model", spec.name);
    row.labels.Set("version", std::to_string(spec.version));
    row.numbers = model->statistics().Snapshot();
    row.model = model.get();
  }
  return rows;
}

using CounterOf = std::uint64_t (*)(const StatisticsSnapshot&);

struct Counter {
  const char* name;
  const char* help;
  CounterOf value;
};

constexpr Counter kCounters[] = {
    {"nv_inference_request_success", "Number of successful inference requests, all batch sizes",
     [](const StatisticsSnapshot& n) { return n.success.count; }},
    {"nv_inference_count", "Number of inferences performed (does not include cached requests)",
     [](const StatisticsSnapshot& n) { return n.inference_count; }},
    {"nv_inference_exec_count",
     "Number of model executions performed (does not include cached requests)",
     [](const StatisticsSnapshot& n) { return n.execution_count; }},
};

constexpr Counter kDurations[] = {
    {"nv_inference_request_duration_us", "Cumulative inference request duration in microseconds",
     [](const StatisticsSnapshot& n) { return ToUs(n.success.ns); }},
    {"nv_inference_queue_duration_us", "Cumulative inference queuing duration in microseconds",
     [](const StatisticsSnapshot& n) { return ToUs(n.queue.ns); }},
    {"nv_inference_compute_input_duration_us", "Cumulative compute input duration in microseconds",
     [](const StatisticsSnapshot& n) { return ToUs(n.compute_input.ns); }},
    {"nv_inference_compute_infer_duration_us",
     "Cumulative compute inference duration in microseconds",
     [](const StatisticsSnapshot& n) { return ToUs(n.compute_infer.ns); }},
    {"nv_inference_compute_output_duration_us",
     "Cumulative compute output duration in microseconds",
     [](const StatisticsSnapshot& n) { return ToUs(n.compute_output.ns); }},
};

// Only of models whose responses are cached.
constexpr Counter kCacheCounters[] = {
    {"nv_cache_num_hits_per_model", "Number of cache hits per model",
     [](const StatisticsSnapshot& n) { return n.cache_hit.count; }},
    {"nv_cache_num_misses_per_model", "Number of cache misses per model",
     [](const StatisticsSnapshot& n) { return n.cache_miss.count; }},
};

constexpr Counter kCacheDurations[] = {
    {"nv_cache_hit_duration_per_model", "Total cache hit duration per model, in microseconds",
     [](const StatisticsSnapshot& n) { return ToUs(n.cache_hit.ns); }},
    {"nv_cache_miss_duration_per_model", "Total cache miss duration per model, in microseconds",
     [](const StatisticsSnapshot& n) { return ToUs(n.cache_miss.ns); }},
};

using HistogramOf = const LatencyHistogram& (*)(const PhaseHistograms&);

constexpr std::pair<const char*, HistogramOf> kHistograms[] = {
    {"nv_inference_request_duration_us",
     [](const PhaseHistograms& h) -> const LatencyHistogram& { return h.request; }},
    {"nv_inference_queue_duration_us",
     [](const PhaseHistograms& h) -> const LatencyHistogram& { return h.queue; }},
    {"nv_inference_compute_input_duration_us",
     [](const PhaseHistograms& h) -> const LatencyHistogram& { return h.compute_input; }},
    {"nv_inference_compute_infer_duration_us",
     [](const PhaseHistograms& h) -> const LatencyHistogram& { return h.compute_infer; }},
    {"nv_inference_compute_output_duration_us",
     [](const PhaseHistograms& h) -> const LatencyHistogram& { return h.compute_output; }},
};

void WriteCounter(const Counter& counter, const std::vector<Row>& rows, PrometheusText* text) {
  text->Family(counter.name, MetricType::kCounter, counter.help);
  for (const Row& row : rows) text->Sample(row.labels, counter.value(row.numbers));
}

void WriteCache(const std::vector<Row>& rows, const MetricsOptions& options, PrometheusText* text) {
  if (options.cache_bytes) {
    text->Family("nv_fastserve_response_cache_bytes", MetricType::kGauge,
                 "Memory that the entries of the response cache take in this process");
    text->Sample({}, *options.cache_bytes);
  }
  std::vector<Row> cached;
  std::ranges::copy_if(rows, std::back_inserter(cached),
                       [](const Row& row) { return row.model->caches_responses(); });
  if (cached.empty()) return;
  for (const Counter& counter : kCacheCounters) WriteCounter(counter, cached, text);
  if (!options.counter_latencies) return;
  for (const Counter& counter : kCacheDurations) WriteCounter(counter, cached, text);
}

void WriteFailures(const std::vector<Row>& rows, PrometheusText* text) {
  text->Family("nv_inference_request_failure", MetricType::kCounter,
               "Number of failed inference requests, all batch sizes");
  for (const Row& row : rows) {
    for (std::size_t reason = 0; reason < kFailureReasonCount; ++reason) {
      PrometheusLabels labels = row.labels;
      labels.Set("reason", kFailureReasons[reason]);
      text->Sample(labels, row.numbers.failures[reason]);
    }
  }
}

void WriteGauges(const std::vector<Row>& rows, PrometheusText* text) {
  text->Family("nv_inference_pending_request_count", MetricType::kGauge,
               "Instantaneous number of pending requests awaiting execution per-model.");
  for (const Row& row : rows) text->Sample(row.labels, row.model->pending_requests());
  text->Family("nv_model_load_duration_secs", MetricType::kGauge, "Model load time in seconds");
  for (const Row& row : rows) text->Sample(row.labels, row.model->load_seconds());
}

// Only of models that run in worker processes.
void WriteWorkers(const std::vector<Row>& rows, PrometheusText* text) {
  struct Family {
    const char* name;
    const char* help;
    std::uint64_t WorkerCounts::* value;
  };
  constexpr Family kFamilies[] = {
      {"nv_fastserve_worker_deaths_total",
       "Number of worker processes that ended without being asked to", &WorkerCounts::deaths},
      {"nv_fastserve_worker_restarts_total",
       "Number of worker processes started again, after a death or to recycle",
       &WorkerCounts::restarts},
  };
  for (const Family& family : kFamilies) {
    bool started = false;
    for (const Row& row : rows) {
      const std::optional<WorkerCounts> counts = row.model->worker_counts();
      if (!counts) continue;
      if (!started) text->Family(family.name, MetricType::kCounter, family.help);
      started = true;
      text->Sample(row.labels, *counts.*family.value);
    }
  }
}

void WriteHistograms(const std::vector<Row>& rows, PrometheusText* text) {
  std::vector<LabelledHistogram> histograms;
  for (const auto& [name, histogram_of] : kHistograms) {
    histograms.clear();
    for (const Row& row : rows) {
      const PhaseHistograms& phases = row.model->statistics().histograms();
      histograms.push_back({&row.labels, histogram_of(phases).TakeSnapshot()});
    }
    text->Histograms(name, "Distribution of the duration in microseconds", histograms);
  }
}

void WriteFirstResponses(const std::vector<Row>& rows, PrometheusText* text) {
  bool started = false;
  for (const Row& row : rows) {
    const auto snapshot = row.model->statistics().ReadFirstResponse();
    if (!snapshot) continue;
    if (!started) {
      text->Family("nv_inference_first_response_histogram_ms", MetricType::kHistogram,
                   "Duration from request to first response in milliseconds");
    }
    started = true;
    text->Histogram(row.labels, *snapshot);
  }
}

struct SummaryFamily {
  const char* name;
  const char* help;
  SummaryPhase phase;
};

constexpr SummaryFamily kSummaries[] = {
    {"nv_inference_request_summary_us", "Summary of inference request duration in microseconds",
     SummaryPhase::kRequest},
    {"nv_inference_queue_summary_us", "Summary of inference queuing duration in microseconds",
     SummaryPhase::kQueue},
    {"nv_inference_compute_input_summary_us", "Summary of compute input duration in microseconds",
     SummaryPhase::kComputeInput},
    {"nv_inference_compute_infer_summary_us",
     "Summary of compute inference duration in microseconds", SummaryPhase::kComputeInfer},
    {"nv_inference_compute_output_summary_us", "Summary of compute output duration in microseconds",
     SummaryPhase::kComputeOutput},
    {"nv_cache_hit_summary_per_model", "Summary of cache hit duration in microseconds",
     SummaryPhase::kCacheHit},
    {"nv_cache_miss_summary_per_model", "Summary of cache miss duration in microseconds",
     SummaryPhase::kCacheMiss},
};

// As in Triton, requests to a model with a cache have no summary of the whole: hits and misses are
// too unlike.
bool HasSummary(const LoadedModel& model, SummaryPhase phase) {
  const bool of_cache = phase == SummaryPhase::kCacheHit || phase == SummaryPhase::kCacheMiss;
  if (model.caches_responses()) return phase != SummaryPhase::kRequest;
  return !of_cache;
}

void WriteSummaries(const std::vector<Row>& rows, const MetricsOptions& options,
                    PrometheusText* text) {
  for (const SummaryFamily& family : kSummaries) {
    bool started = false;
    for (const Row& row : rows) {
      if (!HasSummary(*row.model, family.phase)) continue;
      if (!started) text->Family(family.name, MetricType::kSummary, family.help);
      started = true;
      text->Summary(row.labels, options.summary_quantiles,
                    row.model->statistics().ReadSummary(family.phase, options.summary_quantiles,
                                                        options.now_ns));
    }
  }
}

}  // namespace

std::string MetricsToText(const std::vector<std::shared_ptr<LoadedModel>>& models,
                          const MetricsOptions& options) {
  std::string out;
  // Growing a page of megabytes by doubling costs more (page faults, copies) than writing it.
  out.reserve((models.size() + 1) * kUsualBytesPerModel);
  PrometheusText text(&out);
  const std::vector<Row> rows = ReadRows(models);
  for (const Counter& counter : kCounters) WriteCounter(counter, rows, &text);
  WriteFailures(rows, &text);
  if (options.counter_latencies) {
    for (const Counter& counter : kDurations) WriteCounter(counter, rows, &text);
  }
  WriteCache(rows, options, &text);
  WriteGauges(rows, &text);
  WriteWorkers(rows, &text);
  WriteHistograms(rows, &text);
  WriteFirstResponses(rows, &text);
  if (!options.summary_quantiles.empty()) WriteSummaries(rows, options, &text);
  text.Family("nv_fastserve_copied_bytes_total", MetricType::kCounter,
              "Tensor bytes copied in user space between receiving a request and executing it");
  text.Sample({}, CopiedBytes());
  return out;
}

}  // namespace fastserve
