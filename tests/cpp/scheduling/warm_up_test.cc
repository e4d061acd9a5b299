#include "scheduling/warm_up.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "support/requests.h"

namespace fastserve {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Lt;

// Remembers the inputs of every execution.
class RecordingInstance final : public BackendInstance {
 public:
  void Execute(Execution* execution, ExecutionObserver* observer) override {
    executions.push_back(execution->inputs);
    batch_sizes.push_back(execution->batch_size);
    observer->OnExecuted(execution, status);
  }
  std::vector<std::vector<Tensor>> executions;
  std::vector<std::int64_t> batch_sizes;
  Status status;
};

class WarmUpTest : public testing::Test {
 protected:
  WarmUpTest() {
    spec_.name = "m";
    spec_.max_batch_size = 8;
    spec_.inputs.resize(1);
    spec_.inputs[0].name = "x";
    spec_.inputs[0].type = DataType::kFp32;
    spec_.inputs[0].dims = {2};
    sample_.name = "w";
    sample_.batch_size = 3;
  }
  Status Run(WarmupInputSpec input) {
    sample_.inputs = {std::move(input)};
    spec_.warmup = {sample_};
    return WarmUp(spec_, &instance_);
  }
  static WarmupInputSpec Input(DataType type, WarmupInputSpec::Source source) {
    return {"x", type, {2}, source, ""};
  }
  WarmupInputSpec File(const std::string& bytes, DataType type = DataType::kFp32) {
    const std::string path = testing::TempDir() + "/warmup_row";
    std::ofstream(path, std::ios::binary) << bytes;
    WarmupInputSpec input = Input(type, WarmupInputSpec::Source::kFile);
    input.path = path;
    return input;
  }

  ModelSpec spec_;
  WarmupSpec sample_;
  RecordingInstance instance_;
};

TEST_F(WarmUpTest, ZeroesFillTheBatch) {
  sample_.count = 2;
  ASSERT_TRUE(Run(Input(DataType::kFp32, WarmupInputSpec::Source::kZero)).ok());
  EXPECT_THAT(instance_.batch_sizes, ElementsAre(3, 3));
  EXPECT_THAT(instance_.executions[1][0].shape, ElementsAre(3, 2));
  EXPECT_THAT(ValuesOf<float>(instance_.executions[1][0]), ElementsAre(0, 0, 0, 0, 0, 0));
}

TEST_F(WarmUpTest, RaggedSamplesComeAsRequestsDo) {
  spec_.inputs[0].allow_ragged_batch = true;
  spec_.batch_inputs = {
      {"bounds", BatchInputKind::kAccumulatedElementCountWithZero, DataType::kInt32, "x"}};
  ASSERT_TRUE(Run(Input(DataType::kFp32, WarmupInputSpec::Source::kZero)).ok());
  EXPECT_THAT(instance_.executions[0][0].shape, ElementsAre(6));
  EXPECT_EQ(instance_.executions[0][1].name, "bounds");
  EXPECT_THAT(ValuesOf<std::int32_t>(instance_.executions[0][1]), ElementsAre(0, 2, 4, 6));
}

TEST_F(WarmUpTest, ASampleWithoutTheSourceOfABatchInputIsNamed) {
  spec_.batch_inputs = {{"count", BatchInputKind::kElementCount, DataType::kInt32, "other"}};
  const Status status = Run(Input(DataType::kFp32, WarmupInputSpec::Source::kZero));
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(),
              HasSubstr("warmup sample 'w': batch input 'count' needs input 'other'"));
}

TEST_F(WarmUpTest, RandomNumbersAreInRange) {
  ASSERT_TRUE(Run(Input(DataType::kFp32, WarmupInputSpec::Source::kRandom)).ok());
  EXPECT_THAT(ValuesOf<float>(instance_.executions[0][0]), Each(Lt(1.0F)));
  ASSERT_TRUE(Run(Input(DataType::kInt64, WarmupInputSpec::Source::kRandom)).ok());
  const auto values = ValuesOf<std::uint64_t>(instance_.executions[1][0]);
  EXPECT_EQ(values.size(), 6U);
  EXPECT_THAT(values, Each(Lt(100U)));
}

TEST_F(WarmUpTest, AFileHoldsOneRowWhichIsRepeated) {
  const float row[] = {1.5F, -2.0F};
  const std::string bytes(reinterpret_cast<const char*>(row), sizeof(row));
  ASSERT_TRUE(Run(File(bytes)).ok());
  EXPECT_THAT(ValuesOf<float>(instance_.executions[0][0]),
              ElementsAre(1.5F, -2.0F, 1.5F, -2.0F, 1.5F, -2.0F));
}

TEST_F(WarmUpTest, AFileOfAnotherSizeIsRefused) {
  const Status status = Run(File("123"));
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("warmup sample 'w': input 'x' of shape [2] needs 8 "));
  EXPECT_THAT(status.message(), HasSubstr("has 3"));
  EXPECT_FALSE(Run(File(std::string("\1\0\0\0x", 5), DataType::kBytes)).ok());
}

TEST_F(WarmUpTest, AMissingFileIsAnError) {
  WarmupInputSpec input = File("");
  std::filesystem::remove(input.path);
  EXPECT_FALSE(Run(input).ok());
}

TEST_F(WarmUpTest, StringsAreSerialised) {
  ASSERT_TRUE(Run(Input(DataType::kBytes, WarmupInputSpec::Source::kZero)).ok());
  EXPECT_EQ(instance_.executions[0][0].data.size, 6 * sizeof(std::uint32_t));
}

TEST_F(WarmUpTest, AModelThatDoesNotBatchGetsNoBatchDimension) {
  spec_.max_batch_size = 0;
  sample_.batch_size = 1;
  ASSERT_TRUE(Run(Input(DataType::kFp32, WarmupInputSpec::Source::kZero)).ok());
  EXPECT_THAT(instance_.executions[0][0].shape, ElementsAre(2));
}

TEST_F(WarmUpTest, HugeShapesAreRefusedBeforeTheyAreAllocated) {
  WarmupInputSpec input = Input(DataType::kFp32, WarmupInputSpec::Source::kZero);
  input.dims = {std::int64_t{1} << 40, std::int64_t{1} << 40};
  EXPECT_THAT(Run(input).message(), HasSubstr("too large for a warm-up of 3 rows"));
}

TEST_F(WarmUpTest, AFailingSampleIsNamed) {
  instance_.status = Status::Internal("boom");
  EXPECT_EQ(Run(Input(DataType::kFp32, WarmupInputSpec::Source::kZero)).message(),
            "failed to run warmup sample 'w': boom");
}

}  // namespace
}  // namespace fastserve
