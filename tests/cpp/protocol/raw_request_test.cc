#include "protocol/raw_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>

namespace fastserve {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

ModelSpec Spec(DataType type, Shape dims, int max_batch_size) {
  ModelSpec spec;
  spec.name = "m";
  spec.max_batch_size = max_batch_size;
  spec.inputs.resize(1);
  spec.inputs[0].name = "x";
  spec.inputs[0].type = type;
  spec.inputs[0].dims = std::move(dims);
  return spec;
}

BufferView Bytes(const std::string& text) {
  BufferView body(AllocateHostBuffer(text.size()));
  std::memcpy(body.data, text.data(), text.size());
  return body;
}

TEST(RawRequest, TheVariableDimensionFollowsFromTheSize) {
  InferRequest request;
  const BufferView body = Bytes(std::string(48, '\0'));
  ASSERT_TRUE(ParseRawRequest(body, Spec(DataType::kFp32, {3, -1, 2}, 8), &request).ok());
  ASSERT_EQ(request.inputs.size(), 1U);
  EXPECT_EQ(request.inputs[0].name, "x");
  EXPECT_THAT(request.inputs[0].shape, ElementsAre(1, 3, 2, 2));
  EXPECT_EQ(request.inputs[0].data.data, body.data) << "a view, no copy";
  EXPECT_TRUE(request.binary_data_output);
}

TEST(RawRequest, AFixedShapeIsTakenAsItIs) {
  InferRequest request;
  // Validation, not this function, finds that 5 bytes are no [2] of INT32.
  ASSERT_TRUE(ParseRawRequest(Bytes("12345"), Spec(DataType::kInt32, {2}, 0), &request).ok());
  EXPECT_THAT(request.inputs[0].shape, ElementsAre(2));
}

TEST(RawRequest, ABytesInputIsOneElement) {
  InferRequest request;
  ASSERT_TRUE(ParseRawRequest(Bytes("hello"), Spec(DataType::kBytes, {-1}, 4), &request).ok());
  EXPECT_THAT(request.inputs[0].shape, ElementsAre(1, 1));
  const BufferView& data = request.inputs[0].data;
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(data.data), data.size),
            std::string("\5\0\0\0hello", 9));
}

std::string ErrorOf(const ModelSpec& spec, std::size_t bytes) {
  InferRequest request;
  const Status status = ParseRawRequest(Bytes(std::string(bytes, 'x')), spec, &request);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  return status.message();
}

TEST(RawRequest, ShapesThatDoNotFollowAreRefused) {
  EXPECT_THAT(ErrorOf(Spec(DataType::kFp32, {-1, -1}, 0), 8),
              HasSubstr("[-1,-1] has several variable dimensions"));
  EXPECT_THAT(ErrorOf(Spec(DataType::kFp32, {-1, 3}, 0), 16),
              HasSubstr("16 bytes do not fill [-1,3]"));
  EXPECT_THAT(ErrorOf(Spec(DataType::kFp32, {-1, 0}, 0), 16), HasSubstr("do not fill [-1,0]"));
  EXPECT_THAT(ErrorOf(Spec(DataType::kFp32, {-1, std::int64_t{1} << 62}, 0), 16),
              HasSubstr("do not fill"));
}

TEST(RawRequest, ModelsWithSeveralInputsAreRefused) {
  ModelSpec spec = Spec(DataType::kFp32, {-1}, 0);
  spec.inputs.push_back(spec.inputs[0]);
  EXPECT_EQ(ErrorOf(spec, 4),
            "raw request must only have 1 input to be deduced but model 'm' has 2");
}

}  // namespace
}  // namespace fastserve
