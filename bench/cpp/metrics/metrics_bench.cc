// What one recorded latency costs, and one scrape of a server with a thousand models.
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "metrics/latency_histogram.h"
#include "metrics/prometheus_text.h"

namespace fastserve {
namespace {

void BM_HistogramRecord(benchmark::State& state) {
  static LatencyHistogram histogram;
  std::uint64_t us = 1;
  for (auto _ : state) {
    histogram.Record(us);
    us = us * 7 % 1'000'003;
  }
}
BENCHMARK(BM_HistogramRecord)->Threads(1)->Threads(2);

// Ten plain families and five histograms for each of 1,000 models.
void BM_PrometheusTextOf1000Models(benchmark::State& state) {
  constexpr int kModels = 1000;
  constexpr int kPlainFamilies = 10;
  constexpr int kHistograms = 5;
  LatencyHistogram latency;
  for (std::uint64_t us = 1; us < 100'000'000; us = us * 3 / 2 + 1) latency.Record(us);
  std::vector<PrometheusLabels> labels;
  for (int i = 0; i < kModels; ++i) {
    labels.push_back({{"model", "some_model_" + std::to_string(i)}, {"version", "1"}});
  }
  for (auto _ : state) {
    std::string page;
    page.reserve(12'000 * kModels);  // as the engine does
    PrometheusText text(&page);
    for (int family = 0; family < kPlainFamilies; ++family) {
      text.Family("nv_inference_family_" + std::to_string(family), MetricType::kCounter, "Help");
      for (const PrometheusLabels& model : labels) text.Sample(model, std::uint64_t{1234567});
    }
    for (int i = 0; i < kHistograms; ++i) {
      std::vector<LabelledHistogram> children;
      for (const PrometheusLabels& model : labels) {
        children.push_back({&model, latency.TakeSnapshot()});
      }
      text.Histograms("nv_inference_duration_" + std::to_string(i) + "_us", "Help", children);
    }
    benchmark::DoNotOptimize(page.data());
    state.counters["bytes"] = static_cast<double>(page.size());
  }
}
BENCHMARK(BM_PrometheusTextOf1000Models)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace fastserve
