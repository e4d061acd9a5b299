#include "metrics/prometheus_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>

namespace fastserve {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

TEST(PrometheusLabels, AreAlphabeticalWhateverTheOrderTheyWereSetIn) {
  PrometheusLabels labels{{"version", "1"}, {"model", "m"}};
  labels.Set("_team", "a");
  EXPECT_EQ(labels.Text(), R"(_team="a",model="m",version="1")");
}

TEST(PrometheusLabels, ReplaceTheValueOfANameThatIsSetAgain) {
  PrometheusLabels labels{{"model", "m"}};
  labels.Set("model", "n");
  EXPECT_EQ(labels.Text(), R"(model="n")");
}

TEST(PrometheusLabels, EscapeValuesAndMakeNamesValid) {
  PrometheusLabels labels;
  labels.Set("my tag-1", "quote \" slash \\ line\n");
  labels.Set("9", "x");
  EXPECT_EQ(labels.Text(), "_9=\"x\",my_tag_1=\"quote \\\" slash \\\\ line\\n\"");
}

TEST(PrometheusText, WritesAFamilyWithItsSamples) {
  std::string page;
  PrometheusText text(&page);
  const PrometheusLabels labels{{"model", "m"}, {"version", "1"}};
  text.Family("nv_inference_count", MetricType::kCounter, "Rows\nwith \\ and \"");
  text.Sample(labels, std::uint64_t{UINT64_MAX});
  text.Sample(PrometheusLabels(), std::int64_t{-3});
  EXPECT_EQ(page,
            "# HELP nv_inference_count Rows\\nwith \\\\ and \"\n"
            "# TYPE nv_inference_count counter\n"
            "nv_inference_count{model=\"m\",version=\"1\"} 18446744073709551615\n"
            "nv_inference_count -3\n");
}

TEST(PrometheusText, PrintsEveryDoubleAsPrometheusReadsIt) {
  std::string page;
  PrometheusText text(&page);
  text.Family("g", MetricType::kGauge, "h");
  page.clear();
  const double infinity = std::numeric_limits<double>::infinity();
  for (const double value : {0.0, 0.1, -2.5, infinity, -infinity, std::nan("")}) {
    text.Sample(PrometheusLabels(), value);
  }
  EXPECT_EQ(page, "g 0\ng 0.1\ng -2.5\ng +Inf\ng -Inf\ng NaN\n");
}

std::string HistogramPage(const PrometheusLabels& labels) {
  LatencyHistogram histogram;
  histogram.Record(15);
  histogram.Record(70'000'000);
  const LabelledHistogram child{&labels, histogram.TakeSnapshot()};
  std::string page;
  PrometheusText(&page).Histograms("d_us", "Latency", std::span(&child, 1));
  return page;
}

TEST(PrometheusText, WritesAHistogramAsThreeFamiliesOfCounters) {
  const std::string page = HistogramPage({{"model", "m"}});
  EXPECT_THAT(page, StartsWith("# HELP d_us_bucket Latency\n# TYPE d_us_bucket counter\n"
                               "d_us_bucket{le=\"10\",model=\"m\"} 0\n"
                               "d_us_bucket{le=\"20\",model=\"m\"} 1\n"));
  EXPECT_THAT(page, HasSubstr("d_us_bucket{le=\"60000000\",model=\"m\"} 1\n"
                              "d_us_bucket{le=\"+Inf\",model=\"m\"} 2\n"
                              "# HELP d_us_sum Latency\n# TYPE d_us_sum counter\n"
                              "d_us_sum{model=\"m\"} 70000015\n"
                              "# HELP d_us_count Latency\n# TYPE d_us_count counter\n"
                              "d_us_count{model=\"m\"} 2\n"));
  EXPECT_EQ(page.find("# TYPE d_us "), std::string::npos);
}

TEST(PrometheusText, PutsTheBoundOfABucketInAlphabeticalPlace) {
  EXPECT_THAT(HistogramPage({{"_tag", "t"}, {"model", "m"}}),
              HasSubstr("d_us_bucket{_tag=\"t\",le=\"10\",model=\"m\"} 0\n"));
  EXPECT_THAT(HistogramPage({}), HasSubstr("d_us_bucket{le=\"10\"} 0\n"));
  EXPECT_THAT(HistogramPage({{"a", "1"}}), HasSubstr("d_us_bucket{a=\"1\",le=\"10\"} 0\n"));
}

TEST(PrometheusText, WritesAHistogramOfOneFamily) {
  BucketHistogram histogram({0.5, 100});
  histogram.Record(0.25);
  histogram.Record(200.5);
  std::string page;
  PrometheusText text(&page);
  text.Family("d_ms", MetricType::kHistogram, "Latency");
  text.Histogram({{"model", "m"}}, histogram.Read());
  EXPECT_EQ(page,
            "# HELP d_ms Latency\n# TYPE d_ms histogram\n"
            "d_ms_bucket{le=\"0.5\",model=\"m\"} 1\n"
            "d_ms_bucket{le=\"100\",model=\"m\"} 1\n"
            "d_ms_bucket{le=\"+Inf\",model=\"m\"} 2\n"
            "d_ms_sum{model=\"m\"} 200.75\n"
            "d_ms_count{model=\"m\"} 2\n");
}

std::string SummaryPage(const PrometheusLabels& labels, bool recorded) {
  constexpr double kQuantiles[] = {0.5, 0.999};
  LatencySummary summary;
  if (recorded) summary.Record(100, 2, 0);
  std::string page;
  PrometheusText text(&page);
  text.Family("s_us", MetricType::kSummary, "Latency");
  text.Summary(labels, kQuantiles, summary.Read(kQuantiles, 0));
  return page;
}

TEST(PrometheusText, WritesASummaryWithItsQuantiles) {
  EXPECT_EQ(SummaryPage({{"model", "m"}, {"version", "1"}}, true),
            "# HELP s_us Latency\n# TYPE s_us summary\n"
            "s_us{model=\"m\",quantile=\"0.5\",version=\"1\"} 100\n"
            "s_us{model=\"m\",quantile=\"0.999\",version=\"1\"} 100\n"
            "s_us_sum{model=\"m\",version=\"1\"} 200\n"
            "s_us_count{model=\"m\",version=\"1\"} 2\n");
  EXPECT_THAT(SummaryPage({}, false), HasSubstr("s_us{quantile=\"0.5\"} NaN\n"));
}

// promtool reads the page. It exits with 1 when it cannot, with 3 when it only dislikes the names
// (Triton's counters have no _total), which are not ours to choose.
TEST(PrometheusText, IsAcceptedByPromtool) {
  // NOLINTNEXTLINE(bugprone-command-processor): a fixed command
  if (std::system("promtool --version >/dev/null 2>&1") != 0) GTEST_SKIP() << "no promtool";
  std::string page;
  PrometheusText text(&page);
  PrometheusLabels labels{{"model", "a\"b\\c\nd"}, {"version", "1"}};
  labels.Set("my tag", "ü");
  text.Family("nv_inference_request_duration_us", MetricType::kCounter, "Cumulative \\ \n time");
  text.Sample(labels, std::uint64_t{5});
  text.Family("nv_model_load_duration_secs", MetricType::kGauge, "Load time");
  text.Sample(labels, 0.25);
  page += HistogramPage(labels);
  page += SummaryPage(labels, false);
  text.Family("d_ms", MetricType::kHistogram, "Latency");
  text.Histogram(labels, BucketHistogram({0.5, 100}).Read());
  const std::filesystem::path file =
      std::filesystem::path(testing::TempDir()) / "prometheus_text_test.txt";
  std::ofstream(file, std::ios::binary) << page;
  // NOLINTNEXTLINE(bugprone-command-processor): a path of the test itself
  const int status = std::system(("promtool check metrics <" + file.string() + " >&2").c_str());
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_NE(WEXITSTATUS(status), 1) << page;
}

}  // namespace
}  // namespace fastserve
