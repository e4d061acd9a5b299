// The contract of csrc/backend/backend.h, run over every backend and a model of each kind.
#include <gmock/gmock.h>

#include <atomic>
#include <functional>
#include <thread>

#include "backend/identity/identity.h"
#include "backend/model_runner.h"

namespace fastserve {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Backend& Identity() {
  static const std::unique_ptr<Backend> backend = CreateIdentityBackend();
  return *backend;
}

TensorSpec Spec(std::string name, DataType type, Shape dims) {
  TensorSpec spec;
  spec.name = std::move(name);
  spec.type = type;
  spec.dims = std::move(dims);
  return spec;
}

// OUTPUT0 = INPUT0 over [-1,-1] of `type`, on one backend.
struct Subject {
  std::string label;
  Backend& (*backend)();
  std::shared_ptr<ModelSpec> (*spec)(DataType type, int max_batch_size);
};

std::shared_ptr<ModelSpec> IdentitySpec(DataType type, int max_batch_size) {
  auto spec = std::make_shared<ModelSpec>();
  spec->name = "model_under_test";
  spec->backend = "identity";
  spec->max_batch_size = max_batch_size;
  const Shape dims = max_batch_size > 0 ? Shape{-1} : Shape{-1, -1};
  spec->inputs = {Spec("INPUT0", type, dims)};
  spec->outputs = {Spec("OUTPUT0", type, dims)};
  return spec;
}

std::shared_ptr<ModelSpec> OnnxSpec(DataType type, int max_batch_size) {
  const std::shared_ptr<ModelSpec> spec = IdentitySpec(type, max_batch_size);
  std::string suffix(DataTypeName(type));
  for (char& letter : suffix) letter = static_cast<char>(std::tolower(letter));
  spec->backend = "onnxruntime";
  spec->path = ModelPath("identity_" + suffix);
  return spec;
}

class BackendContract : public ::testing::TestWithParam<Subject> {
 protected:
  LoadedForTest Load(DataType type, int max_batch_size = 8) {
    return LoadForTest(GetParam().backend(), GetParam().spec(type, max_batch_size));
  }
};

Execution BatchOf(Tensor tensor) {
  Execution execution;
  execution.batch_size = tensor.shape.empty() ? 1 : tensor.shape[0];
  execution.inputs.push_back(std::move(tensor));
  return execution;
}

TEST_P(BackendContract, HasItsName) { EXPECT_EQ(GetParam().backend().name(), GetParam().label); }

TEST_P(BackendContract, ReportsEachExecutionExactlyOnceWithTheNamedOutput) {
  const LoadedForTest loaded = Load(DataType::kFp32);
  Execution execution =
      BatchOf(MakeTensor("INPUT0", DataType::kFp32, {2, 3}, std::vector<float>{1, 2, 3, 4, 5, 6}));
  ASSERT_TRUE(Execute(*loaded.instance, &execution).ok());
  ASSERT_EQ(execution.outputs.size(), 1u);
  EXPECT_EQ(execution.outputs[0].name, "OUTPUT0");
  EXPECT_EQ(execution.outputs[0].type, DataType::kFp32);
  EXPECT_EQ(execution.outputs[0].shape, (Shape{2, 3}));
  EXPECT_THAT(Values<float>(execution.outputs[0]), ElementsAre(1, 2, 3, 4, 5, 6));
}

TEST_P(BackendContract, CarriesEveryFixedSizeTypeBitForBit) {
  for (const DataType type :
       {DataType::kBool, DataType::kUint8, DataType::kUint16, DataType::kUint32, DataType::kUint64,
        DataType::kInt8, DataType::kInt16, DataType::kInt32, DataType::kInt64, DataType::kFp16,
        DataType::kFp32, DataType::kFp64, DataType::kBf16}) {
    SCOPED_TRACE(DataTypeName(type));
    const LoadedForTest loaded = Load(type);
    std::string bytes(6 * DataTypeByteSize(type), '\0');
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      bytes[i] = static_cast<char>(type == DataType::kBool ? i % 2 : 255 - 7 * i);
    }
    Execution execution = BatchOf(MakeTensor("INPUT0", type, {2, 3}, bytes.data(), bytes.size()));
    const Status status = Execute(*loaded.instance, &execution);
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(execution.outputs.at(0).type, type);
    EXPECT_EQ(Bytes(execution.outputs[0]), bytes);
  }
}

TEST_P(BackendContract, CarriesStringsWithNulEmptyAndInvalidUtf8) {
  const LoadedForTest loaded = Load(DataType::kBytes);
  const std::vector<std::string> elements = {
      "", std::string("a\0b", 3), "\xff\xfe", std::string(3000, 'x'), "end", ""};
  Execution execution = BatchOf(MakeStrings("INPUT0", {2, 3}, elements));
  ASSERT_TRUE(Execute(*loaded.instance, &execution).ok());
  EXPECT_EQ(execution.outputs.at(0).type, DataType::kBytes);
  EXPECT_EQ(execution.outputs[0].shape, (Shape{2, 3}));
  EXPECT_EQ(Strings(execution.outputs[0]), elements);
}

TEST_P(BackendContract, CarriesTensorsWithoutElements) {
  for (const DataType type : {DataType::kFp32, DataType::kBytes}) {
    SCOPED_TRACE(DataTypeName(type));
    const LoadedForTest loaded = Load(type);
    Tensor tensor{"INPUT0", type, {2, 0}, {}};
    Execution execution = BatchOf(std::move(tensor));
    const Status status = Execute(*loaded.instance, &execution);
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(execution.outputs.at(0).shape, (Shape{2, 0}));
    EXPECT_EQ(execution.outputs[0].data.size, 0u);
  }
}

TEST_P(BackendContract, ServesModelsThatDoNotBatch) {
  const LoadedForTest loaded = Load(DataType::kInt32, /*max_batch_size=*/0);
  Execution execution;
  execution.batch_size = 1;
  execution.inputs.push_back(
      MakeTensor("INPUT0", DataType::kInt32, {3, 1}, std::vector<std::int32_t>{7, 8, 9}));
  ASSERT_TRUE(Execute(*loaded.instance, &execution).ok());
  EXPECT_THAT(Values<std::int32_t>(execution.outputs.at(0)), ElementsAre(7, 8, 9));
}

TEST_P(BackendContract, CarriesSixteenMegabytes) {
  const LoadedForTest loaded = Load(DataType::kFp32);
  std::vector<float> values(4 << 20);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 1000);
  Execution execution =
      BatchOf(MakeTensor("INPUT0", DataType::kFp32, {4, std::int64_t{1} << 20}, values));
  ASSERT_TRUE(Execute(*loaded.instance, &execution).ok());
  EXPECT_EQ(Values<float>(execution.outputs.at(0)), values);
}

TEST_P(BackendContract, OutputsOutliveInstanceModelAndInputs) {
  Tensor output;
  {
    const LoadedForTest loaded = Load(DataType::kFp32);
    Execution execution =
        BatchOf(MakeTensor("INPUT0", DataType::kFp32, {1, 2}, std::vector<float>{1.5, 2.5}));
    ASSERT_TRUE(Execute(*loaded.instance, &execution).ok());
    output = execution.outputs.at(0);
  }
  EXPECT_THAT(Values<float>(output), ElementsAre(1.5, 2.5));
}

TEST_P(BackendContract, RunsAgainOnOneInstanceWithOtherShapes) {
  const LoadedForTest loaded = Load(DataType::kInt64);
  for (std::int64_t rows = 1; rows <= 8; ++rows) {
    const std::vector<std::int64_t> values(static_cast<std::size_t>(rows * rows), rows);
    Execution execution = BatchOf(MakeTensor("INPUT0", DataType::kInt64, {rows, rows}, values));
    ASSERT_TRUE(Execute(*loaded.instance, &execution).ok());
    EXPECT_EQ(Values<std::int64_t>(execution.outputs.at(0)), values);
  }
}

TEST_P(BackendContract, InstancesOfOneModelRunConcurrently) {
  const LoadedForTest loaded = Load(DataType::kInt32);
  std::atomic<int> right{0};
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      auto instance = loaded.model->CreateInstance("model_under_test_" + std::to_string(thread));
      for (int i = 0; i < 100; ++i) {
        const std::vector<std::int32_t> values(16, 1000 * thread + i);
        Execution execution = BatchOf(MakeTensor("INPUT0", DataType::kInt32, {1, 16}, values));
        RecordingObserver observer;
        (*instance)->Execute(&execution, &observer);
        if (observer.status.ok() && Values<std::int32_t>(execution.outputs.at(0)) == values)
          ++right;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 400);
}

TEST(IdentityBackend, EchoesARaggedInputThatGoesBackInItsOwnShapes) {
  const auto spec = IdentitySpec(DataType::kFp32, 8);
  spec->inputs[0].allow_ragged_batch = true;
  spec->batch_outputs = {{"OUTPUT0", "INPUT0"}};
  const LoadedForTest loaded = LoadForTest(Identity(), spec);
  Execution execution =
      BatchOf(MakeTensor("INPUT0", DataType::kFp32, {3}, std::vector<float>{1, 2, 3}));
  ASSERT_TRUE(Execute(*loaded.instance, &execution).ok());
  EXPECT_EQ(execution.outputs.at(0).shape, (Shape{3}));
}

TEST(IdentityBackend, RefusesARaggedInputWhoseEchoHasNoShape) {
  const auto spec = IdentitySpec(DataType::kFp32, 8);
  spec->inputs[0].allow_ragged_batch = true;
  const auto loaded = Identity().LoadModel(spec);
  EXPECT_EQ(loaded.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(loaded.status().message(),
              HasSubstr("write batch_output [ { target_name: \"OUTPUT0\""));
}

TEST(IdentityBackend, RefusesBatchInputsByName) {
  const auto spec = IdentitySpec(DataType::kFp32, 8);
  spec->batch_inputs = {{"COUNT", BatchInputKind::kElementCount, DataType::kInt32, "INPUT0"}};
  EXPECT_THAT(Identity().LoadModel(spec).status().message(),
              HasSubstr("the identity backend reads no batch_input 'COUNT'"));
}

INSTANTIATE_TEST_SUITE_P(Backends, BackendContract,
                         ::testing::Values(Subject{"identity", Identity, IdentitySpec},
                                           Subject{"onnxruntime", OnnxRuntime, OnnxSpec}),
                         [](const auto& info) { return info.param.label; });

}  // namespace
}  // namespace fastserve
