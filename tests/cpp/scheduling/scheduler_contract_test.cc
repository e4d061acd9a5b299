// What every scheduler promises, run over each of them.
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <thread>

#include "scheduling/dynamic_batcher.h"
#include "scheduling/sequence_batcher.h"
#include "support/puppet_backend.h"
#include "support/random.h"
#include "support/requests.h"

namespace fastserve {
namespace {

template <typename Batcher>
typename Batcher::Options OptionsFor(std::shared_ptr<const ModelSpec> spec, DeadlineTimer* timer,
                                     const std::shared_ptr<PuppetStrings>& strings) {
  typename Batcher::Options options;
  options.spec = std::move(spec);
  options.clock = &SystemClock();
  options.timer = timer;
  options.statistics = std::make_shared<ModelStatistics>();
  options.instances.push_back(std::make_unique<PuppetInstance>(strings));
  return options;
}

std::shared_ptr<Scheduler> MakeSequenceBatcher(const std::shared_ptr<ModelSpec>& spec,
                                               SequenceStrategy strategy, DeadlineTimer* timer,
                                               const std::shared_ptr<PuppetStrings>& strings) {
  spec->dynamic_batching.enabled = false;
  spec->sequence_batching.enabled = true;
  spec->sequence_batching.strategy = strategy;
  spec->sequence_batching.max_candidate_sequences = 4;
  return SequenceBatcher::Create(OptionsFor<SequenceBatcher>(spec, timer, strings)).value();
}

struct Kind {
  const char* name;
  std::function<std::shared_ptr<Scheduler>(const std::shared_ptr<ModelSpec>&, DeadlineTimer*,
                                           const std::shared_ptr<PuppetStrings>&)>
      make;
};

const Kind kKinds[] = {
    {"Dynamic",
     [](const auto& spec, DeadlineTimer* timer, const auto& strings) {
       return DynamicBatcher::Create(OptionsFor<DynamicBatcher>(spec, timer, strings));
     }},
    {"Direct",
     [](const auto& spec, DeadlineTimer* timer, const auto& strings) {
       return MakeSequenceBatcher(spec, SequenceStrategy::kDirect, timer, strings);
     }},
    {"Oldest",
     [](const auto& spec, DeadlineTimer* timer, const auto& strings) {
       return MakeSequenceBatcher(spec, SequenceStrategy::kOldest, timer, strings);
     }},
};

class SchedulerContract : public ::testing::TestWithParam<Kind> {
 protected:
  ~SchedulerContract() override {
    strings_->Release();
    if (scheduler_) scheduler_->Stop();
  }
  void Start(int max_batch_size) {
    spec_ = MakeSpec("puppet", max_batch_size);
    scheduler_ = GetParam().make(spec_, &timer_, strings_);
  }
  // A sequence of one request, which a scheduler without sequences does not notice.
  RequestPtr Make(const std::string& name, std::uint64_t sequence) {
    RequestPtr request = MakeRequest(name, sink_);
    request->spec = spec_;
    request->sequence_id = sequence;
    request->sequence_start = true;
    request->sequence_end = true;
    return request;
  }
  RequestPtr Send(const std::string& name) {
    RequestPtr request = Make(name, ++sequences_);
    scheduler_->Enqueue(request, /*lend=*/false);
    return request;
  }
  void Occupy() {
    strings_->Hold();
    Send("busy");
    strings_->AwaitStarted(1);
  }
  // Requests of one client as one sequence; a part of them is cancelled.
  void RunClient(int client, int count) {
    RepeatableRandom random(static_cast<std::uint64_t>(client));
    for (int i = 0; i < count; ++i) {
      RequestPtr request =
          Make(std::to_string(client * count + i), static_cast<std::uint64_t>(client) + 1);
      request->sequence_start = i == 0 || random.Below(4) == 0;
      request->sequence_end = random.Below(8) == 0;
      scheduler_->Enqueue(request, /*lend=*/false);
      if (random.Below(5) == 0) request->Cancel();
    }
  }
  std::map<std::string, StatusCode> Outcomes(std::size_t count) {
    std::map<std::string, StatusCode> outcomes;
    for (const auto& answer : sink_->Await(count)) {
      EXPECT_TRUE(answer.final);
      EXPECT_TRUE(outcomes.emplace(answer.id, answer.response.status.code()).second) << answer.id;
    }
    return outcomes;
  }

  DeadlineTimer timer_{SystemClock()};
  std::shared_ptr<ModelSpec> spec_;
  std::shared_ptr<PuppetStrings> strings_ = std::make_shared<PuppetStrings>();
  std::shared_ptr<RecordingSink> sink_ = std::make_shared<RecordingSink>();
  std::shared_ptr<Scheduler> scheduler_;
  std::uint64_t sequences_ = 100;
};

TEST_P(SchedulerContract, EveryRequestIsAnsweredExactlyOnce) {
  constexpr int kClients = 4;
  constexpr int kRequests = 500;
  Start(8);
  std::vector<std::thread> clients;
  for (int client = 0; client < kClients; ++client)
    clients.emplace_back([this, client] { RunClient(client, kRequests); });
  for (std::thread& client : clients) client.join();
  const auto outcomes = Outcomes(kClients * kRequests);
  EXPECT_EQ(outcomes.size(), std::size_t{kClients * kRequests});
  EXPECT_EQ(scheduler_->pending_requests(), 0U);
}

TEST_P(SchedulerContract, RequestsOfOneClientAreAnsweredInOrder) {
  Start(4);
  for (int i = 0; i < 200; ++i) {
    RequestPtr request = Make(std::to_string(i), 1);
    request->sequence_start = i == 0;
    request->sequence_end = false;
    scheduler_->Enqueue(request, /*lend=*/false);
  }
  const auto answers = sink_->Await(200);
  for (std::size_t i = 0; i < answers.size(); ++i) {
    EXPECT_EQ(answers[i].id, std::to_string(i));
    EXPECT_TRUE(answers[i].response.status.ok()) << answers[i].response.status.message();
  }
}

TEST_P(SchedulerContract, NobodyIsOvertakenByLaterArrivals) {
  Start(0);
  Occupy();
  for (int i = 0; i < 50; ++i) Send(std::to_string(i));
  strings_->Release();
  const auto answers = sink_->Await(51);
  for (int i = 0; i < 50; ++i)
    EXPECT_EQ(answers[static_cast<std::size_t>(i) + 1].id, std::to_string(i));
}

TEST_P(SchedulerContract, CancelledWhileItWaitsIsAnsweredAtOnce) {
  Start(1);
  Occupy();
  const RequestPtr request = Send("waiting");
  EXPECT_EQ(scheduler_->pending_requests(), 1U);
  request->Cancel();
  EXPECT_EQ(Outcomes(1).at("waiting"), StatusCode::kCancelled);
  EXPECT_EQ(scheduler_->pending_requests(), 0U);
}

TEST_P(SchedulerContract, CancelledBeforeItArrivesIsNeverRun) {
  Start(1);
  const RequestPtr request = Make("early", 1);
  request->Cancel();
  scheduler_->Enqueue(request, /*lend=*/false);
  EXPECT_EQ(Outcomes(1).at("early"), StatusCode::kCancelled);
  EXPECT_TRUE(strings_->seen().empty());
}

TEST_P(SchedulerContract, CancelledWhileItRunsIsAnsweredWhenItsBatchEnds) {
  Start(1);
  strings_->Hold();
  const RequestPtr request = Send("running");
  strings_->AwaitStarted(1);
  request->Cancel();
  EXPECT_EQ(sink_->count(), 0U);
  strings_->Release();
  EXPECT_EQ(Outcomes(1).at("running"), StatusCode::kCancelled);
  EXPECT_EQ(request->failure_reason, FailureReason::kCanceled);
  request->Cancel();
  Send("next");
  EXPECT_EQ(Outcomes(2).at("next"), StatusCode::kOk);
}

TEST_P(SchedulerContract, FailedBatchFailsItsRequestsAndNoOthers) {
  Start(1);
  strings_->EndWith(Status::Internal("broken"));
  Send("a");
  EXPECT_EQ(Outcomes(1).at("a"), StatusCode::kInternal);
  strings_->EndWith(Status::Ok());
  Send("b");
  EXPECT_EQ(Outcomes(2).at("b"), StatusCode::kOk);
}

TEST_P(SchedulerContract, StopAnswersWhatRunsAndFailsWhatWaits) {
  Start(1);
  Occupy();
  for (int i = 0; i < 10; ++i) Send(std::to_string(i));
  std::thread releaser([this] { strings_->Release(); });
  scheduler_->Stop();
  releaser.join();
  const auto outcomes = Outcomes(11);
  EXPECT_EQ(outcomes.at("busy"), StatusCode::kOk);
  // Those that ran before the end was noticed are the first ones.
  for (int i = 1; i < 10; ++i) {
    if (outcomes.at(std::to_string(i)) == StatusCode::kOk) {
      EXPECT_EQ(outcomes.at(std::to_string(i - 1)), StatusCode::kOk);
    } else {
      EXPECT_EQ(outcomes.at(std::to_string(i)), StatusCode::kUnavailable);
    }
  }
  scheduler_->Stop();
}

INSTANTIATE_TEST_SUITE_P(Schedulers, SchedulerContract, ::testing::ValuesIn(kKinds),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace fastserve
