// What every scheduler promises, whatever its kind: exactly one answer, order of arrival,
// cancellation in every stage, a bounded queue that refuses, an orderly end.
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "scheduling/dynamic_batcher.h"
#include "scheduling/ensemble_scheduler.h"
#include "support/fake_clock.h"
#include "support/puppet_backend.h"
#include "support/requests.h"

namespace fastserve {
namespace {

// A scheduler that takes MakeRequest's requests one at a time to a puppet.
class Rig {
 public:
  virtual ~Rig() = default;
  virtual Scheduler& scheduler() = 0;
  virtual void Stop() = 0;

 protected:
  std::shared_ptr<DynamicBatcher> MakeBatcher(const std::shared_ptr<ModelSpec>& spec,
                                              const std::shared_ptr<PuppetStrings>& strings) {
    spec->dynamic_batching.enabled = false;  // batches of one: the order is visible
    DynamicBatcher::Options options;
    options.spec = spec;
    options.clock = &clock_;
    options.timer = &timer_;
    options.statistics = std::make_shared<ModelStatistics>();
    options.instances.push_back(std::make_unique<PuppetInstance>(strings));
    return DynamicBatcher::Create(std::move(options));
  }

  FakeClock clock_;
  DeadlineTimer timer_{clock_};
};

class BatcherRig final : public Rig {
 public:
  explicit BatcherRig(const std::shared_ptr<PuppetStrings>& strings)
      : batcher_(MakeBatcher(MakeSpec("puppet", 8), strings)) {}
  Scheduler& scheduler() override { return *batcher_; }
  void Stop() override { batcher_->Stop(); }

 private:
  std::shared_ptr<DynamicBatcher> batcher_;
};

// An ensemble of one step, one request at a time, so that requests wait in the ensemble.
class EnsembleRig final : public Rig, public RequestRouter {
 public:
  explicit EnsembleRig(const std::shared_ptr<PuppetStrings>& strings) {
    auto member_spec = MakeSpec("puppet", 8);
    member_ = std::make_shared<Member>(member_spec, MakeBatcher(member_spec, strings));
    auto spec = MakeSpec("", 8);
    spec->name = "e";
    spec->ensemble.enabled = true;
    spec->ensemble.max_inflight_requests = 1;
    spec->inputs[0].name = "X";
    spec->outputs[0].name = "Y";
    spec->ensemble.steps.push_back({"m", -1, {{"X", "X"}}, {{"X", "Y"}}});
    ensemble_ =
        *EnsembleScheduler::Create({spec, &clock_, std::make_shared<ModelStatistics>(), this});
  }
  Scheduler& scheduler() override { return *ensemble_; }
  void Stop() override {
    ensemble_->Stop();
    member_->batcher->Stop();
  }
  Result<std::shared_ptr<RequestTarget>> Find(std::string_view, std::int64_t) const override {
    return std::shared_ptr<RequestTarget>(member_);
  }

 private:
  struct Member final : RequestTarget {
    Member(std::shared_ptr<const ModelSpec> member_spec, std::shared_ptr<DynamicBatcher> scheduler)
        : spec_(std::move(member_spec)), batcher(std::move(scheduler)) {}
    const std::shared_ptr<const ModelSpec>& spec() const override { return spec_; }
    void Submit(const RequestPtr& request, Lender* /*lender*/) override {
      request->spec = spec_;
      batcher->Enqueue(request, /*lend=*/false);
    }
    const std::shared_ptr<const ModelSpec> spec_;
    const std::shared_ptr<DynamicBatcher> batcher;
  };

  std::shared_ptr<Member> member_;
  std::shared_ptr<EnsembleScheduler> ensemble_;
};

struct Kind {
  const char* name;
  std::function<std::unique_ptr<Rig>(const std::shared_ptr<PuppetStrings>&)> make;
};

class SchedulerContract : public ::testing::TestWithParam<Kind> {
 protected:
  SchedulerContract() : rig_(GetParam().make(strings_)) {}
  ~SchedulerContract() override {
    strings_->Release();
    rig_->Stop();
  }

  RequestPtr Enqueue(const std::string& id, float value = 0, bool lend = false) {
    RequestPtr request = MakeRequest(id, sink_, value);
    rig_->scheduler().Enqueue(request, lend);
    return request;
  }
  // One request runs and holds the only instance; those that follow wait.
  void Occupy() {
    strings_->Hold();
    Enqueue("running");
    strings_->AwaitStarted(1);
  }

  std::shared_ptr<PuppetStrings> strings_ = std::make_shared<PuppetStrings>();
  std::shared_ptr<RecordingSink> sink_ = std::make_shared<RecordingSink>();
  std::unique_ptr<Rig> rig_;
};

TEST_P(SchedulerContract, AnswersWithTheRequestsOwnData) {
  Enqueue("a", 3);
  const auto answers = sink_->Await(1);
  ASSERT_TRUE(answers[0].response.status.ok()) << answers[0].response.status.message();
  EXPECT_TRUE(answers[0].final);
  EXPECT_EQ(FloatsOf(answers[0].response.outputs.at(0)), (std::vector<float>{3, 3}));
}

TEST_P(SchedulerContract, ServesInOrderOfArrival) {
  Occupy();
  std::vector<std::string> expected{"running"};
  for (int i = 0; i < 100; ++i) Enqueue(expected.emplace_back(std::to_string(i)));
  EXPECT_EQ(rig_->scheduler().pending_requests(), 100U);
  strings_->Release();
  sink_->Await(101);
  std::vector<std::string> seen;
  for (const auto& execution : strings_->seen()) {
    for (const std::string& id : execution.request_ids) seen.push_back(id);
  }
  EXPECT_EQ(seen, expected);
  EXPECT_EQ(rig_->scheduler().pending_requests(), 0U);
}

TEST_P(SchedulerContract, CancelCompletesAWaitingRequestAtOnceAndLeavesTheOthers) {
  Occupy();
  Enqueue("before");
  const RequestPtr waiting = Enqueue("waiting");
  Enqueue("after");
  waiting->Cancel();
  const auto answers = sink_->Await(1);
  EXPECT_EQ(answers[0].id, "waiting");
  EXPECT_EQ(answers[0].response.status.code(), StatusCode::kCancelled);
  EXPECT_EQ(waiting->failure_reason, FailureReason::kCanceled);
  strings_->Release();
  EXPECT_EQ(sink_->Await(4).size(), 4U);
}

TEST_P(SchedulerContract, RunningRequestThatIsCancelledIsAnsweredOnce) {
  Occupy();
  const RequestPtr next = Enqueue("next");
  strings_->Release();
  next->Cancel();  // waiting or running, as it happens
  EXPECT_EQ(sink_->Await(2).size(), 2U);
}

TEST_P(SchedulerContract, RequestCancelledBeforeItArrivedIsNotExecuted) {
  const RequestPtr request = MakeRequest("a", sink_);
  request->Cancel();
  rig_->scheduler().Enqueue(request, /*lend=*/false);
  EXPECT_EQ(sink_->Await(1)[0].response.status.code(), StatusCode::kCancelled);
  EXPECT_TRUE(strings_->seen().empty());
}

TEST_P(SchedulerContract, FailureIsOneRequestsOwn) {
  strings_->EndWith(Status::Internal("boom"));
  const RequestPtr failing = Enqueue("a");
  EXPECT_NE(sink_->Await(1)[0].response.status.message().find("boom"), std::string::npos);
  EXPECT_EQ(failing->failure_reason, FailureReason::kBackend);
  strings_->EndWith(Status::Ok());
  Enqueue("b");
  EXPECT_TRUE(sink_->Await(2)[1].response.status.ok());
}

TEST_P(SchedulerContract, LentRequestThatNobodyRunsGoesToTheWorkers) {
  Enqueue("a", 0, /*lend=*/true);
  rig_->scheduler().WakeWorker();
  EXPECT_TRUE(sink_->Await(1)[0].response.status.ok());
}

TEST_P(SchedulerContract, StopAnswersEveryRequestAndComesBackTwice) {
  Occupy();
  for (int i = 0; i < 10; ++i) Enqueue(std::to_string(i));
  strings_->Release();
  rig_->Stop();
  rig_->Stop();
  EXPECT_EQ(sink_->Await(11).size(), 11U);
  EXPECT_EQ(rig_->scheduler().pending_requests(), 0U);
}

TEST_P(SchedulerContract, EveryRequestIsAnsweredExactlyOnceWhateverHappens) {
  constexpr int kThreads = 4;
  constexpr int kRequests = 1000;
  std::vector<std::thread> clients;
  for (int t = 0; t < kThreads; ++t) {
    clients.emplace_back([this, t] {
      std::mt19937 random(static_cast<unsigned>(t));
      for (int i = 0; i < kRequests; ++i) {
        const int number = t * kRequests + i;
        const bool lend = random() % 2 == 0;
        const RequestPtr request =
            Enqueue(std::to_string(number), static_cast<float>(number), lend);
        if (random() % 5 == 0) request->Cancel();
        if (lend)
          random() % 2 == 0 ? (void)rig_->scheduler().RunLent() : rig_->scheduler().WakeWorker();
      }
    });
  }
  for (std::thread& client : clients) client.join();
  rig_->scheduler().WakeWorker();
  std::set<std::string> ids;
  for (const auto& answer : sink_->Await(kThreads * kRequests)) {
    EXPECT_TRUE(ids.insert(answer.id).second) << "answered twice: " << answer.id;
    if (!answer.response.status.ok()) continue;
    EXPECT_EQ(FloatsOf(answer.response.outputs.at(0))[0], std::stof(answer.id));
  }
  EXPECT_EQ(ids.size(), static_cast<std::size_t>(kThreads * kRequests));
  EXPECT_EQ(rig_->scheduler().pending_requests(), 0U);
}

INSTANTIATE_TEST_SUITE_P(All, SchedulerContract,
                         ::testing::Values(Kind{"DynamicBatcher",
                                                [](const auto& strings) {
                                                  return std::make_unique<BatcherRig>(strings);
                                                }},
                                           Kind{"Ensemble",
                                                [](const auto& strings) {
                                                  return std::make_unique<EnsembleRig>(strings);
                                                }}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace fastserve
