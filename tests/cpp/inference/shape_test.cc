#include "inference/shape.h"

#include <gtest/gtest.h>

#include "support/random.h"

namespace fastserve {
namespace {

constexpr std::int64_t kHuge = std::int64_t{1} << 62;

TEST(ElementCount, IsOneForAScalarAndZeroForAnEmptyTensor) {
  EXPECT_EQ(ElementCount(Shape{}), 1);
  EXPECT_EQ(ElementCount(Shape{0}), 0);
  EXPECT_EQ(ElementCount(Shape{3, 0, 5}), 0);
}

TEST(ElementCount, IsZeroForAnEmptyTensorInWhateverOrderTheDimensionsCome) {
  EXPECT_EQ(ElementCount(Shape{0, kHuge, 4}), 0);
  EXPECT_EQ(ElementCount(Shape{kHuge, 4, 0}), 0);
}

TEST(ElementCount, RefusesOverflow) {
  EXPECT_EQ(ElementCount(Shape{kHuge, 2}), std::nullopt);
  EXPECT_EQ(ElementCount(Shape{INT64_MAX, INT64_MAX}), std::nullopt);
  EXPECT_EQ(ElementCount(Shape{1 << 16, 1 << 16, 1 << 16, 1 << 16}), std::nullopt);
  EXPECT_EQ(ElementCount(Shape{INT64_MAX, 1}), INT64_MAX);
}

TEST(ElementCount, RefusesNegativeDimensionsEvenOfEmptyTensors) {
  EXPECT_EQ(ElementCount(Shape{-1}), std::nullopt);
  EXPECT_EQ(ElementCount(Shape{-2, -3}), std::nullopt);
  EXPECT_EQ(ElementCount(Shape{0, -1}), std::nullopt);
  EXPECT_EQ(ElementCount(Shape{INT64_MIN, 2}), std::nullopt);
}

TEST(ElementCount, AgreesWithDivisionOnRandomShapes) {
  RepeatableRandom random(7);
  for (int i = 0; i < 10'000; ++i) {
    Shape shape;
    std::optional<std::int64_t> expected = 1;
    for (std::uint64_t dims = random() % 5; dims > 0; --dims) {
      const auto dim = static_cast<std::int64_t>((random() >> (1 + random() % 63)) | 1);
      shape.push_back(dim);
      expected =
          expected && *expected <= INT64_MAX / dim ? std::optional(*expected * dim) : std::nullopt;
    }
    EXPECT_EQ(ElementCount(shape), expected) << ShapeToString(shape);
  }
}

TEST(TensorByteSize, MultipliesByTheElementSize) {
  EXPECT_EQ(TensorByteSize(DataType::kFp32, Shape{2, 3}), 24u);
  EXPECT_EQ(TensorByteSize(DataType::kFp64, Shape{}), 8u);
  EXPECT_EQ(TensorByteSize(DataType::kInt8, Shape{0, 7}), 0u);
}

TEST(TensorByteSize, RefusesOverflowAndTypesWithoutASize) {
  EXPECT_EQ(TensorByteSize(DataType::kFp64, Shape{kHuge}), std::nullopt);
  EXPECT_EQ(TensorByteSize(DataType::kFp32, Shape{-1}), std::nullopt);
  EXPECT_EQ(TensorByteSize(DataType::kBytes, Shape{1}), std::nullopt);
  EXPECT_EQ(TensorByteSize(DataType::kInvalid, Shape{1}), std::nullopt);
}

TEST(ShapeToString, LooksLikeTritons) {
  EXPECT_EQ(ShapeToString(Shape{}), "[]");
  EXPECT_EQ(ShapeToString(Shape{3}), "[3]");
  EXPECT_EQ(ShapeToString(Shape{-1, 16, 0}), "[-1,16,0]");
}

}  // namespace
}  // namespace fastserve
