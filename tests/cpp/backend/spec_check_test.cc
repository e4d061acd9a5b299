// Configurations that disagree with their model file are refused when the model is loaded, in words
// that help.
#include <gmock/gmock.h>

#include "backend/model_runner.h"

namespace fastserve {
namespace {

using ::testing::HasSubstr;

// The message of loading `model` after `change` was made to a right configuration.
template <typename Change>
std::string MessageOf(std::string_view model, int max_batch_size, Change change) {
  auto spec = CompleteSpec(OnnxRuntime(), ModelPath(model), max_batch_size);
  change(*spec);
  const auto loaded = OnnxRuntime().LoadModel(spec);
  EXPECT_EQ(loaded.status().code(), StatusCode::kInvalidArgument);
  return loaded.status().message();
}

TEST(SpecCheck, NamesAnInputThatTheFileLacks) {
  const std::string message =
      MessageOf("tiny", 8, [](ModelSpec& spec) { spec.inputs[0].name = "input0"; });
  EXPECT_THAT(message, HasSubstr("model 'model_under_test': unexpected input 'input0'"));
  EXPECT_THAT(message, HasSubstr("the model file has 'INPUT0'"));
}

TEST(SpecCheck, NamesAnInputThatTheConfigurationLacks) {
  EXPECT_THAT(MessageOf("add_sub_fp32", 8, [](ModelSpec& spec) { spec.inputs.pop_back(); }),
              HasSubstr("input 'INPUT1' of the model file is missing in the configuration"));
}

TEST(SpecCheck, NamesAnOutputThatTheFileLacks) {
  EXPECT_THAT(
      MessageOf("tiny", 8, [](ModelSpec& spec) { spec.outputs[0].name = "prob"; }),
      HasSubstr("unexpected output 'prob' in the configuration; the model file has 'OUTPUT0'"));
}

TEST(SpecCheck, NamesBothDataTypes) {
  EXPECT_THAT(
      MessageOf("tiny", 8, [](ModelSpec& spec) { spec.inputs[0].type = DataType::kInt8; }),
      HasSubstr(
          "input 'INPUT0' has data type FP32 in the model file but INT8 in the configuration"));
}

TEST(SpecCheck, SaysWhichDimsToWrite) {
  const std::string message =
      MessageOf("tiny", 8, [](ModelSpec& spec) { spec.outputs[0].dims = {17}; });
  EXPECT_THAT(
      message,
      HasSubstr(
          "output 'OUTPUT0' has shape [-1,16] in the model file but the configuration makes it "
          "[-1,17] (the batch dimension and dims): write dims [16]"));
}

TEST(SpecCheck, SaysToWriteMaxBatchSizeZeroForAModelThatCannotBatch) {
  EXPECT_THAT(MessageOf("nobatch", 0, [](ModelSpec& spec) { spec.max_batch_size = 8; }),
              HasSubstr("write 'max_batch_size: 0'"));
}

TEST(SpecCheck, ComparesTheReshapedDims) {
  EXPECT_THAT(MessageOf("tiny", 8,
                        [](ModelSpec& spec) {
                          spec.inputs[0].has_reshape = true;
                          spec.inputs[0].reshape = {4, 4};
                        }),
              HasSubstr("[-1,4,4]"));
}

TEST(SpecCheck, AcceptsVariableDimsOnEitherSide) {
  auto spec = CompleteSpec(OnnxRuntime(), ModelPath("tiny"), 8);
  spec->inputs[0].dims = {-1};
  EXPECT_TRUE(OnnxRuntime().LoadModel(spec).ok());
  spec = CompleteSpec(OnnxRuntime(), ModelPath("dynamic"), 8);
  spec->inputs[0].dims = {3, 4};
  EXPECT_TRUE(OnnxRuntime().LoadModel(spec).ok());
}

// The segments model as its configuration has it.
std::shared_ptr<ModelSpec> Segments() {
  auto spec = CompleteSpec(OnnxRuntime(), ModelPath("segments"), 8);
  std::erase_if(spec->inputs, [](const TensorSpec& tensor) { return tensor.name == "BOUNDS"; });
  spec->inputs[0].dims = {-1};
  spec->inputs[0].allow_ragged_batch = true;
  spec->batch_inputs = {
      {"BOUNDS", BatchInputKind::kAccumulatedElementCountWithZero, DataType::kInt32, "INPUT"}};
  spec->outputs[1].dims = {-1};
  spec->batch_outputs = {{"DOUBLED", "INPUT"}};
  return spec;
}

TEST(SpecCheck, AcceptsRaggedAndBatchInputsOfOneDimensionAndScatteredOutputsOfAny) {
  const auto loaded = OnnxRuntime().LoadModel(Segments());
  EXPECT_TRUE(loaded.ok()) << loaded.status().message();
}

TEST(SpecCheck, RaggedInputsAndBatchInputsHaveOneVariableDimension) {
  EXPECT_THAT(
      MessageOf("tiny", 8, [](ModelSpec& spec) { spec.inputs[0].allow_ragged_batch = true; }),
      HasSubstr("input 'INPUT0' has shape [-1,16] in the model file, expected [-1]"));
  const auto batch_input = [](ModelSpec& spec) {
    spec.inputs[1].name = "other";
    spec.batch_inputs = {{"INPUT1", BatchInputKind::kElementCount, DataType::kFp32, "INPUT0"}};
    spec.inputs.pop_back();
  };
  EXPECT_THAT(MessageOf("add_sub_fp32", 8, batch_input),
              HasSubstr("input 'INPUT1' has shape [-1,16] in the model file, expected [-1]"));
}

TEST(SpecCheck, BatchInputsHaveTheDataTypeOfTheFile) {
  auto spec = Segments();
  spec->batch_inputs[0].type = DataType::kFp32;
  EXPECT_THAT(OnnxRuntime().LoadModel(spec).status().message(),
              HasSubstr("input 'BOUNDS' has data type INT32 in the model file but FP32"));
}

// The accumulator with its state where the configuration has it.
std::shared_ptr<ModelSpec> Accumulator() {
  auto spec = CompleteSpec(OnnxRuntime(), ModelPath("accumulator"), 4);
  StateSpec state;
  state.input_name = "SUM_IN";
  state.output_name = "SUM_OUT";
  state.type = DataType::kFp32;
  state.dims = {1};
  std::erase_if(spec->inputs, [](const TensorSpec& tensor) { return tensor.name == "SUM_IN"; });
  std::erase_if(spec->outputs, [](const TensorSpec& tensor) { return tensor.name == "SUM_OUT"; });
  spec->sequence_batching.states = {state};
  return spec;
}

std::string MessageOf(const std::shared_ptr<ModelSpec>& spec) {
  const auto loaded = OnnxRuntime().LoadModel(spec);
  EXPECT_EQ(loaded.status().code(), StatusCode::kInvalidArgument);
  return loaded.status().message();
}

TEST(SpecCheck, StatesAndControlsAreTensorsOfTheModelFile) {
  auto spec = Accumulator();
  EXPECT_TRUE(OnnxRuntime().LoadModel(spec).ok());
  spec->sequence_batching.states[0].dims = {2};
  EXPECT_THAT(MessageOf(spec), HasSubstr("input 'SUM_IN' has shape [-1,1] in the model file"));
  spec = Accumulator();
  spec->sequence_batching.states[0].output_name = "SUM";
  EXPECT_THAT(MessageOf(spec), HasSubstr("unexpected output 'SUM'"));
  spec = Accumulator();
  spec->sequence_batching.controls = {{"START", ControlKind::kStart, DataType::kInt32, 0, 1}};
  EXPECT_THAT(MessageOf(spec), HasSubstr("unexpected input 'START'"));
}

TEST(SpecCheck, RefusesAnOutputThatIsNotATensor) {
  EXPECT_THAT(
      MessageOf("sequence", 8,
                [](ModelSpec& spec) {
                  TensorSpec output;
                  output.name = "OUTPUT0";
                  output.type = DataType::kFp32;
                  spec.outputs = {output};
                }),
      HasSubstr("output 'OUTPUT0' is a sequence, map or other container in the model file"));
}

}  // namespace
}  // namespace fastserve
