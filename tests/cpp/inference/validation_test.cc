#include "inference/validation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

namespace fastserve {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

// A model 'm' with inputs 'a' FP32 [-1,2] and optional 'b' BYTES [1], output 'y'; batches up to 8.
ModelSpec BatchingSpec() {
  ModelSpec spec;
  spec.name = "m";
  spec.max_batch_size = 8;
  spec.inputs.resize(2);
  spec.inputs[0].name = "a";
  spec.inputs[0].type = DataType::kFp32;
  spec.inputs[0].dims = {-1, 2};
  spec.inputs[1].name = "b";
  spec.inputs[1].type = DataType::kBytes;
  spec.inputs[1].dims = {1};
  spec.inputs[1].optional = true;
  spec.outputs.resize(1);
  spec.outputs[0].name = "y";
  return spec;
}

Tensor MakeInput(const std::string& name, DataType type, const Shape& shape, std::size_t bytes) {
  Tensor tensor{name, type, shape, {}};
  // Sizes beyond memory are claimed, not allocated: a validator reads only what it checked.
  if (bytes < 1 << 20) tensor.data = BufferView(AllocateHostBuffer(bytes));
  tensor.data.size = bytes;
  return tensor;
}

Tensor MakeStrings(const std::string& name, const Shape& shape, const std::string& serialized) {
  Tensor tensor = MakeInput(name, DataType::kBytes, shape, serialized.size());
  serialized.copy(reinterpret_cast<char*>(tensor.data.data), serialized.size());
  return tensor;
}

class ValidateRequestTest : public testing::Test {
 protected:
  // The error's message; empty when the request is valid.
  std::string Validate() {
    request_.spec = std::make_shared<ModelSpec>(spec_);
    const Status status = ValidateRequest(&request_);
    EXPECT_TRUE(status.ok() || status.code() == StatusCode::kInvalidArgument);
    return status.message();
  }
  // What batch inputs of `type` say of input 'a'.
  void CountElements(DataType type) {
    spec_.batch_inputs = {{"count", BatchInputKind::kElementCount, type, "a"}};
  }
  void UseInput(Tensor tensor) {
    request_.inputs.clear();
    request_.inputs.push_back(std::move(tensor));
  }

  ModelSpec spec_ = BatchingSpec();
  InferRequest request_;
};

TEST_F(ValidateRequestTest, FillsBatchSizeAndBytesOfAValidRequest) {
  request_.inputs.push_back(MakeInput("a", DataType::kFp32, {3, 4, 2}, 96));
  request_.inputs.push_back(
      MakeStrings("b", {3, 1}, std::string("\1\0\0\0x\0\0\0\0\2\0\0\0yy", 15)));
  request_.outputs.push_back({"y", 0, false});
  EXPECT_EQ(Validate(), "");
  EXPECT_EQ(request_.batch_size, 3);
  EXPECT_EQ(request_.input_bytes, 111u);
}

TEST_F(ValidateRequestTest, PutsInputsIntoTheSpecificationsOrder) {
  request_.inputs.push_back(MakeStrings("b", {1, 1}, std::string("\0\0\0\0", 4)));
  request_.inputs.push_back(MakeInput("a", DataType::kFp32, {1, 1, 2}, 8));
  EXPECT_EQ(Validate(), "");
  EXPECT_EQ(request_.inputs[0].name, "a");
  EXPECT_EQ(request_.inputs[1].name, "b");
}

TEST_F(ValidateRequestTest, HasBatchSizeOneWhenTheModelDoesNotBatch) {
  spec_.max_batch_size = 0;
  UseInput(MakeInput("a", DataType::kFp32, {5, 2}, 40));
  EXPECT_EQ(Validate(), "");
  EXPECT_EQ(request_.batch_size, 1);
}

TEST_F(ValidateRequestTest, AcceptsScalarsAndEmptyTensors) {
  UseInput(MakeInput("a", DataType::kFp32, {1, 0, 2}, 0));
  EXPECT_EQ(Validate(), "");
  spec_.max_batch_size = 0;
  spec_.inputs[0].dims = {};
  UseInput(MakeInput("a", DataType::kFp32, {}, 4));
  EXPECT_EQ(Validate(), "");
}

TEST_F(ValidateRequestTest, NamesTheInputsThatAreMissing) {
  request_.id = "r1";
  EXPECT_EQ(Validate(),
            "[request id: r1] expected number of inputs between 1 and 2 but got 0 inputs for model "
            "'m'. Got input(s) [], but missing required input(s) ['a']. Please provide all "
            "required input(s).");
  spec_.inputs[1].optional = false;
  UseInput(MakeInput("b", DataType::kBytes, {1, 1}, 4));
  EXPECT_EQ(Validate(),
            "[request id: r1] expected 2 inputs but got 1 inputs for model 'm'. Got input(s) "
            "['b'], but missing required input(s) ['a']. Please provide all required input(s).");
}

TEST_F(ValidateRequestTest, WantsTheRequiredInputEvenWhenTheNumberFits) {
  UseInput(MakeInput("b", DataType::kBytes, {1, 1}, 4));
  EXPECT_THAT(Validate(), HasSubstr("missing required input(s) ['a']"));
}

TEST_F(ValidateRequestTest, SaysThatTheIdIsUnknown) {
  EXPECT_THAT(Validate(), StartsWith("[request id: <id_unknown>] expected"));
}

TEST_F(ValidateRequestTest, RefusesInputsAndOutputsThatTheModelDoesNotHave) {
  UseInput(MakeInput("z", DataType::kFp32, {1, 1, 2}, 8));
  EXPECT_EQ(Validate(), "unexpected inference input 'z' for model 'm'");
  request_.outputs.push_back({"q", 0, false});
  EXPECT_EQ(Validate(), "unexpected inference output 'q' for model 'm'");
}

TEST_F(ValidateRequestTest, RefusesTheSameNameTwice) {
  const Tensor input = MakeInput("a", DataType::kFp32, {1, 1, 2}, 8);
  request_.inputs = {input, input};
  EXPECT_EQ(Validate(), "input 'a' already exists in request");
  request_.inputs = {input};
  request_.outputs = {{"y", 0, false}, {"y", 2, false}};
  EXPECT_EQ(Validate(), "output 'y' already exists in request");
}

TEST_F(ValidateRequestTest, RefusesAHundredThousandNamesQuicklyAndBriefly) {
  for (int i = 0; i < 100'000; ++i) request_.inputs.push_back({std::to_string(i), {}, {}, {}});
  const auto start = std::chrono::steady_clock::now();
  EXPECT_LT(Validate().size(), 1000u);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

TEST_F(ValidateRequestTest, ComparesTheDataType) {
  UseInput(MakeInput("a", DataType::kInt32, {1, 1, 2}, 8));
  EXPECT_EQ(Validate(),
            "[request id: <id_unknown>] inference input 'a' data-type is 'INT32', but model 'm' "
            "expects 'FP32'");
}

TEST_F(ValidateRequestTest, ExplainsAWrongShape) {
  UseInput(MakeInput("a", DataType::kFp32, {1, 1, 3}, 12));
  EXPECT_THAT(Validate(),
              StartsWith("[request id: <id_unknown>] unexpected shape for input 'a' for model 'm'. "
                         "Expected [-1,-1,2], got [1,1,3]. NOTE: Setting a non-zero max_batch_size "
                         "in the model config requires a batch dimension to be prepended"));
  UseInput(MakeInput("a", DataType::kFp32, {1, 2}, 8));
  EXPECT_THAT(Validate(), HasSubstr("Expected [-1,-1,2], got [1,2]."));
  spec_.max_batch_size = 0;
  UseInput(MakeInput("a", DataType::kFp32, {1, 3}, 12));
  EXPECT_EQ(Validate(),
            "[request id: <id_unknown>] unexpected shape for input 'a' for model 'm'. Expected "
            "[-1,2], got [1,3].");
}

TEST_F(ValidateRequestTest, LimitsTheBatchSizeOnBothSides) {
  UseInput(MakeInput("a", DataType::kFp32, {9, 1, 2}, 72));
  EXPECT_THAT(Validate(), HasSubstr("inference request batch-size must be <= 8 for 'm'"));
  UseInput(MakeInput("a", DataType::kFp32, {0, 1, 2}, 0));
  EXPECT_THAT(Validate(), HasSubstr("inference request batch-size must be >= 1 for 'm'"));
  UseInput(MakeInput("a", DataType::kFp32, {INT64_MAX, 1, 2}, 0));
  EXPECT_THAT(Validate(), HasSubstr("inference request batch-size must be <= 8 for 'm'"));
}

TEST_F(ValidateRequestTest, WantsOneBatchSizeInAllInputs) {
  request_.inputs.push_back(MakeInput("a", DataType::kFp32, {2, 1, 2}, 16));
  request_.inputs.push_back(MakeStrings("b", {1, 1}, std::string(4, '\0')));
  EXPECT_THAT(Validate(), HasSubstr("input 'b' batch size does not match other inputs for 'm'"));
  UseInput(MakeInput("a", DataType::kFp32, {}, 4));
  EXPECT_THAT(Validate(),
              HasSubstr("input 'a' has no shape but model requires batch dimension for 'm'"));
}

TEST_F(ValidateRequestTest, RefusesNegativeDimensions) {
  for (const Shape& shape : {Shape{1, -1, 2}, Shape{-1, 1, 2}, Shape{1, INT64_MIN, 2}}) {
    UseInput(MakeInput("a", DataType::kFp32, shape, 8));
    EXPECT_THAT(Validate(), HasSubstr("All input dimensions should be specified for input 'a' for "
                                      "model 'm', got " +
                                      ShapeToString(shape)));
  }
}

TEST_F(ValidateRequestTest, ComparesTheByteSizeWithTheShape) {
  for (const std::size_t bytes : {0u, 15u, 17u, 64u}) {
    UseInput(MakeInput("a", DataType::kFp32, {1, 2, 2}, bytes));
    EXPECT_EQ(Validate(),
              "[request id: <id_unknown>] input byte size mismatch for input 'a' for model 'm'. "
              "Expected 16, got " +
                  std::to_string(bytes));
  }
}

// Products that wrap around to a size that would fit.
TEST_F(ValidateRequestTest, IsNotFooledByOverflow) {
  UseInput(MakeInput("a", DataType::kFp32, {1, std::int64_t{1} << 62, 2}, 0));
  EXPECT_THAT(Validate(), HasSubstr("[1,4611686018427387904,2] of input 'a' for model 'm' is too "
                                    "large: its size must be below 2^63 bytes"));
  UseInput(MakeInput("a", DataType::kFp32, {4, std::int64_t{1} << 59, 2}, 0));
  EXPECT_THAT(Validate(), HasSubstr("is too large"));
  UseInput(MakeInput("a", DataType::kFp32, {1, (std::int64_t{1} << 59), 2}, 0));
  EXPECT_THAT(Validate(), HasSubstr("Expected 4611686018427387904, got 0"));
}

TEST_F(ValidateRequestTest, ChecksTheElementsOfStrings) {
  request_.inputs.push_back(MakeInput("a", DataType::kFp32, {2, 1, 2}, 16));
  request_.inputs.push_back(MakeStrings("b", {2, 1}, std::string("\1\0\0\0x", 5)));
  EXPECT_EQ(Validate(),
            "[request id: <id_unknown>] expected 2 string elements for inference input 'b' for "
            "model 'm', got 1");
  request_.inputs[1] = MakeStrings("b", {2, 1}, std::string("\xf0\xff\xff\xffx", 5));
  EXPECT_EQ(Validate(),
            "[request id: <id_unknown>] incomplete string data for inference input 'b' for model "
            "'m', expecting string of length 4294967280 but only 1 bytes available");
}

TEST(IsReservedParameter, KnowsTritonsNames) {
  for (const char* key : {"sequence_id", "sequence_start", "sequence_end", "priority", "timeout",
                          "headers", "binary_data_output", "triton_", "triton_final_response"}) {
    EXPECT_TRUE(IsReservedParameter(key)) << key;
  }
  for (const char* key : {"", "triton", "header", "my_timeout", "Priority"}) {
    EXPECT_FALSE(IsReservedParameter(key)) << key;
  }
}

TEST_F(ValidateRequestTest, BatchInputsAreNotForClients) {
  CountElements(DataType::kInt32);
  request_.inputs.push_back(MakeInput("a", DataType::kFp32, {1, 3, 2}, 24));
  request_.inputs.push_back(MakeInput("count", DataType::kInt32, {1}, 4));
  EXPECT_THAT(Validate(), HasSubstr("unexpected inference input 'count' for model 'm'"));
}

// Without elements it is small, and would still spoil the batch that it is in.
TEST_F(ValidateRequestTest, AShapeThatBatchInputsCannotSayIsTheRequestsOwnError) {
  const std::int64_t dim = std::int64_t{1} << 31;
  spec_.inputs[0].dims = {-1, -1};
  UseInput(MakeInput("a", DataType::kFp32, {1, dim, 0}, 0));
  EXPECT_EQ(Validate(), "");
  for (const DataType type : {DataType::kInt32, DataType::kFp32}) {
    CountElements(type);
    EXPECT_THAT(Validate(), HasSubstr("shape [1,2147483648,0] of input 'a' for model 'm' is too "
                                      "large: the sizes in batch input 'count'"));
  }
}

TEST_F(ValidateRequestTest, ARequestWithMoreElementsThanBatchInputsCanCountIsRefused) {
  CountElements(DataType::kInt32);
  const std::int64_t rows = std::int64_t{1} << 30;
  UseInput(MakeInput("a", DataType::kFp32, {1, rows, 2}, std::size_t{1} << 33));
  EXPECT_THAT(Validate(), HasSubstr("must be below 2^31"));
  UseInput(MakeInput("a", DataType::kFp32, {1, rows - 1, 2}, (std::size_t{1} << 33) - 8));
  EXPECT_EQ(Validate(), "");
}

}  // namespace
}  // namespace fastserve
