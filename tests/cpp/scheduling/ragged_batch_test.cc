// Batches of requests that differ in shape: what the backend is given, and what each request gets
// back.
#include "scheduling/ragged_batch.h"

#include <gmock/gmock.h>

#include <numeric>

#include "scheduling/batch_assembler.h"
#include "support/random.h"
#include "support/requests.h"

namespace fastserve {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// MakeSpec's model, X ragged.
std::shared_ptr<ModelSpec> RaggedSpec() {
  auto spec = MakeSpec("puppet", 8);
  spec->inputs[0].allow_ragged_batch = true;
  spec->batch_outputs = {{"X", "X"}};
  return spec;
}

RequestPtr OfShape(const Shape& shape, float first_value = 0) {
  RequestPtr request = MakeRequest("r", nullptr);
  std::vector<float> values(static_cast<std::size_t>(ElementCount(shape).value_or(0)));
  std::iota(values.begin(), values.end(), first_value);
  request->inputs[0].shape = shape;
  request->inputs[0].data = ViewOfFloats(values);
  request->batch_size = shape.empty() ? 1 : shape[0];
  return request;
}

Execution Of(std::vector<RequestPtr> requests) {
  Execution execution;
  execution.requests = std::move(requests);
  return execution;
}

// The batch input of a batch with the three rows [3,1], [3,1] and [2,2], which is the example of
// Triton's model configuration: two rows of the first request, one of the second.
class BatchInputTest : public ::testing::TestWithParam<DataType> {
 protected:
  BatchInputTest() { spec_->inputs[0].dims = MakeShape({-1, -1}); }
  std::vector<double> Make(BatchInputKind kind) {
    spec_->batch_inputs = {{"B", kind, GetParam(), "X"}};
    execution_ = Of(requests_);
    const Status status = AssembleBatch(*spec_, &execution_);
    EXPECT_TRUE(status.ok()) << status.message();
    const Tensor& made = execution_.inputs.at(1);
    EXPECT_EQ(made.name, "B");
    EXPECT_EQ(made.type, GetParam());
    EXPECT_EQ(made.data.size, TensorByteSize(made.type, made.shape));
    shape_ = made.shape;
    if (GetParam() == DataType::kFp32) {
      const auto values = ValuesOf<float>(made);
      return {values.begin(), values.end()};
    }
    const auto values = ValuesOf<std::int32_t>(made);
    return {values.begin(), values.end()};
  }

  std::shared_ptr<ModelSpec> spec_ = RaggedSpec();
  std::vector<RequestPtr> requests_{OfShape({2, 3, 1}), OfShape({1, 2, 2})};
  Execution execution_;
  Shape shape_;
};

TEST_P(BatchInputTest, ElementCountIsThatOfEachRequest) {
  EXPECT_THAT(Make(BatchInputKind::kElementCount), ElementsAre(6, 4));
  EXPECT_EQ(shape_, MakeShape({2}));
}

TEST_P(BatchInputTest, AccumulatedElementCountIsWhereEachRequestEnds) {
  EXPECT_THAT(Make(BatchInputKind::kAccumulatedElementCount), ElementsAre(6, 10));
}

TEST_P(BatchInputTest, AccumulatedElementCountWithZeroHoldsTheBoundsOfAllRequests) {
  EXPECT_THAT(Make(BatchInputKind::kAccumulatedElementCountWithZero), ElementsAre(0, 6, 10));
  EXPECT_EQ(shape_, MakeShape({3}));
}

TEST_P(BatchInputTest, MaxElementCountIsASizeAndItsDataAreZeros) {
  EXPECT_THAT(Make(BatchInputKind::kMaxElementCountAsShape), ElementsAre(0, 0, 0, 0, 0, 0));
  EXPECT_EQ(shape_, MakeShape({6}));
}

TEST_P(BatchInputTest, ItemShapeHasARowForEachRow) {
  EXPECT_THAT(Make(BatchInputKind::kItemShape), ElementsAre(3, 1, 3, 1, 2, 2));
  EXPECT_EQ(shape_, MakeShape({3, 2}));
}

TEST_P(BatchInputTest, ItemShapeFlattenIsTheSameInOneDimension) {
  EXPECT_THAT(Make(BatchInputKind::kItemShapeFlatten), ElementsAre(3, 1, 3, 1, 2, 2));
  EXPECT_EQ(shape_, MakeShape({6}));
}

TEST_P(BatchInputTest, ABatchOfOneHasThemToo) {
  requests_.resize(1);
  EXPECT_THAT(Make(BatchInputKind::kAccumulatedElementCountWithZero), ElementsAre(0, 6));
  EXPECT_EQ(execution_.inputs[0].shape, MakeShape({6}));
}

TEST_P(BatchInputTest, RequestsWithoutElementsCountAsZero) {
  requests_ = {OfShape({1, 0, 7}), OfShape({1, 1, 0})};
  EXPECT_THAT(Make(BatchInputKind::kElementCount), ElementsAre(0, 0));
  EXPECT_THAT(Make(BatchInputKind::kMaxElementCountAsShape), IsEmpty());
  EXPECT_THAT(Make(BatchInputKind::kItemShape), ElementsAre(0, 7, 1, 0));
  EXPECT_EQ(execution_.inputs[0].shape, MakeShape({0}));
}

TEST_P(BatchInputTest, ShapesAreThoseThatTheModelSees) {
  spec_->inputs[0].has_reshape = true;
  spec_->inputs[0].reshape = MakeShape({-1, 1, -1});
  EXPECT_THAT(Make(BatchInputKind::kItemShape), ElementsAre(3, 1, 1, 3, 1, 1, 2, 1, 2));
  EXPECT_EQ(shape_, MakeShape({3, 3}));
}

TEST_P(BatchInputTest, AModelThatDoesNotBatchHasCounts) {
  spec_->max_batch_size = 0;
  requests_ = {OfShape({2, 3})};
  EXPECT_THAT(Make(BatchInputKind::kAccumulatedElementCount), ElementsAre(6));
  EXPECT_EQ(execution_.inputs[0].shape, MakeShape({6}));
}

TEST_P(BatchInputTest, AnInputThatIsNotRaggedMayBeTheSource) {
  spec_->inputs[0].allow_ragged_batch = false;
  requests_ = {OfShape({2, 3, 1}), OfShape({1, 3, 1})};
  EXPECT_THAT(Make(BatchInputKind::kElementCount), ElementsAre(6, 3));
  EXPECT_EQ(execution_.inputs[0].shape, MakeShape({3, 3, 1}));
}

INSTANTIATE_TEST_SUITE_P(BothTypes, BatchInputTest,
                         ::testing::Values(DataType::kInt32, DataType::kFp32),
                         [](const auto& test) { return std::string(DataTypeName(test.param)); });

TEST(RaggedBatch, TheModelSeesTheElementsOfAllRequestsInOneDimension) {
  const auto spec = RaggedSpec();
  Execution execution = Of({OfShape({1, 3}, 1), OfShape({1, 4}, 4), OfShape({1, 5}, 8)});
  ASSERT_TRUE(AssembleBatch(*spec, &execution).ok());
  EXPECT_EQ(execution.batch_size, 3);
  EXPECT_EQ(execution.inputs[0].shape, MakeShape({12}));
  EXPECT_THAT(FloatsOf(execution.inputs[0]), ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12));
}

TEST(RaggedBatch, ABatchOfOneIsNotCopied) {
  const auto spec = RaggedSpec();
  Execution execution = Of({OfShape({2, 3})});
  const std::uint64_t copied = CopiedBytes();
  ASSERT_TRUE(AssembleBatch(*spec, &execution).ok());
  EXPECT_EQ(execution.inputs[0].data.data, execution.requests[0]->inputs[0].data.data);
  EXPECT_EQ(execution.inputs[0].shape, MakeShape({6}));
  EXPECT_EQ(CopiedBytes(), copied);
}

TEST(RaggedBatch, ACountThatDoesNotFitIsAnErrorAndNotAWrongNumber) {
  const auto spec = RaggedSpec();
  spec->batch_inputs = {{"B", BatchInputKind::kAccumulatedElementCount, DataType::kInt32, "X"}};
  Execution execution = Of({OfShape({1, 2}), OfShape({1, 2})});
  // Claimed, not allocated: the counts come from the shapes alone.
  for (const RequestPtr& request : execution.requests)
    request->inputs[0].shape = MakeShape({1, (std::int64_t{1} << 31) - 1});
  const Status status = AppendBatchInputs(*spec, &execution);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("the batch has 4294967294 elements of input 'X'"));
}

class ScatterTest : public ::testing::Test {
 protected:
  Status Split(std::vector<RequestPtr> requests, Tensor output) {
    Execution execution = Of(std::move(requests));
    const Status assembled = AssembleBatch(*spec_, &execution);
    EXPECT_TRUE(assembled.ok()) << assembled.message();
    execution.outputs = {std::move(output)};
    return SplitBatch(*spec_, &execution, &responses_);
  }
  static Tensor Flat(const std::vector<float>& values) {
    return {"X", DataType::kFp32, Shape(1, static_cast<std::int64_t>(values.size())),
            ViewOfFloats(values)};
  }
  const Tensor& output(std::size_t request) { return responses_.at(request).outputs.at(0); }

  std::shared_ptr<ModelSpec> spec_ = RaggedSpec();
  std::vector<InferResponse> responses_;
};

TEST_F(ScatterTest, EachRequestGetsTheShapeOfItsInputAsAView) {
  const Tensor flat = Flat({1, 2, 3, 4, 5});
  ASSERT_TRUE(Split({OfShape({1, 2}), OfShape({1, 3})}, flat).ok());
  EXPECT_EQ(output(0).shape, MakeShape({1, 2}));
  EXPECT_EQ(output(1).shape, MakeShape({1, 3}));
  EXPECT_THAT(FloatsOf(output(1)), ElementsAre(3, 4, 5));
  EXPECT_EQ(output(1).data.data, flat.data.data + 2 * sizeof(float));
}

TEST_F(ScatterTest, ASingleRequestGetsItsShapeToo) {
  ASSERT_TRUE(Split({OfShape({2, 3})}, Flat({1, 2, 3, 4, 5, 6})).ok());
  EXPECT_EQ(output(0).shape, MakeShape({2, 3}));
}

TEST_F(ScatterTest, FixedDimensionsOfTheOutputStay) {
  spec_->outputs[0].dims = MakeShape({-1, 2});
  ASSERT_TRUE(Split({OfShape({1, 1}), OfShape({1, 2})}, Flat({1, 2, 3, 4, 5, 6})).ok());
  EXPECT_EQ(output(0).shape, MakeShape({1, 1, 2}));
  EXPECT_EQ(output(1).shape, MakeShape({1, 2, 2}));
  EXPECT_THAT(FloatsOf(output(1)), ElementsAre(3, 4, 5, 6));
}

TEST_F(ScatterTest, OutputsThatAreNotNamedAreSplitByRows) {
  Execution execution = Of({OfShape({2, 3}), OfShape({1, 1})});
  ASSERT_TRUE(AssembleBatch(*spec_, &execution).ok());
  execution.outputs = {Flat({1, 2, 3})};
  execution.outputs[0].name = "SUM";
  ASSERT_TRUE(SplitBatch(*spec_, &execution, &responses_).ok());
  EXPECT_THAT(FloatsOf(output(0)), ElementsAre(1, 2));
  EXPECT_THAT(FloatsOf(output(1)), ElementsAre(3));
}

TEST_F(ScatterTest, StringsAreCutBetweenElements) {
  std::string bytes;
  for (const char* element : {"x", "", "long string"}) AppendBytesElement(element, &bytes);
  BufferPtr buffer = AllocateHostBuffer(bytes.size());
  std::memcpy(buffer->data(), bytes.data(), bytes.size());
  const Tensor flat{"X", DataType::kBytes, MakeShape({3}), BufferView(buffer)};
  ASSERT_TRUE(Split({OfShape({1, 2}), OfShape({1, 0}), OfShape({1, 1})}, flat).ok());
  EXPECT_EQ(output(0).data.size, 5U + 4U);
  EXPECT_EQ(output(1).data.size, 0U);
  EXPECT_EQ(output(2).data.size, 4U + 11U);
}

TEST_F(ScatterTest, OutputsWithTooFewOrTooManyElementsFailTheBatch) {
  const std::vector<RequestPtr> requests = {OfShape({1, 2}), OfShape({1, 3})};
  Status status = Split(requests, Flat({1, 2, 3, 4}));
  EXPECT_EQ(status.code(), StatusCode::kInternal);
  EXPECT_THAT(status.message(), HasSubstr("too few elements for [1,3]"));
  status = Split(requests, Flat({1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(status.code(), StatusCode::kInternal);
  EXPECT_THAT(status.message(), HasSubstr("'X' has shape [6], expected 5 elements"));
}

TEST_F(ScatterTest, AnOutputWithMoreVariableDimensionsThanTheInputFailsTheBatch) {
  spec_->outputs[0].dims = MakeShape({-1, -1});
  EXPECT_EQ(Split({OfShape({1, 2})}, Flat({1, 2})).code(), StatusCode::kInternal);
}

// A model that echoes flat tensors must look like one that never batches.
TEST(RaggedBatchProperty, EveryRequestGetsItsOwnElementsBack) {
  RepeatableRandom random(17);
  const auto spec = RaggedSpec();
  spec->inputs[0].dims = spec->outputs[0].dims = MakeShape({-1, -1});
  for (int round = 0; round < 300; ++round) {
    std::vector<RequestPtr> requests;
    float first_value = 0;
    for (std::int64_t i = random.Below(6) + 1; i > 0; --i) {
      requests.push_back(
          OfShape({random.Below(3) + 1, random.Below(4), random.Below(4)}, first_value));
      first_value += 100;
    }
    Execution execution = Of(requests);
    ASSERT_TRUE(AssembleBatch(*spec, &execution).ok());
    execution.outputs = execution.inputs;
    std::vector<InferResponse> responses;
    const Status status = SplitBatch(*spec, &execution, &responses);
    ASSERT_TRUE(status.ok()) << status.message();
    for (std::size_t i = 0; i < requests.size(); ++i) {
      EXPECT_EQ(responses[i].outputs.at(0).shape, requests[i]->inputs[0].shape);
      EXPECT_EQ(FloatsOf(responses[i].outputs[0]), FloatsOf(requests[i]->inputs[0]));
    }
  }
}

}  // namespace
}  // namespace fastserve
