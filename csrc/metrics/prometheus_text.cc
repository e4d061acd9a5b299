#include "metrics/prometheus_text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <utility>

namespace fastserve {

namespace {

constexpr std::size_t kMostDigits = 20;  // of a std::uint64_t

char* Put(std::string_view text, char* cursor) { return cursor + text.copy(cursor, text.size()); }

template <typename Number>
void AppendNumber(Number value, std::string* out) {
  std::array<char, 32> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  out->append(digits.data(), static_cast<std::size_t>(end - digits.data()));
}

template <typename Number>
void AppendLine(Number value, std::string* out) {
  AppendNumber(value, out);
  *out += '\n';
}

void AppendDouble(double value, std::string* out) {
  if (std::isnan(value)) {
    *out += "NaN";
  } else if (std::isinf(value)) {
    *out += value > 0 ? "+Inf" : "-Inf";
  } else {
    AppendNumber(value, out);
  }
}

const char* TypeLineEnd(MetricType type) {
  switch (type) {
    case MetricType::kCounter:
      return " counter\n";
    case MetricType::kGauge:
      return " gauge\n";
    case MetricType::kHistogram:
      return " histogram\n";
    default:
      return " summary\n";
  }
}

// `labels` with a bound or a quantile.
PrometheusLabels WithNumber(PrometheusLabels labels, std::string_view name, double value) {
  std::string text;
  AppendDouble(value, &text);
  labels.Set(name, text);
  return labels;
}

// Label values escape three characters, help texts all but the quote.
void AppendEscaped(std::string_view text, bool escape_quote, std::string* out) {
  for (const char c : text) {
    if (c == '\n') {
      out->append("\\n");
    } else if (c == '\\' || (escape_quote && c == '"')) {
      out->append(1, '\\').append(1, c);
    } else {
      out->append(1, c);
    }
  }
}

// A valid label name: letters, digits and '_', not starting with a digit.
std::string LabelName(std::string_view name) {
  const auto is_letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  };
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  std::string valid(name);
  for (char& c : valid) {
    if (!is_letter(c) && !is_digit(c)) c = '_';
  }
  if (valid.empty() || is_digit(valid[0])) valid.insert(0, 1, '_');
  return valid;
}

}  // namespace

void PrometheusLabels::Set(std::string_view name, std::string_view value) {
  Label label{LabelName(name), {}};
  label.text = label.name + "=\"";
  AppendEscaped(value, /*escape_quote=*/true, &label.text);
  label.text += '"';
  const auto place = std::ranges::lower_bound(labels_, label.name, {}, &Label::name);
  if (place != labels_.end() && place->name == label.name) {
    *place = std::move(label);
  } else {
    labels_.insert(place, std::move(label));
  }
}

std::string PrometheusLabels::Text() const { return TextAround({}).second; }

std::pair<std::string, std::string> PrometheusLabels::TextAround(std::string_view name) const {
  std::pair<std::string, std::string> around;
  for (const Label& label : labels_) {
    std::string& text = label.name < name ? around.first : around.second;
    if (!text.empty()) text += ',';
    text += label.text;
  }
  return around;
}

void PrometheusText::Family(std::string_view name, MetricType type, std::string_view help) {
  family_ = name;
  out_.append("# HELP ").append(name).append(1, ' ');
  AppendEscaped(help, /*escape_quote=*/false, &out_);
  out_.append("\n# TYPE ").append(name);
  out_.append(TypeLineEnd(type));
}

void PrometheusText::Sample(const PrometheusLabels& labels, std::uint64_t value) {
  BeginSample(labels);
  AppendLine(value, &out_);
}

void PrometheusText::Sample(const PrometheusLabels& labels, std::int64_t value) {
  BeginSample(labels);
  AppendLine(value, &out_);
}

void PrometheusText::Sample(const PrometheusLabels& labels, double value) {
  BeginSample(labels);
  AppendDouble(value, &out_);
  out_ += '\n';
}

void PrometheusText::Histograms(std::string_view name, std::string_view help,
                                std::span<const LabelledHistogram> histograms) {
  const std::string base(name);
  Family(base + "_bucket", MetricType::kCounter, help);
  for (const LabelledHistogram& histogram : histograms) Buckets(histogram);
  Family(base + "_sum", MetricType::kCounter, help);
  for (const LabelledHistogram& histogram : histograms) {
    Sample(*histogram.labels, histogram.snapshot.sum_us);
  }
  Family(base + "_count", MetricType::kCounter, help);
  for (const LabelledHistogram& histogram : histograms) {
    Sample(*histogram.labels, histogram.snapshot.count());
  }
}

void PrometheusText::Histogram(const PrometheusLabels& labels,
                               const BucketHistogram::Snapshot& histogram) {
  for (std::size_t i = 0; i < histogram.cumulative.size(); ++i) {
    const double bound =
        i < histogram.bounds.size() ? histogram.bounds[i] : std::numeric_limits<double>::infinity();
    BeginSample(WithNumber(labels, "le", bound), "_bucket");
    AppendLine(histogram.cumulative[i], &out_);
  }
  BeginSample(labels, "_sum");
  AppendDouble(histogram.sum, &out_);
  out_ += '\n';
  BeginSample(labels, "_count");
  AppendLine(histogram.cumulative.back(), &out_);
}

void PrometheusText::Summary(const PrometheusLabels& labels, std::span<const double> quantiles,
                             const LatencySummary::Snapshot& summary) {
  for (std::size_t i = 0; i < summary.values.size(); ++i)
    Sample(WithNumber(labels, "quantile", quantiles[i]), summary.values[i]);
  BeginSample(labels, "_sum");
  AppendLine(summary.sum_us, &out_);
  BeginSample(labels, "_count");
  AppendLine(summary.count, &out_);
}

void PrometheusText::BeginSample(const PrometheusLabels& labels, std::string_view suffix) {
  out_.append(family_).append(suffix);
  if (labels.empty()) {
    out_ += ' ';
    return;
  }
  char separator = '{';
  for (const PrometheusLabels::Label& label : labels.labels_) {
    out_.append(1, separator).append(label.text);
    separator = ',';
  }
  out_ += "} ";
}

void PrometheusText::Buckets(const LabelledHistogram& histogram) {
  const auto [before, after] = histogram.labels->TextAround("le");
  std::string prefix = family_ + "{";
  if (!before.empty()) prefix.append(before).append(1, ',');
  prefix += "le=\"";
  std::string suffix = "\"";
  if (!after.empty()) suffix.append(1, ',').append(after);
  suffix += "} ";
  // Room for all lines at once, and one cursor: a page has a hundred thousand of these lines.
  const std::size_t longest_line = prefix.size() + suffix.size() + 2 * kMostDigits + 1;
  const std::size_t start = out_.size();
  out_.resize(start + histogram.snapshot.cumulative.size() * longest_line);
  char* cursor = out_.data() + start;
  for (std::size_t i = 0; i < histogram.snapshot.cumulative.size(); ++i) {
    cursor = Put(prefix, cursor);
    if (i < LatencyHistogram::kBoundsUs.size()) {
      cursor = std::to_chars(cursor, cursor + kMostDigits, LatencyHistogram::kBoundsUs[i]).ptr;
    } else {
      cursor = Put("+Inf", cursor);
    }
    cursor = Put(suffix, cursor);
    cursor = std::to_chars(cursor, cursor + kMostDigits, histogram.snapshot.cumulative[i]).ptr;
    *cursor++ = '\n';
  }
  out_.resize(static_cast<std::size_t>(cursor - out_.data()));
}

}  // namespace fastserve
