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
#include "support/ensemble_of_one.h"
#include "support/puppet_backend.h"
#include "support/requests.h"

namespace fastserve {
namespace {

std::shared_ptr<Scheduler> MakeBatcher(const std::shared_ptr<ModelSpec>& spec, DeadlineTimer* timer,
                                       const std::shared_ptr<PuppetStrings>& strings) {
  DynamicBatcher::Options options;
  options.spec = spec;
  options.clock = &SystemClock();
  options.timer = timer;
  options.statistics = std::make_shared<ModelStatistics>();
  options.instances.push_back(std::make_unique<PuppetInstance>(strings));
  return DynamicBatcher::Create(std::move(options));
}

struct Kind {
  const char* name;
  std::function<std::shared_ptr<Scheduler>(const std::shared_ptr<ModelSpec>&, DeadlineTimer*,
                                           const std::shared_ptr<PuppetStrings>&)>
      make;
};

const Kind kKinds[] = {
    {"Dynamic", MakeBatcher},
    {"Ensemble",
     [](const auto& spec, DeadlineTimer* timer, const auto& strings) {
       return std::make_shared<EnsembleOfOne>(spec, MakeBatcher(spec, timer, strings),
                                              &SystemClock());
     }},
};

class SchedulerPromises : public ::testing::TestWithParam<Kind> {
 protected:
  SchedulerPromises() {
    spec_->dynamic_batching.enabled = false;  // batches of one: the order is visible
    scheduler_ = GetParam().make(spec_, &timer_, strings_);
  }
  ~SchedulerPromises() override {
    strings_->Release();
    scheduler_->Stop();
  }

  RequestPtr Enqueue(const std::string& id, float value = 0, bool lend = false) {
    RequestPtr request = MakeRequest(id, sink_, value);
    scheduler_->Enqueue(request, lend);
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
  std::shared_ptr<ModelSpec> spec_ = MakeSpec("puppet", 8);
  DeadlineTimer timer_{SystemClock()};
  std::shared_ptr<Scheduler> scheduler_;
};

TEST_P(SchedulerPromises, AnswersWithTheRequestsOwnData) {
  Enqueue("a", 3);
  const auto answers = sink_->Await(1);
  ASSERT_TRUE(answers[0].response.status.ok()) << answers[0].response.status.message();
  EXPECT_TRUE(answers[0].final);
  EXPECT_EQ(FloatsOf(answers[0].response.outputs.at(0)), (std::vector<float>{3, 3}));
}

TEST_P(SchedulerPromises, ServesInOrderOfArrival) {
  Occupy();
  std::vector<std::string> expected{"running"};
  for (int i = 0; i < 100; ++i) Enqueue(expected.emplace_back(std::to_string(i)));
  EXPECT_EQ(scheduler_->pending_requests(), 100U);
  strings_->Release();
  sink_->Await(101);
  std::vector<std::string> seen;
  for (const auto& execution : strings_->seen()) {
    for (const std::string& id : execution.request_ids) seen.push_back(id);
  }
  EXPECT_EQ(seen, expected);
  EXPECT_EQ(scheduler_->pending_requests(), 0U);
}

TEST_P(SchedulerPromises, CancelCompletesAWaitingRequestAtOnceAndLeavesTheOthers) {
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

TEST_P(SchedulerPromises, RunningRequestThatIsCancelledIsAnsweredOnce) {
  Occupy();
  const RequestPtr next = Enqueue("next");
  strings_->Release();
  next->Cancel();  // waiting or running, as it happens
  EXPECT_EQ(sink_->Await(2).size(), 2U);
}

TEST_P(SchedulerPromises, RequestCancelledBeforeItArrivedIsNotExecuted) {
  const RequestPtr request = MakeRequest("a", sink_);
  request->Cancel();
  scheduler_->Enqueue(request, /*lend=*/false);
  EXPECT_EQ(sink_->Await(1)[0].response.status.code(), StatusCode::kCancelled);
  EXPECT_TRUE(strings_->seen().empty());
}

TEST_P(SchedulerPromises, FailureIsOneRequestsOwn) {
  strings_->EndWith(Status::Internal("boom"));
  const RequestPtr failing = Enqueue("a");
  EXPECT_NE(sink_->Await(1)[0].response.status.message().find("boom"), std::string::npos);
  EXPECT_EQ(failing->failure_reason, FailureReason::kBackend);
  strings_->EndWith(Status::Ok());
  Enqueue("b");
  EXPECT_TRUE(sink_->Await(2)[1].response.status.ok());
}

TEST_P(SchedulerPromises, LentRequestThatNobodyRunsGoesToTheWorkers) {
  Enqueue("a", 0, /*lend=*/true);
  scheduler_->WakeWorker();
  EXPECT_TRUE(sink_->Await(1)[0].response.status.ok());
}

TEST_P(SchedulerPromises, StopAnswersEveryRequestAndComesBackTwice) {
  Occupy();
  for (int i = 0; i < 10; ++i) Enqueue(std::to_string(i));
  strings_->Release();
  scheduler_->Stop();
  scheduler_->Stop();
  EXPECT_EQ(sink_->Await(11).size(), 11U);
  EXPECT_EQ(scheduler_->pending_requests(), 0U);
}

TEST_P(SchedulerPromises, EveryRequestIsAnsweredExactlyOnceWhateverHappens) {
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
        if (lend) random() % 2 == 0 ? (void)scheduler_->RunLent() : scheduler_->WakeWorker();
      }
    });
  }
  for (std::thread& client : clients) client.join();
  scheduler_->WakeWorker();
  std::set<std::string> ids;
  for (const auto& answer : sink_->Await(kThreads * kRequests)) {
    EXPECT_TRUE(ids.insert(answer.id).second) << "answered twice: " << answer.id;
    if (!answer.response.status.ok()) continue;
    EXPECT_EQ(FloatsOf(answer.response.outputs.at(0))[0], std::stof(answer.id));
  }
  EXPECT_EQ(ids.size(), static_cast<std::size_t>(kThreads * kRequests));
  EXPECT_EQ(scheduler_->pending_requests(), 0U);
}

INSTANTIATE_TEST_SUITE_P(Schedulers, SchedulerPromises, ::testing::ValuesIn(kKinds),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace fastserve
