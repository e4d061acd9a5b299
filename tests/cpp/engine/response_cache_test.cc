// The response cache as the engine uses it: what is answered from it, and what the statistics say.
#include <gtest/gtest.h>

#include <thread>

#include "engine/engine.h"
#include "support/fake_clock.h"
#include "support/puppet_backend.h"
#include "support/requests.h"

namespace fastserve {
namespace {

class ResponseCacheTest : public ::testing::Test {
 protected:
  ResponseCacheTest() {
    EngineOptions options;
    options.clock = &clock_;
    options.max_inflight_bytes = 1 << 20;
    options.cache.kind = CacheKind::kLocal;
    options.cache.local_bytes = 1 << 20;
    Start(options);
  }
  ~ResponseCacheTest() override { strings_->Release(); }

  void Start(const EngineOptions& options) {
    auto engine = Engine::Create(options);
    EXPECT_TRUE(engine.ok());
    engine_ = std::move(*engine);
    engine_->RegisterBackend(std::make_unique<PuppetBackend>(strings_));
  }
  LoadedModelPtr Load(bool cached = true) {
    auto spec = std::make_shared<ModelSpec>(*MakeSpec("puppet", 8));
    spec->response_cache = cached;
    auto model = engine_->LoadModel(spec);
    EXPECT_TRUE(model.ok()) << model.status().message();
    return *model;
  }
  void Serve(bool cached = true) { (void)engine_->Publish("m", {Load(cached)}); }
  RequestPtr Submit(const std::string& id, float value = 0) {
    RequestPtr request = MakeRequest(id, sink_, value);
    engine_->Submit(request);
    return request;
  }
  // One request from beginning to end.
  RecordingSink::Answer Ask(const std::string& id, float value = 0) {
    const std::size_t before = sink_->count();
    Submit(id, value);
    auto answer = sink_->Await(before + 1)[before];
    EXPECT_TRUE(engine_->WaitIdle(-1));
    return answer;
  }
  std::size_t executions() { return strings_->seen().size(); }
  std::string Statistics() { return *engine_->StatisticsJson("m", -1); }
  static bool Has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  }

  FakeClock clock_;
  std::shared_ptr<PuppetStrings> strings_ = std::make_shared<PuppetStrings>();
  std::shared_ptr<RecordingSink> sink_ = std::make_shared<RecordingSink>();
  std::unique_ptr<Engine> engine_;
};

TEST_F(ResponseCacheTest, EqualRequestsAreExecutedOnce) {
  Serve();
  Ask("a", 1);
  const auto hit = Ask("b", 1);
  EXPECT_EQ(executions(), 1U);
  EXPECT_EQ(hit.response.id, "b");
  EXPECT_EQ(FloatsOf(hit.response.outputs[0]), (std::vector<float>{1, 1}));
  Ask("c", 2);
  EXPECT_EQ(executions(), 2U);
}

TEST_F(ResponseCacheTest, ModelThatDoesNotAskForItIsNotCached) {
  Serve(/*cached=*/false);
  Ask("a");
  Ask("b");
  EXPECT_EQ(executions(), 2U);
  EXPECT_FALSE(Has(engine_->MetricsText(), "nv_cache_"));
}

TEST_F(ResponseCacheTest, ServerWithoutACacheExecutesEveryRequest) {
  EngineOptions options;
  options.max_inflight_bytes = 1 << 20;
  Start(options);
  Serve();
  Ask("a");
  Ask("b");
  EXPECT_EQ(executions(), 2U);
}

TEST_F(ResponseCacheTest, ReloadedModelStartsWithoutResponses) {
  Serve();
  Ask("a");
  Serve();
  Ask("b");
  EXPECT_EQ(executions(), 2U);
}

TEST_F(ResponseCacheTest, RequestedOutputsHaveEntriesOfTheirOwn) {
  Serve();
  Ask("a");
  RequestPtr request = MakeRequest("b", sink_);
  request->outputs = {{"X", 1, false}};
  engine_->Submit(request);
  const auto classes = sink_->Await(2)[1].response;
  ASSERT_TRUE(classes.status.ok()) << classes.status.message();
  EXPECT_EQ(classes.outputs[0].type, DataType::kBytes);
  EXPECT_EQ(executions(), 2U);
}

TEST_F(ResponseCacheTest, HitsCountAsSuccessesThatWereNotExecuted) {
  Serve();
  Ask("a");
  Ask("b");
  Ask("c");
  const std::string text = Statistics();
  EXPECT_TRUE(Has(text, "\"inference_count\":1,\"execution_count\":1")) << text;
  EXPECT_TRUE(Has(text, "\"success\":{\"count\":3")) << text;
  EXPECT_TRUE(Has(text, "\"queue\":{\"count\":3")) << text;
  EXPECT_TRUE(Has(text, "\"compute_infer\":{\"count\":1")) << text;
  EXPECT_TRUE(Has(text, "\"cache_hit\":{\"count\":2")) << text;
  EXPECT_TRUE(Has(text, "\"cache_miss\":{\"count\":1")) << text;
  const std::string metrics = engine_->MetricsText();
  for (const char* line : {"nv_cache_num_hits_per_model{model=\"m\",version=\"1\"} 2\n",
                           "nv_cache_num_misses_per_model{model=\"m\",version=\"1\"} 1\n",
                           "nv_cache_hit_duration_per_model{model=\"m\",version=\"1\"} 0\n",
                           "nv_cache_miss_duration_per_model{model=\"m\",version=\"1\"} 0\n",
                           "nv_inference_request_success{model=\"m\",version=\"1\"} 3\n",
                           "nv_inference_count{model=\"m\",version=\"1\"} 1\n",
                           "# TYPE nv_fastserve_response_cache_bytes gauge\n"}) {
    EXPECT_TRUE(Has(metrics, line)) << line << metrics;
  }
}

TEST_F(ResponseCacheTest, IdenticalRequestsUnderWayAreExecutedOnce) {
  Serve();
  strings_->Hold();
  Submit("a");
  strings_->AwaitStarted(1);
  Submit("b");
  Submit("c");
  clock_.Advance(2'000);
  strings_->Release();
  EXPECT_TRUE(sink_->Await(3)[2].response.status.ok());
  EXPECT_TRUE(engine_->WaitIdle(-1));
  EXPECT_EQ(executions(), 1U);
  // Those that waited spent the time in the queue.
  EXPECT_TRUE(Has(Statistics(), "\"queue\":{\"count\":3,\"ns\":4000}")) << Statistics();
}

TEST_F(ResponseCacheTest, FailedExecutionIsNotKept) {
  Serve();
  strings_->EndWith(Status::Internal("broken"));
  EXPECT_FALSE(Ask("a").response.status.ok());
  strings_->EndWith(Status::Ok());
  EXPECT_TRUE(Ask("b").response.status.ok());
  EXPECT_EQ(executions(), 2U);
}

TEST_F(ResponseCacheTest, SequenceRequestsPassTheCacheBy) {
  Serve();
  for (const char* id : {"a", "b"}) {
    RequestPtr request = MakeRequest(id, sink_);
    request->sequence_id = std::uint64_t{5};
    engine_->Submit(request);
  }
  sink_->Await(2);
  EXPECT_TRUE(engine_->WaitIdle(-1));
  EXPECT_FALSE(Has(Statistics(), "\"cache_hit\":{\"count\":1"));
}

TEST_F(ResponseCacheTest, HitIsAnsweredBeforeSubmitReturns) {
  Serve();
  Ask("a");
  Lender lender;
  engine_->Submit(MakeRequest("b", sink_), &lender);
  EXPECT_EQ(sink_->count(), 2U);
  EXPECT_TRUE(lender.empty());
}

TEST_F(ResponseCacheTest, EngineThatEndsAnswersWhatWaits) {
  Serve();
  strings_->Hold();
  for (const char* id : {"running", "waiting", "waiting too"}) {
    Submit(id);
    strings_->AwaitStarted(1);
  }
  Submit("queued", 5);
  Submit("behind it", 5);
  std::thread releaser([this] { strings_->Release(); });
  engine_.reset();
  releaser.join();
  EXPECT_EQ(sink_->count(), 5U);
}

}  // namespace
}  // namespace fastserve
