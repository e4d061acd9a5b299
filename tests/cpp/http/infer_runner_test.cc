// The runner of an event loop over the real engine and identity backend: every call is answered
// once, through the queue, never inside Start.
#include "http/infer_runner.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "backend/identity/identity.h"

namespace fastserve {
namespace {

class CountingTarget : public ReplyTarget {
 public:
  void OnReply(InferReply reply) override {
    ++replies;
    status = reply.status;
    body = reply.body.Flatten();
  }
  int replies = 0;
  int status = 0;
  std::string body;
};

std::shared_ptr<ModelSpec> IdentitySpec(const std::string& delay_ms) {
  auto spec = std::make_shared<ModelSpec>();
  spec->name = "identity";
  spec->backend = "identity";
  spec->max_batch_size = 8;
  spec->instance_groups.emplace_back().name = "cpu";
  spec->parameters["execute_delay_ms"] = delay_ms;
  TensorSpec tensor;
  tensor.type = DataType::kFp32;
  tensor.dims = {-1};
  tensor.name = "INPUT0";
  spec->inputs.push_back(tensor);
  tensor.name = "OUTPUT0";
  spec->outputs.push_back(tensor);
  return spec;
}

class InferRunnerTest : public ::testing::Test {
 protected:
  InferRunnerTest() { Restart({}); }

  void Restart(const EngineOptions& options) {
    runner_.reset();
    engine_ = Engine::Create(options).value();
    engine_->RegisterBackend(CreateIdentityBackend());
    LoadModel("0");
    runner_ = std::make_unique<InferRunner>(engine_, InferJsonLimits(), [this] { ++scheduled_; });
  }

  void LoadModel(const std::string& delay_ms) {
    engine_->Publish("identity", {engine_->LoadModel(IdentitySpec(delay_ms)).value()});
  }

  std::shared_ptr<CountingTarget> Start(const std::string& json, RequestPtr* request = nullptr) {
    auto target = std::make_shared<CountingTarget>();
    InferCall call;
    call.request = std::make_shared<InferRequest>();
    call.request->model_name = "identity";
    call.body = AllocateHostBuffer(json.size());
    std::memcpy(call.body.data, json.data(), json.size());
    call.body_claim = ByteClaim(engine_->byte_budget());
    EXPECT_TRUE(call.body_claim.Add(json.size(), json.size()).ok());
    call.json_size = json.size();
    call.target = target;
    if (request != nullptr) *request = call.request;
    runner_->Start(std::move(call));
    return target;
  }

  // As the event loop does: delivers whenever the queue's descriptor is readable.
  void RunUntilAnswered(const CountingTarget& target) {
    runner_->Run();
    runner_->queue()->DeliverWaiting();
    while (target.replies == 0) {
      pollfd wake{runner_->queue()->fd(), POLLIN, 0};
      ASSERT_EQ(poll(&wake, 1, 30'000), 1);
      runner_->queue()->DeliverAfterWake();
    }
  }

  std::shared_ptr<Engine> engine_;
  int scheduled_ = 0;
  std::unique_ptr<InferRunner> runner_;
};

std::string Body(std::size_t elements) {
  std::string data = "0";
  for (std::size_t i = 1; i < elements; ++i) data += ",0";
  return R"({"inputs":[{"name":"INPUT0","datatype":"FP32","shape":[1,)" + std::to_string(elements) +
         R"(],"data":[)" + data + "]}]}";
}

TEST_F(InferRunnerTest, SchedulesOneRunForAllCallsOfATurn) {
  const auto first = Start(Body(1));
  const auto second = Start("not JSON");
  EXPECT_EQ(scheduled_, 1);
  EXPECT_EQ(first->replies + second->replies, 0);
  RunUntilAnswered(*first);
  RunUntilAnswered(*second);
  EXPECT_EQ(first->status, 200) << first->body;
  EXPECT_NE(first->body.find("OUTPUT0"), std::string::npos);
  EXPECT_EQ(second->status, 400);
  EXPECT_EQ(first->replies + second->replies, 2);
  Start(Body(1));
  EXPECT_EQ(scheduled_, 2);
}

TEST_F(InferRunnerTest, AnswersLargeJsonFromItsOwnThread) {
  const auto target = Start(Body(200'000));
  RunUntilAnswered(*target);
  EXPECT_EQ(target->status, 200) << target->body.substr(0, 200);
  EXPECT_EQ(target->replies, 1);
}

TEST_F(InferRunnerTest, ABodyIsNotCountedBesideItsInputs) {
  for (const std::size_t elements : {std::size_t{10}, std::size_t{200'000}}) {
    EngineOptions options;  // room for the larger of both
    options.max_inflight_bytes = std::max(Body(elements).size(), elements * sizeof(float));
    Restart(options);
    const auto target = Start(Body(elements));
    EXPECT_EQ(engine_->inflight_bytes(), Body(elements).size());
    RunUntilAnswered(*target);
    EXPECT_EQ(target->status, 200) << target->body.substr(0, 200);
    EXPECT_TRUE(engine_->WaitIdle(-1));
    EXPECT_EQ(engine_->inflight_bytes(), 0u);
  }
}

TEST_F(InferRunnerTest, ABodyThatCannotBeParsedGivesItsBytesBack) {
  const auto target = Start("not JSON" + std::string(300'000, ' '));
  EXPECT_GT(engine_->inflight_bytes(), 300'000u);
  RunUntilAnswered(*target);
  EXPECT_EQ(target->status, 400);
  EXPECT_EQ(engine_->inflight_bytes(), 0u);
}

TEST_F(InferRunnerTest, ARequestCancelledBeforeItRunsIsAnsweredOnce) {
  RequestPtr request;
  const auto target = Start(Body(1), &request);
  request->Cancel();
  RunUntilAnswered(*target);
  EXPECT_EQ(target->replies, 1);
  EXPECT_NE(target->status, 200);
}

TEST_F(InferRunnerTest, AnUnknownModelIsNotFound) {
  RequestPtr request;
  const auto target = Start(Body(1), &request);
  request->model_name = "nobody";
  RunUntilAnswered(*target);
  EXPECT_EQ(target->status, 404);
  EXPECT_NE(target->body.find("Request for unknown model: 'nobody' is not found"),
            std::string::npos);
}

TEST_F(InferRunnerTest, WakesItsLoopWhenAModelIsNotCheap) {
  LoadModel("20");
  const auto target = Start(Body(1));
  RunUntilAnswered(*target);
  EXPECT_EQ(target->status, 200) << target->body;
}

}  // namespace
}  // namespace fastserve
