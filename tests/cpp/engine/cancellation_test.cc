// Cancellation in every stage that a request can be in, over every scheduler: when it is answered,
// and what is counted.
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "engine/engine.h"
#include "support/puppet_backend.h"
#include "support/requests.h"

namespace fastserve {
namespace {

class CancellationTestBase : public ::testing::Test {
 protected:
  // With a number, batching holds until so many requests are queued, once.
  explicit CancellationTestBase(std::uint32_t hold_until_queued = 0) {
    EngineOptions options;
    options.delay_scheduler_requests = hold_until_queued;
    options.max_inflight_bytes = 1 << 20;
    options.rate_limit = true;
    options.cache.kind = CacheKind::kLocal;
    options.cache.local_bytes = 1 << 20;
    engine_ = std::move(*Engine::Create(options));
    engine_->RegisterBackend(std::make_unique<PuppetBackend>(strings_));
  }
  ~CancellationTestBase() override { strings_->Release(); }

  // A puppet that runs one row at a time, changed by `configure`.
  void Serve(const std::string& name, const std::function<void(ModelSpec*)>& configure = {}) {
    auto spec = std::make_shared<ModelSpec>(*MakeSpec("puppet", 1));
    spec->name = name;
    if (configure) configure(spec.get());
    auto model = engine_->LoadModel(spec);
    ASSERT_TRUE(model.ok()) << model.status().message();
    (void)engine_->Publish(name, {*model});
  }
  // A sequence of its own, which models without sequences do not notice.
  RequestPtr Submit(const std::string& id, const std::string& model, std::uint64_t sequence = 0) {
    RequestPtr request = MakeRequest(id, sink_);
    request->model_name = model;
    request->sequence_id = sequence;
    request->sequence_start = request->sequence_end = sequence != 0;
    engine_->Submit(request);
    return request;
  }
  StatusCode OutcomeOf(const std::string& id, std::size_t count) {
    for (const auto& answer : sink_->Await(count)) {
      if (answer.id == id) return answer.response.status.code();
    }
    ADD_FAILURE() << "no answer to " << id;
    return StatusCode::kUnknown;
  }
  // The value of a line of the metrics page.
  std::string Metric(const std::string& family, const std::string& labels) {
    const std::string text = "\n" + engine_->MetricsText();
    const std::string start = "\n" + family + "{" + labels + "} ";
    const std::size_t found = text.find(start);
    if (found == std::string::npos) return "no " + start;
    const std::size_t begin = found + start.size();
    return text.substr(begin, text.find('\n', begin) - begin);
  }
  std::string Failures(const std::string& model, const std::string& reason) {
    return Metric("nv_inference_request_failure",
                  "model=\"" + model + "\",reason=\"" + reason + "\",version=\"1\"");
  }
  std::string Successes(const std::string& model) {
    return Metric("nv_inference_request_success", "model=\"" + model + "\",version=\"1\"");
  }
  std::string Pending(const std::string& model) {
    return Metric("nv_inference_pending_request_count", "model=\"" + model + "\",version=\"1\"");
  }

  std::shared_ptr<PuppetStrings> strings_ = std::make_shared<PuppetStrings>();
  std::shared_ptr<RecordingSink> sink_ = std::make_shared<RecordingSink>();
  std::unique_ptr<Engine> engine_;
};

void MakeSequences(ModelSpec* spec, SequenceStrategy strategy) {
  spec->dynamic_batching.enabled = false;
  spec->sequence_batching.enabled = true;
  spec->sequence_batching.strategy = strategy;
  spec->sequence_batching.max_candidate_sequences = 1;
}

void Need(ModelSpec* spec) {
  InstanceGroupSpec group;
  group.name = spec->name;
  group.resources.push_back({"R", false, 1});
  spec->instance_groups.push_back(group);
}

void MakeEnsemble(ModelSpec* spec, std::uint32_t max_inflight_requests) {
  spec->backend.clear();
  spec->dynamic_batching.enabled = false;
  spec->outputs[0].name = "Y";
  spec->ensemble.enabled = true;
  spec->ensemble.max_inflight_requests = max_inflight_requests;
  EnsembleStepSpec step;
  step.model_name = "other";
  step.model_version = -1;
  step.input_map = {{"X", "X"}};
  step.output_map = {{"X", "Y"}};
  spec->ensemble.steps.push_back(step);
}

// Where the request waits: behind one to `blocker`, which runs.
struct Stage {
  const char* name;
  const char* blocker;
  std::function<void(ModelSpec*)> configure;        // the model "m"
  std::function<void(ModelSpec*)> configure_other;  // the model "other"
  const char* pending_of;                           // the model whose queue it waits in
};

const Stage kStages[] = {
    {"Queue", "m", {}, {}, "m"},
    {"BacklogOfDirect",
     "m",
     [](ModelSpec* spec) { MakeSequences(spec, SequenceStrategy::kDirect); },
     {},
     "m"},
    {"SlotOfDirect",
     "m",
     [](ModelSpec* spec) {
       MakeSequences(spec, SequenceStrategy::kDirect);
       spec->max_batch_size = 4;
     },
     {},
     "m"},
    {"BacklogOfOldest",
     "m",
     [](ModelSpec* spec) { MakeSequences(spec, SequenceStrategy::kOldest); },
     {},
     "m"},
    {"EnsembleStep", "other", [](ModelSpec* spec) { MakeEnsemble(spec, 0); }, {}, "other"},
    {"EnsembleWithoutRoom", "m", [](ModelSpec* spec) { MakeEnsemble(spec, 1); }, {}, "m"},
    {"IdenticalRequestUnderWay",
     "m",
     [](ModelSpec* spec) { spec->response_cache = true; },
     {},
     "m"},
    {"RateLimiter", "other", Need, Need, "m"},
    {"RateLimiterOfSequences", "other",
     [](ModelSpec* spec) {
       MakeSequences(spec, SequenceStrategy::kDirect);
       Need(spec);
     },
     Need, "m"},
    {"RateLimiterBehindAnEnsemble", "other", [](ModelSpec* spec) { MakeEnsemble(spec, 0); }, Need,
     "other"},
};

class WaitingCancellationTest : public CancellationTestBase,
                                public ::testing::WithParamInterface<Stage> {};

TEST_P(WaitingCancellationTest, IsAnsweredAtOnceCountedAndLeavesNothingBehind) {
  Serve("other", GetParam().configure_other);
  Serve("m", GetParam().configure);
  strings_->Hold();
  Submit("blocker", GetParam().blocker, 1);
  strings_->AwaitStarted(1);
  const RequestPtr victim = Submit("victim", "m", 2);
  EXPECT_EQ(Pending(GetParam().pending_of), "1");
  victim->Cancel();
  EXPECT_EQ(OutcomeOf("victim", 1), StatusCode::kCancelled);
  EXPECT_EQ(Failures("m", "CANCELED"), "1");
  EXPECT_EQ(Pending(GetParam().pending_of), "0");
  EXPECT_EQ(strings_->seen().size(), 1U);

  strings_->Release();
  EXPECT_EQ(OutcomeOf("blocker", 2), StatusCode::kOk);
  Submit("again", "other", 3);
  EXPECT_EQ(OutcomeOf("again", 3), StatusCode::kOk);
  Submit("next", "m", 4);
  EXPECT_EQ(OutcomeOf("next", 4), StatusCode::kOk);
  EXPECT_TRUE(engine_->WaitIdle(-1));
  EXPECT_EQ(Failures("m", "CANCELED"), "1");
  for (const char* reason : {"REJECTED", "BACKEND", "OTHER"}) EXPECT_EQ(Failures("m", reason), "0");
}

INSTANTIATE_TEST_SUITE_P(Stages, WaitingCancellationTest, ::testing::ValuesIn(kStages),
                         [](const auto& info) { return std::string(info.param.name); });

const Stage kRunning[] = {
    {"Dynamic", "", {}, {}, ""},
    {"Direct", "", [](ModelSpec* spec) { MakeSequences(spec, SequenceStrategy::kDirect); }, {}, ""},
    {"Oldest", "", [](ModelSpec* spec) { MakeSequences(spec, SequenceStrategy::kOldest); }, {}, ""},
    {"Ordered",
     "",
     [](ModelSpec* spec) { spec->dynamic_batching.preserve_ordering = true; },
     {},
     ""},
    {"StepOfAnEnsemble", "", [](ModelSpec* spec) { MakeEnsemble(spec, 0); }, {}, ""},
};

class RunningCancellationTest : public CancellationTestBase,
                                public ::testing::WithParamInterface<Stage> {};

TEST_P(RunningCancellationTest, IsAnsweredWhenItsBatchEndsAndIsNoSuccess) {
  Serve("other");
  Serve("m", GetParam().configure);
  strings_->Hold();
  const RequestPtr victim = Submit("victim", "m", 1);
  strings_->AwaitStarted(1);
  victim->Cancel();
  EXPECT_EQ(sink_->count(), 0U);
  strings_->Release();
  EXPECT_EQ(OutcomeOf("victim", 1), StatusCode::kCancelled);
  EXPECT_TRUE(engine_->WaitIdle(-1));
  EXPECT_EQ(Failures("m", "CANCELED"), "1");
  EXPECT_EQ(Successes("m"), "0");
  Submit("next", "m", 2);
  EXPECT_EQ(OutcomeOf("next", 2), StatusCode::kOk);
  EXPECT_TRUE(engine_->WaitIdle(-1));
  EXPECT_EQ(Successes("m"), "1");
}

INSTANTIATE_TEST_SUITE_P(Schedulers, RunningCancellationTest, ::testing::ValuesIn(kRunning),
                         [](const auto& info) { return std::string(info.param.name); });

class BatchCancellationTest : public CancellationTestBase {
 protected:
  BatchCancellationTest() : CancellationTestBase(2) {}
};

TEST_F(BatchCancellationTest, OthersOfTheBatchAreAnswered) {
  Serve("m", [](ModelSpec* spec) { spec->max_batch_size = 4; });
  strings_->Hold();
  const RequestPtr goes = Submit("goes", "m");
  Submit("stays", "m");
  strings_->AwaitStarted(1);
  goes->Cancel();
  strings_->Release();
  EXPECT_EQ(OutcomeOf("stays", 2), StatusCode::kOk);
  EXPECT_EQ(OutcomeOf("goes", 2), StatusCode::kCancelled);
  EXPECT_TRUE(engine_->WaitIdle(-1));
  EXPECT_EQ(strings_->seen().at(0).batch_size, 2);
  EXPECT_EQ(Successes("m"), "1");
  EXPECT_EQ(Failures("m", "CANCELED"), "1");
}

class CacheCancellationTest : public CancellationTestBase {};

TEST_F(CacheCancellationTest, ResponseThatOthersWaitForIsMadeAlthoughTheFirstIsGone) {
  Serve("m", [](ModelSpec* spec) { spec->response_cache = true; });
  strings_->Hold();
  const RequestPtr first = Submit("first", "m");
  strings_->AwaitStarted(1);
  Submit("second", "m");
  first->Cancel();
  strings_->Release();
  EXPECT_EQ(OutcomeOf("second", 2), StatusCode::kOk);
  EXPECT_TRUE(engine_->WaitIdle(-1));
  EXPECT_EQ(strings_->seen().size(), 1U);
}

}  // namespace
}  // namespace fastserve
