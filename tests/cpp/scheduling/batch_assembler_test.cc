#include "scheduling/batch_assembler.h"

#include <gtest/gtest.h>

#include "support/requests.h"

namespace fastserve {
namespace {

Execution Of(std::vector<RequestPtr> requests) {
  Execution execution;
  execution.requests = std::move(requests);
  return execution;
}

TEST(BatchAssembler, BatchOfOnePassesTheTensorOnWithoutACopy) {
  const auto spec = MakeSpec("puppet", 8);
  const RequestPtr request = MakeRequest("a", nullptr, 1.0F, 2);
  Execution execution = Of({request});
  const std::uint64_t copied = CopiedBytes();
  ASSERT_TRUE(AssembleBatch(*spec, &execution).ok());
  EXPECT_EQ(execution.inputs[0].data.data, request->inputs[0].data.data);
  EXPECT_EQ(CopiedBytes(), copied);
  EXPECT_EQ(execution.batch_size, 2);
}

TEST(BatchAssembler, LargerBatchCopiesEachRowOnceInOrder) {
  const auto spec = MakeSpec("puppet", 8);
  Execution execution =
      Of({MakeRequest("a", nullptr, 1.0F, 2), MakeRequest("b", nullptr, 2.0F, 1)});
  const std::uint64_t copied = CopiedBytes();
  ASSERT_TRUE(AssembleBatch(*spec, &execution).ok());
  EXPECT_EQ(execution.inputs[0].shape, MakeShape({3, 2}));
  EXPECT_EQ(FloatsOf(execution.inputs[0]), (std::vector<float>{1, 1, 1, 1, 2, 2}));
  EXPECT_EQ(CopiedBytes() - copied, 6 * sizeof(float));
}

TEST(BatchAssembler, EachRequestGetsItsOwnRowsAsViews) {
  const auto spec = MakeSpec("puppet", 8);
  Execution execution =
      Of({MakeRequest("a", nullptr, 1.0F, 2), MakeRequest("b", nullptr, 2.0F, 1)});
  ASSERT_TRUE(AssembleBatch(*spec, &execution).ok());
  execution.outputs = execution.inputs;
  std::vector<InferResponse> responses;
  ASSERT_TRUE(SplitBatch(*spec, &execution, &responses).ok());
  ASSERT_EQ(responses.size(), 2U);
  EXPECT_EQ(FloatsOf(responses[0].outputs[0]), (std::vector<float>{1, 1, 1, 1}));
  EXPECT_EQ(FloatsOf(responses[1].outputs[0]), (std::vector<float>{2, 2}));
  EXPECT_EQ(responses[1].outputs[0].data.data, execution.inputs[0].data.data + 4 * sizeof(float));
  EXPECT_EQ(responses[1].outputs[0].shape, MakeShape({1, 2}));
}

TEST(BatchAssembler, SplitsStringsByTheirLengths) {
  const auto spec = MakeSpec("puppet", 8);
  Execution execution = Of({MakeRequest("a", nullptr, 0, 1), MakeRequest("b", nullptr, 0, 2)});
  ASSERT_TRUE(AssembleBatch(*spec, &execution).ok());
  std::string bytes;
  for (const char* element : {"x", "", "long string"}) AppendBytesElement(element, &bytes);
  BufferPtr buffer = AllocateHostBuffer(bytes.size());
  std::memcpy(buffer->data(), bytes.data(), bytes.size());
  execution.outputs.push_back({"S", DataType::kBytes, MakeShape({3, 1}), BufferView(buffer)});
  std::vector<InferResponse> responses;
  ASSERT_TRUE(SplitBatch(*spec, &execution, &responses).ok());
  EXPECT_EQ(responses[0].outputs[0].data.size, 5U);
  EXPECT_EQ(responses[1].outputs[0].data.size, 4U + 4U + 11U);
}

TEST(BatchAssembler, OutputWithoutTheBatchDimensionFailsTheBatch) {
  const auto spec = MakeSpec("puppet", 8);
  Execution execution = Of({MakeRequest("a", nullptr), MakeRequest("b", nullptr)});
  ASSERT_TRUE(AssembleBatch(*spec, &execution).ok());
  execution.outputs = execution.inputs;
  execution.outputs[0].shape[0] = 3;
  std::vector<InferResponse> responses;
  const Status status = SplitBatch(*spec, &execution, &responses);
  EXPECT_EQ(status.code(), StatusCode::kInternal);
  EXPECT_NE(status.message().find("output 'X' has shape [3,2], expected a first dimension of 2"),
            std::string::npos)
      << status.message();
}

TEST(BatchAssembler, ReturnsOnlyRequestedOutputs) {
  const auto spec = MakeSpec("puppet", 8);
  const RequestPtr only_y = MakeRequest("a", nullptr);
  only_y->outputs.push_back({"Y", 0, false});
  Execution execution = Of({only_y, MakeRequest("b", nullptr)});
  ASSERT_TRUE(AssembleBatch(*spec, &execution).ok());
  EXPECT_TRUE(execution.requested_outputs.empty()) << "the other request wants all";
  execution.outputs = execution.inputs;
  execution.outputs.push_back(execution.inputs[0]);
  execution.outputs[1].name = "Y";
  std::vector<InferResponse> responses;
  ASSERT_TRUE(SplitBatch(*spec, &execution, &responses).ok());
  ASSERT_EQ(responses[0].outputs.size(), 1U);
  EXPECT_EQ(responses[0].outputs[0].name, "Y");
  EXPECT_EQ(responses[1].outputs.size(), 2U);
}

TEST(BatchAssembler, ClassificationOfStringsFailsThatRequestAlone) {
  const auto spec = MakeSpec("puppet", 8);
  const RequestPtr classify = MakeRequest("a", nullptr);
  classify->outputs.push_back({"S", 2, false});
  Execution execution = Of({classify, MakeRequest("b", nullptr)});
  ASSERT_TRUE(AssembleBatch(*spec, &execution).ok());
  std::string bytes;
  AppendBytesElement("x", &bytes);
  AppendBytesElement("y", &bytes);
  BufferPtr buffer = AllocateHostBuffer(bytes.size());
  std::memcpy(buffer->data(), bytes.data(), bytes.size());
  execution.outputs.push_back({"S", DataType::kBytes, MakeShape({2, 1}), BufferView(buffer)});
  std::vector<InferResponse> responses;
  ASSERT_TRUE(SplitBatch(*spec, &execution, &responses).ok());
  EXPECT_EQ(responses[0].status.code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(responses[1].status.ok());
}

TEST(BatchAssembler, ReshapesOnTheWayInAndBackOnTheWayOut) {
  const auto spec = MakeSpec("puppet", 8);
  spec->inputs[0].has_reshape = spec->outputs[0].has_reshape = true;
  spec->inputs[0].reshape = spec->outputs[0].reshape = MakeShape({1, -1, 1});
  Execution execution = Of({MakeRequest("a", nullptr, 1.0F, 2, 3)});
  ASSERT_TRUE(AssembleBatch(*spec, &execution).ok());
  EXPECT_EQ(execution.inputs[0].shape, MakeShape({2, 1, 3, 1}));
  execution.outputs = execution.inputs;
  std::vector<InferResponse> responses;
  ASSERT_TRUE(SplitBatch(*spec, &execution, &responses).ok());
  EXPECT_EQ(responses[0].outputs[0].shape, MakeShape({2, 3}));
}

TEST(MapReshape, ScalarToOneElementAndBack) {
  EXPECT_EQ(MapReshape(MakeShape({1}), {}, MakeShape({1})), Shape());
  EXPECT_EQ(MapReshape({}, MakeShape({1}), {}), MakeShape({1}));
}

}  // namespace
}  // namespace fastserve
