// The worker itself, python/fastserve/python_backend/worker.py, under the engine.
#include <gmock/gmock.h>
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "backend/worker/worker_backend.h"
#include "engine/engine.h"
#include "support/requests.h"

namespace fastserve {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr const char* kModel = R"(
import os, signal
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        x = pb_utils.get_input_tensor_by_name(request, "X")
        value = x.as_numpy()[0, 0]
        if value == 1:
            os.kill(os.getpid(), signal.SIGSEGV)
        if value == 2:
            raise ValueError("no two")
        if value == 3:
            call = pb_utils.InferenceRequest(
                model_name="m", inputs=[x], requested_output_names=["X"])
            answer = call.exec()
            return pb_utils.InferenceResponse(error=answer.error())
        return pb_utils.InferenceResponse([pb_utils.Tensor("X", x.as_numpy() * np.float32(2))])
)";

class RealWorker : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string python = FASTSERVE_TEST_PYTHON;
    if (!std::filesystem::exists(FASTSERVE_WORKER_SCRIPT) || python.empty())
      GTEST_SKIP() << "no " << FASTSERVE_WORKER_SCRIPT << " or no interpreter";
    std::filesystem::create_directories(directory_ + "/1");
    std::ofstream(directory_ + "/1/model.py") << kModel;
    engine_ = std::move(*Engine::Create({}));
    WorkerBackendOptions options;
    options.interpreter = python;
    options.script = FASTSERVE_WORKER_SCRIPT;
    options.host = engine_->inference_host();
    engine_->RegisterBackend(CreateWorkerBackend(std::move(options)));
    auto spec = MakeSpec("python", 8);
    spec->path = directory_ + "/1/model.py";
    spec->config_json =
        R"({"name":"m","max_batch_size":8,"input":[{"name":"X","data_type":"TYPE_FP32","dims":[-1]}],)"
        R"("output":[{"name":"X","data_type":"TYPE_FP32","dims":[-1]}]})";
    auto model = engine_->LoadModel(spec);
    ASSERT_TRUE(model.ok()) << model.status().message();
    (void)engine_->Publish("m", {*model});
  }
  void TearDown() override {
    engine_ = nullptr;
    std::filesystem::remove_all(directory_);
  }

  InferResponse Infer(float value, int width = 2) {
    const auto sink = std::make_shared<RecordingSink>();
    engine_->Submit(MakeRequest("r", sink, value, 1, width));
    return sink->Await(1).at(0).response;
  }

  const std::string directory_ = ::testing::TempDir() + "real_worker_" + std::to_string(getpid());
  std::unique_ptr<Engine> engine_;
};

TEST_F(RealWorker, AnswersSmallAndLargeTensors) {
  EXPECT_THAT(FloatsOf(Infer(21).outputs.at(0)), ElementsAre(42, 42));
  const std::vector<float> large = FloatsOf(Infer(4, 1 << 20).outputs.at(0));
  EXPECT_EQ(large, std::vector<float>(std::size_t{1} << 20, 8));
}

TEST_F(RealWorker, AnExceptionIsTheRequestsError) {
  EXPECT_THAT(Infer(2).status.message(), HasSubstr("no two"));
  EXPECT_TRUE(Infer(5).status.ok());
}

TEST_F(RealWorker, ACrashNamesTheSignalAndTheNextWorkerAnswers) {
  EXPECT_THAT(Infer(1).status.message(), HasSubstr("was killed by signal 11 (SIGSEGV)"));
  EXPECT_THAT(FloatsOf(Infer(5).outputs.at(0)), ElementsAre(10, 10));
}

TEST_F(RealWorker, ACallOfItselfOnItsOnlyInstanceFailsAndNamesTheChain) {
  EXPECT_THAT(Infer(3).status.message(), HasSubstr("(m -> m)"));
}

}  // namespace
}  // namespace fastserve
