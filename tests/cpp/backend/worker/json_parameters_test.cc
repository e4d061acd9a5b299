#include "backend/worker/json_parameters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

namespace fastserve {
namespace {

using ::testing::HasSubstr;

std::string Refusal(std::string_view text) {
  const Result<Parameters> parsed = ParseParameters(text);
  return parsed.ok() ? "" : parsed.status().message();
}

TEST(JsonParameters, KeepTheirKinds) {
  const auto parsed = ParseParameters(
      R"({"text":"\u00e9\u0000!","yes":true,"small":-3,"large":18446744073709551615,)"
      R"("least":-9223372036854775808,"half":0.5,"nan":NaN,"small":4})");
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  EXPECT_EQ(parsed->size(), 7U);
  EXPECT_EQ(parsed->at("text"), Parameter(std::string("\xc3\xa9\0!", 4)));
  EXPECT_EQ(parsed->at("yes"), Parameter(true));
  EXPECT_EQ(parsed->at("small"), Parameter(std::int64_t{4})) << "the last one holds";
  EXPECT_EQ(parsed->at("large"), Parameter(std::numeric_limits<std::uint64_t>::max()));
  EXPECT_EQ(parsed->at("least"), Parameter(std::numeric_limits<std::int64_t>::min()));
  EXPECT_EQ(parsed->at("half"), Parameter(0.5));
  EXPECT_TRUE(std::isnan(std::get<double>(parsed->at("nan"))));
}

TEST(JsonParameters, NothingIsAnEmptyObject) {
  EXPECT_TRUE(ParseParameters("")->empty());
  EXPECT_TRUE(ParseParameters("{}")->empty());
}

TEST(JsonParameters, NameWhatTheyCannotHold) {
  EXPECT_THAT(Refusal(R"({"a":1,"b":[1]})"),
              HasSubstr("'b' is no number, string or boolean: an a"));
  EXPECT_THAT(Refusal(R"({"b":{"c":1}})"), HasSubstr("'b' is no number, string or boolean: an o"));
  EXPECT_THAT(Refusal(R"({"b":null})"), HasSubstr("'b' is no number, string or boolean: null"));
  EXPECT_THAT(Refusal("[1]"), HasSubstr("expected a JSON object, got an array"));
  EXPECT_THAT(Refusal("1"), HasSubstr("expected a JSON object, got a value"));
  EXPECT_THAT(Refusal(R"({"a":1}x)"), HasSubstr("no JSON object, at byte 7"));
  EXPECT_THAT(Refusal(R"({"a":1)"), HasSubstr("no JSON object"));
}

TEST(JsonParameters, DeepNestingEndsAtItsFirstLevel) {
  std::string text = R"({"a":)";
  text.append(1'000'000, '[');
  EXPECT_THAT(Refusal(text), HasSubstr("'a' is no number"));
}

}  // namespace
}  // namespace fastserve
