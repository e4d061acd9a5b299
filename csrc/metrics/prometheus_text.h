// Writes metrics in the Prometheus text format, version 0.0.4.
// Source: https://prometheus.io/docs/instrumenting/exposition_formats/
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "metrics/bucket_histogram.h"
#include "metrics/latency_histogram.h"
#include "metrics/latency_summary.h"

namespace fastserve {

// A set of labels, kept in alphabetical order and ready to print. Not thread safe.
class PrometheusLabels {
 public:
  PrometheusLabels() = default;
  PrometheusLabels(std::initializer_list<std::pair<std::string_view, std::string_view>> labels) {
    for (const auto& [name, value] : labels) Set(name, value);
  }

  // Adds a label, or replaces its value. Characters that a label name must not have become '_'.
  void Set(std::string_view name, std::string_view value);
  bool empty() const { return labels_.empty(); }
  // `model="m",version="1"`
  std::string Text() const;

 private:
  friend class PrometheusText;
  struct Label {
    std::string name;
    std::string text;  // name="escaped value"
  };
  // The printed labels that come before a label called `name`, and those after it.
  std::pair<std::string, std::string> TextAround(std::string_view name) const;

  std::vector<Label> labels_;
};

enum class MetricType : std::uint8_t { kCounter, kGauge, kHistogram, kSummary };

// One child of a family of latency histograms.
struct LabelledHistogram {
  const PrometheusLabels* labels = nullptr;
  LatencyHistogram::Snapshot snapshot;
};

// Appends to a string that the caller owns. All samples of a family follow its Family call, and a
// family is written once: the format demands it. Not thread safe.
class PrometheusText {
 public:
  explicit PrometheusText(std::string* out) : out_(*out) {}

  // Starts a family.
  void Family(std::string_view name, MetricType type, std::string_view help);

  // A sample of the current family. Integers are printed as integers.
  void Sample(const PrometheusLabels& labels, std::uint64_t value);
  void Sample(const PrometheusLabels& labels, std::int64_t value);
  void Sample(const PrometheusLabels& labels, double value);

  // Three families of counters: NAME_bucket with the label le, NAME_sum and NAME_count. They are
  // not one family of type histogram, so that Triton's counter NAME can stand beside them.
  void Histograms(std::string_view name, std::string_view help,
                  std::span<const LabelledHistogram> histograms);

  // A child of the current family, of type histogram.
  void Histogram(const PrometheusLabels& labels, const BucketHistogram::Snapshot& histogram);
  // A child of the current family, of type summary; `quantiles` as they were read.
  void Summary(const PrometheusLabels& labels, std::span<const double> quantiles,
               const LatencySummary::Snapshot& summary);

 private:
  // `suffix` is added to the family's name.
  void BeginSample(const PrometheusLabels& labels, std::string_view suffix = {});
  void Buckets(const LabelledHistogram& histogram);

  std::string& out_;
  std::string family_;
};

}  // namespace fastserve
