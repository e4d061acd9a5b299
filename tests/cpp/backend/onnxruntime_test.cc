// The onnxruntime backend beyond the contract: what its models compute, what it copies, and how it
// fails.
#include <gmock/gmock.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <unordered_set>

#include "backend/model_runner.h"
#include "backend/onnxruntime/onnxruntime_backend.h"

namespace fastserve {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

LoadedForTest Load(std::string_view name, int max_batch_size) {
  return LoadForTest(OnnxRuntime(), CompleteSpec(OnnxRuntime(), ModelPath(name), max_batch_size));
}

Execution BatchOf(std::int64_t rows, std::vector<Tensor> inputs) {
  Execution execution;
  execution.batch_size = rows;
  execution.inputs = std::move(inputs);
  return execution;
}

Tensor Floats(std::string name, Shape shape, const std::vector<float>& values) {
  return MakeTensor(std::move(name), DataType::kFp32, std::move(shape), values);
}

TEST(OnnxRuntimeBackend, ComputesTheTinyModel) {
  const LoadedForTest loaded = Load("tiny", 8);
  Execution execution = BatchOf(2, {Floats("INPUT0", {2, 16}, std::vector<float>(32, 4))});
  ASSERT_TRUE(Execute(*loaded.instance, &execution).ok());
  EXPECT_EQ(execution.outputs.at(0).shape, (Shape{2, 16}));
  EXPECT_THAT(Values<float>(execution.outputs[0]), Each(5));
}

TEST(OnnxRuntimeBackend, ReturnsAllOutputsInTheOrderOfTheSpecification) {
  const LoadedForTest loaded = Load("add_sub_int32", 8);
  const Tensor left =
      MakeTensor("INPUT0", DataType::kInt32, {1, 16}, std::vector<std::int32_t>(16, 5));
  const Tensor right =
      MakeTensor("INPUT1", DataType::kInt32, {1, 16}, std::vector<std::int32_t>(16, 2));
  // The order of the inputs does not matter: they go by name.
  Execution execution = BatchOf(1, {right, left});
  ASSERT_TRUE(Execute(*loaded.instance, &execution).ok());
  ASSERT_EQ(execution.outputs.size(), 2u);
  EXPECT_EQ(execution.outputs[0].name, "OUTPUT0");
  EXPECT_THAT(Values<std::int32_t>(execution.outputs[0]), Each(7));
  EXPECT_EQ(execution.outputs[1].name, "OUTPUT1");
  EXPECT_THAT(Values<std::int32_t>(execution.outputs[1]), Each(3));
}

TEST(OnnxRuntimeBackend, ComputesOnlyTheRequestedOutputs) {
  const LoadedForTest loaded = Load("add_sub_fp32", 8);
  Execution execution = BatchOf(1, {Floats("INPUT0", {1, 16}, std::vector<float>(16, 5)),
                                    Floats("INPUT1", {1, 16}, std::vector<float>(16, 2))});
  execution.requested_outputs = {"OUTPUT1"};
  ASSERT_TRUE(Execute(*loaded.instance, &execution).ok());
  ASSERT_EQ(execution.outputs.size(), 1u);
  EXPECT_EQ(execution.outputs[0].name, "OUTPUT1");
}

// The requests [1,2], [4] and [] behind one another: three rows.
TEST(OnnxRuntimeBackend, RunsARaggedBatch) {
  auto spec = CompleteSpec(OnnxRuntime(), ModelPath("segments"), 8);
  std::erase_if(spec->inputs, [](const TensorSpec& tensor) { return tensor.name == "BOUNDS"; });
  spec->inputs[0].allow_ragged_batch = true;
  spec->batch_inputs = {
      {"BOUNDS", BatchInputKind::kAccumulatedElementCountWithZero, DataType::kInt32, "INPUT"}};
  spec->batch_outputs = {{"DOUBLED", "INPUT"}};
  const LoadedForTest loaded = LoadForTest(OnnxRuntime(), spec);
  Execution execution = BatchOf(
      3, {Floats("INPUT", {3}, {1, 2, 4}),
          MakeTensor("BOUNDS", DataType::kInt32, {4}, std::vector<std::int32_t>{0, 2, 3, 3})});
  ASSERT_TRUE(Execute(*loaded.instance, &execution).ok());
  EXPECT_EQ(execution.outputs.at(0).shape, (Shape{3, 1}));
  EXPECT_THAT(Values<float>(execution.outputs[0]), ElementsAre(3, 4, 0));
  EXPECT_THAT(Values<float>(execution.outputs.at(1)), ElementsAre(2, 4, 8));
}

TEST(OnnxRuntimeBackend, ServesScalars) {
  const LoadedForTest loaded = Load("scalar", 0);
  Execution execution = BatchOf(1, {Floats("INPUT0", {}, {21})});
  ASSERT_TRUE(Execute(*loaded.instance, &execution).ok());
  EXPECT_TRUE(execution.outputs.at(0).shape.empty());
  EXPECT_THAT(Values<float>(execution.outputs[0]), ElementsAre(42));
}

TEST(OnnxRuntimeBackend, FollowsDynamicShapes) {
  const LoadedForTest loaded = Load("dynamic", 8);
  Execution execution = BatchOf(1, {Floats("INPUT0", {1, 2, 3}, {1, 2, 3, 4, 5, 6})});
  ASSERT_TRUE(Execute(*loaded.instance, &execution).ok());
  EXPECT_EQ(execution.outputs.at(0).shape, (Shape{1, 3, 2}));
  EXPECT_THAT(Values<float>(execution.outputs[0]), ElementsAre(1, 4, 2, 5, 3, 6));
}

TEST(OnnxRuntimeBackend, ReturnsOutputsWithoutElements) {
  const LoadedForTest loaded = Load("nonzero", 0);
  Execution execution = BatchOf(1, {Floats("INPUT0", {3}, {0, 0, 0})});
  ASSERT_TRUE(Execute(*loaded.instance, &execution).ok());
  EXPECT_EQ(execution.outputs.at(0).shape, (Shape{1, 0}));
  EXPECT_EQ(execution.outputs[0].data.size, 0u);
}

TEST(OnnxRuntimeBackend, ComputesOnStrings) {
  const LoadedForTest loaded = Load("strings", 8);
  Execution execution =
      BatchOf(2, {MakeStrings("INPUT0", {2, 1}, {"a", ""}),
                  MakeStrings("INPUT1", {2, 2}, {"b", "cc", std::string(1, '\0'), "d"})});
  ASSERT_TRUE(Execute(*loaded.instance, &execution).ok());
  EXPECT_THAT(Strings(execution.outputs.at(0)),
              ElementsAre("a", "b", "cc", "", std::string(1, '\0'), "d"));
}

TEST(OnnxRuntimeBackend, CarriesAMillionShortStrings) {
  const LoadedForTest loaded = Load("identity_bytes", 8);
  std::vector<std::string> elements(1'000'000);
  for (std::size_t i = 0; i < elements.size(); ++i) elements[i] = std::to_string(i % 977);
  Execution execution = BatchOf(1, {MakeStrings("INPUT0", {1, 1'000'000}, elements)});
  ASSERT_TRUE(Execute(*loaded.instance, &execution).ok());
  EXPECT_EQ(Strings(execution.outputs.at(0)), elements);
}

TEST(OnnxRuntimeBackend, AnInputWithADefaultMayBeLeftOutOrGiven) {
  auto spec = CompleteSpec(OnnxRuntime(), ModelPath("overridable"), 8);
  ASSERT_EQ(spec->inputs.size(), 1u);
  TensorSpec bias;
  bias.name = "bias";
  bias.type = DataType::kFp32;
  bias.dims = {4};
  bias.optional = true;
  spec->inputs.push_back(bias);
  const LoadedForTest loaded = LoadForTest(OnnxRuntime(), spec);
  const Tensor input = Floats("INPUT0", {1, 4}, {1, 1, 1, 1});
  Execution without = BatchOf(1, {input});
  ASSERT_TRUE(Execute(*loaded.instance, &without).ok());
  EXPECT_THAT(Values<float>(without.outputs.at(0)), ElementsAre(1, 2, 3, 4));
  Execution with = BatchOf(1, {input, Floats("bias", {4}, {10, 10, 10, 10})});
  ASSERT_TRUE(Execute(*loaded.instance, &with).ok());
  EXPECT_THAT(Values<float>(with.outputs.at(0)), Each(11));
}

TEST(OnnxRuntimeBackend, CopiesNoBytesInOrOut) {
  const LoadedForTest loaded = Load("tiny", 8);
  Execution execution = BatchOf(8, {Floats("INPUT0", {8, 16}, std::vector<float>(128, 1))});
  const std::uint64_t before = CopiedBytes();
  ASSERT_TRUE(Execute(*loaded.instance, &execution).ok());
  EXPECT_EQ(CopiedBytes(), before);
}

TEST(OnnxRuntimeBackend, CopiesAnInputThatIsNotAlignedToItsElement) {
  const LoadedForTest loaded = Load("tiny", 8);
  const BufferPtr buffer = AllocateHostBuffer(16 * sizeof(float) + 1);
  const std::vector<float> values(16, 2);
  std::memcpy(buffer->data() + 1, values.data(), 16 * sizeof(float));
  Tensor tensor{
      "INPUT0", DataType::kFp32, {1, 16}, BufferView(buffer).Slice(1, 16 * sizeof(float))};
  Execution execution = BatchOf(1, {std::move(tensor)});
  const std::uint64_t before = CopiedBytes();
  ASSERT_TRUE(Execute(*loaded.instance, &execution).ok());
  EXPECT_THAT(Values<float>(execution.outputs.at(0)), Each(3));
  EXPECT_EQ(CopiedBytes(), before + 16 * sizeof(float));
}

// Memory that another process maps as well.
class SharedBytes final : public Buffer {
 public:
  explicit SharedBytes(const BufferPtr& memory)
      : Buffer(memory->data(), memory->size(), MemoryType::kSharedRegion, 0), memory_(memory) {}

 private:
  const BufferPtr memory_;
};

Tensor InSharedMemory(Tensor tensor) {
  tensor.data = BufferView(std::make_shared<SharedBytes>(tensor.data.owner));
  return tensor;
}

// Another process could change the index when the library has found it to be in range.
TEST(OnnxRuntimeBackend, CopiesAnIndexThatLiesInSharedMemory) {
  const LoadedForTest loaded = Load("lookup", 8);
  const Tensor index = MakeTensor("INPUT0", DataType::kInt64, {1, 1}, std::vector<std::int64_t>{3});
  for (const bool shared : {false, true}) {
    Execution execution = BatchOf(1, {shared ? InSharedMemory(index) : index});
    const std::uint64_t before = CopiedBytes();
    ASSERT_TRUE(Execute(*loaded.instance, &execution).ok());
    EXPECT_EQ(CopiedBytes(), before + (shared ? sizeof(std::int64_t) : 0));
  }
}

TEST(OnnxRuntimeBackend, CopiesNoFloatsThatLieInSharedMemory) {
  const LoadedForTest loaded = Load("tiny", 8);
  Execution execution =
      BatchOf(1, {InSharedMemory(Floats("INPUT0", {1, 16}, std::vector<float>(16, 1)))});
  const std::uint64_t before = CopiedBytes();
  ASSERT_TRUE(Execute(*loaded.instance, &execution).ok());
  EXPECT_THAT(Values<float>(execution.outputs.at(0)), Each(2));
  EXPECT_EQ(CopiedBytes(), before);
}

TEST(OnnxRuntimeBackend, APassedThroughInputThatWasCopiedOutlivesTheNextRun) {
  const LoadedForTest loaded = Load("passthrough", 8);
  const auto run = [&](float value) {
    const BufferPtr buffer = AllocateHostBuffer(2 * sizeof(float) + 1);
    const std::vector<float> values(2, value);
    std::memcpy(buffer->data() + 1, values.data(), 2 * sizeof(float));
    Execution execution = BatchOf(
        1, {Tensor{
               "INPUT0", DataType::kFp32, {1, 2}, BufferView(buffer).Slice(1, 2 * sizeof(float))}});
    EXPECT_TRUE(Execute(*loaded.instance, &execution).ok());
    return execution.outputs.at(0);
  };
  const Tensor first = run(1);
  (void)run(2);
  EXPECT_THAT(Values<float>(first), ElementsAre(1, 1));
}

TEST(OnnxRuntimeBackend, AnOutputThatIsAnInputPassedThroughIsItsOwnCopy) {
  const LoadedForTest loaded = Load("passthrough", 8);
  Execution execution = BatchOf(1, {Floats("INPUT0", {1, 2}, {1, 2})});
  ASSERT_TRUE(Execute(*loaded.instance, &execution).ok());
  const Tensor& output = execution.outputs.at(0);
  EXPECT_NE(output.data.data, execution.inputs[0].data.data);
  std::memset(execution.inputs[0].data.data, 0, execution.inputs[0].data.size);
  EXPECT_THAT(Values<float>(output), ElementsAre(1, 2));
}

TEST(OnnxRuntimeBackend, AFailedRunNamesTheModelAndTheNextOneWorks) {
  const LoadedForTest loaded = Load("lookup", 8);
  const auto run = [&](std::int64_t index) {
    Execution execution =
        BatchOf(1, {MakeTensor("INPUT0", DataType::kInt64, {1, 1}, std::vector{index})});
    const Status status = Execute(*loaded.instance, &execution);
    EXPECT_EQ(execution.outputs.size(), status.ok() ? 1u : 0u);
    return status;
  };
  const Status failed = run(99);
  EXPECT_EQ(failed.code(), StatusCode::kInternal);
  EXPECT_THAT(failed.message(), HasSubstr("model 'model_under_test': onnx runtime error"));
  EXPECT_THAT(failed.message(), HasSubstr("99"));
  EXPECT_TRUE(run(3).ok());
}

TEST(OnnxRuntimeBackend, AShapeTheModelRefusesFailsThatRunOnly) {
  const LoadedForTest loaded = Load("tiny", 8);
  Execution wrong = BatchOf(1, {Floats("INPUT0", {1, 3}, {1, 2, 3})});
  EXPECT_EQ(Execute(*loaded.instance, &wrong).code(), StatusCode::kInternal);
  Execution right = BatchOf(1, {Floats("INPUT0", {1, 16}, std::vector<float>(16, 1))});
  EXPECT_TRUE(Execute(*loaded.instance, &right).ok());
}

TEST(OnnxRuntimeBackend, BytesTooFewForTheShapeAreAnError) {
  const LoadedForTest loaded = Load("tiny", 8);
  Execution execution = BatchOf(1, {Floats("INPUT0", {1, 16}, {1, 2, 3})});
  EXPECT_FALSE(Execute(*loaded.instance, &execution).ok());
}

TEST(OnnxRuntimeBackend, MalformedStringsAreAnInvalidArgument) {
  const LoadedForTest loaded = Load("identity_bytes", 8);
  const std::string bytes("\xff\xff\xff\xff", 4);
  Execution execution =
      BatchOf(1, {MakeTensor("INPUT0", DataType::kBytes, {1, 1}, bytes.data(), bytes.size())});
  EXPECT_EQ(Execute(*loaded.instance, &execution).code(), StatusCode::kInvalidArgument);
}

TEST(OnnxRuntimeBackend, AnOutputThatIsNotTheBatchIsAnError) {
  // Columns and rows change places, so what the model calls its batch is not.
  auto spec = CompleteSpec(OnnxRuntime(), ModelPath("rotate"), 8);
  const LoadedForTest loaded = LoadForTest(OnnxRuntime(), spec);
  Execution execution = BatchOf(2, {Floats("INPUT0", {2, 3}, {1, 2, 3, 4, 5, 6})});
  const Status status = Execute(*loaded.instance, &execution);
  EXPECT_EQ(status.code(), StatusCode::kInternal);
  EXPECT_THAT(
      status.message(),
      HasSubstr(
          "output 'OUTPUT0' has shape [3,2], expected the first dimension to be the batch of 2"));
}

TEST(OnnxRuntimeBackend, OpensADirectoryWithExternalData) {
  const LoadedForTest loaded = LoadForTest(
      OnnxRuntime(),
      CompleteSpec(OnnxRuntime(),
                   std::filesystem::path(ModelPath("tiny")).replace_filename("external"), 8));
  Execution execution = BatchOf(1, {Floats("INPUT0", {1, 16}, std::vector<float>(16, 1))});
  ASSERT_TRUE(Execute(*loaded.instance, &execution).ok());
  EXPECT_THAT(Values<float>(execution.outputs.at(0)), Each(2));
}

TEST(OnnxRuntimeBackend, AFileThatIsNotThereIsNamed) {
  auto spec = std::make_shared<ModelSpec>();
  spec->name = "gone";
  spec->path = "/nowhere/model.onnx";
  const auto loaded = OnnxRuntime().LoadModel(spec);
  EXPECT_THAT(loaded.status().message(),
              HasSubstr("unable to find '/nowhere/model.onnx' for model 'gone'"));
}

TEST(OnnxRuntimeBackend, ABrokenFileIsNamed) {
  auto spec = std::make_shared<ModelSpec>();
  spec->name = "broken";
  spec->path = ModelPath("broken");
  const auto loaded = OnnxRuntime().LoadModel(spec);
  EXPECT_FALSE(loaded.ok());
  EXPECT_THAT(loaded.status().message(), HasSubstr(spec->path));
}

TEST(OnnxRuntimeBackend, TheLibraryIsSharedByAllBackendsOfTheProcess) {
  OnnxRuntime();
  OnnxRuntimeOptions options;
  options.library_path = OnnxRuntimeLibrary();
  EXPECT_TRUE(CreateOnnxRuntimeBackend(options).ok());
  options.library_path = "/elsewhere/libonnxruntime.so";
  EXPECT_THAT(CreateOnnxRuntimeBackend(options).status().message(), HasSubstr("already uses"));
}

}  // namespace
}  // namespace fastserve
