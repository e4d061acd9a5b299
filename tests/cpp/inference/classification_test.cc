#include "inference/classification.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "support/random.h"

namespace fastserve {
namespace {

using testing::ElementsAre;

template <typename T>
Tensor MakeTensor(DataType type, const Shape& shape, const std::vector<T>& values) {
  const BufferPtr buffer = AllocateHostBuffer(values.size() * sizeof(T));
  std::ranges::copy(std::as_bytes(std::span(values)), buffer->data());
  return {"y", type, shape, BufferView(buffer)};
}

Tensor Floats(const Shape& shape, const std::vector<float>& values) {
  return MakeTensor(DataType::kFp32, shape, values);
}

std::vector<std::string> Classes(const Tensor& tensor) {
  std::vector<std::string_view> elements;
  const std::int64_t count = ElementCount(tensor.shape).value();
  EXPECT_TRUE(ParseBytesElements("y", {tensor.data.data, tensor.data.size}, count, &elements).ok());
  return {elements.begin(), elements.end()};
}

TEST(Classify, WritesValueIndexAndLabelBestFirst) {
  const auto result = Classify(Floats({1, 3}, {0.25F, 2.0F, -1.0F}), 2, true, {"cat", "dog"});
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->name, "y");
  EXPECT_EQ(result->type, DataType::kBytes);
  EXPECT_EQ(ShapeToString(result->shape), "[1,2]");
  EXPECT_THAT(Classes(*result), ElementsAre("2.000000:1:dog", "0.250000:0:cat"));
}

TEST(Classify, LeavesOutLabelsThatAreMissingOrEmpty) {
  const auto result = Classify(Floats({3}, {3, 2, 1}), 3, false, {"a", ""});
  ASSERT_TRUE(result.ok());
  EXPECT_THAT(Classes(*result), ElementsAre("3.000000:0:a", "2.000000:1", "1.000000:2"));
}

TEST(Classify, RanksEachRowOfABatchByItself) {
  const auto result = Classify(Floats({2, 2}, {1, 2, 4, 3}), 1, true, {});
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(ShapeToString(result->shape), "[2,1]");
  EXPECT_THAT(Classes(*result), ElementsAre("2.000000:1", "4.000000:0"));
}

TEST(Classify, TakesAllElementsTogetherWithoutBatching) {
  const auto result = Classify(Floats({2, 2}, {1, 2, 4, 3}), 3, false, {});
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(ShapeToString(result->shape), "[3]");
  EXPECT_THAT(Classes(*result), ElementsAre("4.000000:2", "3.000000:3", "2.000000:1"));
}

TEST(Classify, GivesNoMoreClassesThanElementsHoweverManyAreAskedFor) {
  const auto result = Classify(Floats({1, 2}, {1, 2}), UINT32_MAX, true, {});
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(ShapeToString(result->shape), "[1,2]");
  EXPECT_EQ(Classes(*result).size(), 2u);
}

TEST(Classify, PutsNotANumberLastAndEqualValuesInTheirOrder) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  const auto result = Classify(Floats({6}, {nan, 1, infinity, 1, nan, -infinity}), 6, false, {});
  ASSERT_TRUE(result.ok());
  EXPECT_THAT(Classes(*result),
              ElementsAre("inf:2", "1.000000:1", "1.000000:3", "-inf:5", "nan:0", "nan:4"));
}

TEST(Classify, AcceptsEmptyTensorsOfAnyShape) {
  const std::int64_t huge = std::int64_t{1} << 40;
  for (const Shape& shape : {Shape{0}, Shape{0, huge}, Shape{huge, 0}}) {
    const auto result = Classify(Floats(shape, {}), 5, true, {});
    ASSERT_TRUE(result.ok()) << ShapeToString(shape);
    EXPECT_EQ(result->data.size, 0u);
    EXPECT_EQ(ElementCount(result->shape), 0) << ShapeToString(result->shape);
  }
}

TEST(Classify, ClassifiesAScalar) {
  const auto result = Classify(Floats({}, {5}), 2, true, {});
  ASSERT_TRUE(result.ok());
  EXPECT_THAT(Classes(*result), ElementsAre("5.000000:0"));
}

TEST(Classify, PrintsIntegersAsIntegersOfTheirOwnSign) {
  const auto unsigned_result =
      Classify(MakeTensor<std::uint64_t>(DataType::kUint64, {2}, {UINT64_MAX, 1}), 1, false, {});
  ASSERT_TRUE(unsigned_result.ok());
  EXPECT_THAT(Classes(*unsigned_result), ElementsAre("18446744073709551615:0"));
  const auto signed_result =
      Classify(MakeTensor<std::int8_t>(DataType::kInt8, {3}, {-5, -1, -128}), 3, false, {});
  ASSERT_TRUE(signed_result.ok());
  EXPECT_THAT(Classes(*signed_result), ElementsAre("-1:1", "-5:0", "-128:2"));
}

TEST(Classify, RefusesTypesThatTritonDoesNotRank) {
  for (const DataType type :
       {DataType::kBool, DataType::kBytes, DataType::kFp16, DataType::kBf16}) {
    Tensor tensor = MakeTensor<std::uint16_t>(type, {1}, {1});
    tensor.data.size = DataTypeByteSize(type);
    const auto result = Classify(tensor, 1, false, {});
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.status().code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(result.status().message(),
              "class result not available for output due to unsupported type '" +
                  std::string(DataTypeName(type)) + "'");
  }
}

TEST(Classify, RefusesATensorWhoseBytesDoNotFitItsShape) {
  EXPECT_EQ(Classify(Floats({3}, {1, 2}), 1, false, {}).status().code(), StatusCode::kInternal);
  EXPECT_EQ(Classify(Floats({-1}, {1}), 1, false, {}).status().code(), StatusCode::kInternal);
}

TEST(Classify, AgreesWithASortOnRandomTensors) {
  RepeatableRandom random(5);
  for (int i = 0; i < 300; ++i) {
    std::vector<std::int32_t> values(1 + random() % 40);
    for (std::int32_t& value : values) value = static_cast<std::int32_t>(random.Below(10)) - 5;
    std::vector<std::size_t> order(values.size());
    for (std::size_t j = 0; j < order.size(); ++j) order[j] = j;
    std::ranges::sort(order, [&](std::size_t left, std::size_t right) {
      return std::pair(-values[left], left) < std::pair(-values[right], right);
    });
    const auto count = static_cast<std::uint32_t>(1 + random() % values.size());
    const auto result =
        Classify(MakeTensor(DataType::kInt32, {static_cast<std::int64_t>(values.size())}, values),
                 count, false, {});
    ASSERT_TRUE(result.ok());
    const std::vector<std::string> classes = Classes(*result);
    ASSERT_EQ(classes.size(), count);
    for (std::size_t j = 0; j < count; ++j) {
      EXPECT_EQ(classes[j], std::to_string(values[order[j]]) + ":" + std::to_string(order[j]));
    }
  }
}

}  // namespace
}  // namespace fastserve
