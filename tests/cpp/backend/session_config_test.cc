// The knobs of a session: what they are read as, and what is refused.
#include "backend/onnxruntime/session_config.h"

#include <gmock/gmock.h>

#include "backend/model_runner.h"

namespace fastserve {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

ModelSpec SpecWith(const std::string& parameter, const std::string& value) {
  ModelSpec spec;
  spec.name = "resnet";
  spec.parameters[parameter] = value;
  return spec;
}

TEST(SessionConfig, SharesTheThreadPoolsByDefault) {
  const auto config = ReadSessionConfig(ModelSpec{});
  ASSERT_TRUE(config.ok());
  EXPECT_TRUE(config->shares_thread_pools);
  EXPECT_EQ(config->graph_optimization, ort::GraphOptimization::kAll);
  EXPECT_EQ(config->execution_mode, ort::ExecutionMode::kSequential);
  EXPECT_FALSE(config->enable_mem_arena.has_value());
}

TEST(SessionConfig, AThreadCountGivesTheModelItsOwnPools) {
  const auto intra = ReadSessionConfig(SpecWith("intra_op_thread_count", "3"));
  EXPECT_EQ(intra->intra_op_threads, 3);
  EXPECT_FALSE(intra->shares_thread_pools);
  const auto inter = ReadSessionConfig(SpecWith("inter_op_thread_count", "2"));
  EXPECT_EQ(inter->inter_op_threads, 2);
  EXPECT_FALSE(inter->shares_thread_pools);
  EXPECT_TRUE(ReadSessionConfig(SpecWith("intra_op_thread_count", "0"))->shares_thread_pools);
}

TEST(SessionConfig, TheBackendOptionTurnsTheSharedPoolsOff) {
  ModelSpec spec;
  spec.backend_config["enable-global-threadpool"] = "0";
  EXPECT_FALSE(ReadSessionConfig(spec)->shares_thread_pools);
  spec.backend_config["enable-global-threadpool"] = "true";
  EXPECT_TRUE(ReadSessionConfig(spec)->shares_thread_pools);
}

TEST(SessionConfig, GraphLevelsMeanWhatTheyMeanInTriton) {
  const std::pair<int, ort::GraphOptimization> levels[] = {
      {-1, ort::GraphOptimization::kBasic},
      {0, ort::GraphOptimization::kAll},
      {1, ort::GraphOptimization::kExtended},
      {2, ort::GraphOptimization::kDisableAll}};
  for (const auto& [level, expected] : levels) {
    ModelSpec spec;
    spec.graph_optimization_level = level;
    EXPECT_EQ(ReadSessionConfig(spec)->graph_optimization, expected) << level;
    EXPECT_EQ(ReadSessionConfig(SpecWith("level", std::to_string(level)))->graph_optimization,
              expected)
        << level;
  }
}

TEST(SessionConfig, ReadsSwitches) {
  EXPECT_EQ(ReadSessionConfig(SpecWith("enable_mem_arena", "False"))->enable_mem_arena, false);
  EXPECT_EQ(ReadSessionConfig(SpecWith("enable_mem_pattern", "1"))->enable_mem_pattern, true);
  EXPECT_EQ(ReadSessionConfig(SpecWith("session.use_device_allocator_for_initializers", "1"))
                ->use_device_allocator_for_initializers,
            true);
  EXPECT_EQ(ReadSessionConfig(SpecWith("execution_mode", "1"))->execution_mode,
            ort::ExecutionMode::kParallel);
}

TEST(SessionConfig, LeavesGpusOutOfTheArenaShrinkage) {
  constexpr const char* kName = "memory.enable_memory_arena_shrinkage";
  EXPECT_EQ(ReadSessionConfig(SpecWith(kName, "cpu:0;gpu:0"))->memory_arena_shrinkage, "cpu:0");
  EXPECT_EQ(ReadSessionConfig(SpecWith(kName, "gpu:0"))->memory_arena_shrinkage, "");
  EXPECT_FALSE(ReadSessionConfig(SpecWith(kName, "yes")).ok());
  EXPECT_FALSE(ReadSessionConfig(SpecWith(kName, "cpu:")).ok());
}

struct Refused {
  const char* name;
  const char* value;
  const char* expected;
};
class RefusedValue : public ::testing::TestWithParam<Refused> {};

TEST_P(RefusedValue, IsNamedWithItsModelAndWhatIsAllowed) {
  const auto config = ReadSessionConfig(SpecWith(GetParam().name, GetParam().value));
  EXPECT_EQ(config.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(
      config.status().message(),
      AllOf(HasSubstr("model 'resnet'"), HasSubstr("'" + std::string(GetParam().name) + "'"),
            HasSubstr("'" + std::string(GetParam().value) + "'"), HasSubstr(GetParam().expected)));
}

INSTANTIATE_TEST_SUITE_P(SessionConfig, RefusedValue,
                         ::testing::Values(Refused{"intra_op_thread_count", "-1", "from 0 to"},
                                           Refused{"intra_op_thread_count", "two", "from 0 to"},
                                           Refused{"inter_op_thread_count", "99999999999",
                                                   "from 0 to"},
                                           Refused{"inter_op_thread_count", "2 ", "from 0 to"},
                                           Refused{"execution_mode", "2", "from 0 to 1"},
                                           Refused{"level", "3", "from -1 to 2"},
                                           Refused{"enable_mem_arena", "", "boolean"},
                                           Refused{"enable_mem_pattern", "2", "boolean"},
                                           Refused{"session.use_device_allocator_for_initializers",
                                                   "maybe", "boolean"}));

// Every knob at once reaches a real session, which still computes.
TEST(SessionConfig, AModelRunsWithEveryKnobTurned) {
  for (const char* threads : {"0", "2"}) {
    auto spec = CompleteSpec(OnnxRuntime(), ModelPath("tiny"), 8);
    spec->graph_optimization_level = -1;
    spec->parameters = {{"intra_op_thread_count", threads},
                        {"inter_op_thread_count", threads},
                        {"execution_mode", "1"},
                        {"enable_mem_arena", "true"},
                        {"enable_mem_pattern", "false"},
                        {"memory.enable_memory_arena_shrinkage", "cpu:0"},
                        {"session.use_device_allocator_for_initializers", "1"}};
    const LoadedForTest loaded = LoadForTest(OnnxRuntime(), spec);
    ASSERT_NE(loaded.instance, nullptr);
    Execution execution;
    execution.batch_size = 1;
    execution.inputs = {MakeTensor("INPUT0", DataType::kFp32, {1, 16}, std::vector<float>(16, 1))};
    const Status status = Execute(*loaded.instance, &execution);
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_THAT(Values<float>(execution.outputs.at(0)), ::testing::Each(2));
  }
}

}  // namespace
}  // namespace fastserve
