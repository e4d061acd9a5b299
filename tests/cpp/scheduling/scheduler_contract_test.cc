// What every scheduler promises, run over each of them: exactly one answer, order, fairness,
// cancellation in every stage, an orderly end.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <map>
#include <optional>
#include <semaphore>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/random.h"
#include "support/scheduler_kinds.h"

namespace fastserve {
namespace {

constexpr int kClients = 4;

InstanceGroupSpec Needs(std::uint32_t count) {
  InstanceGroupSpec group;
  group.resources.push_back({"r", false, count});
  return group;
}

class SchedulerContract : public ::testing::TestWithParam<SchedulerKind> {
 protected:
  ~SchedulerContract() override {
    strings_->Release();
    if (scheduler_) scheduler_->Stop();
  }
  void Start(int max_batch_size, int instances = 1) {
    SchedulerParts parts;
    parts.spec = spec_ = MakeSpec("puppet", max_batch_size);
    parts.timer = &timer_;
    parts.strings = strings_;
    parts.instances = instances;
    if (claim_) parts.claims.push_back(std::move(claim_));
    scheduler_ = GetParam().make(std::move(parts));
  }
  // A sequence of one request, which a scheduler without sequences does not notice. No two have the
  // same inputs, so that a cache does not notice it either.
  RequestPtr Make(const std::string& name, std::uint64_t sequence,
                  std::optional<float> value = std::nullopt) {
    RequestPtr request =
        MakeRequest(name, sink_, value.value_or(static_cast<float>(next_value_++)));
    request->spec = spec_;
    request->sequence_id = sequence;
    request->sequence_start = true;
    request->sequence_end = true;
    return request;
  }
  RequestPtr Send(const std::string& name, std::uint64_t priority = 0) {
    RequestPtr request = Make(name, ++sequences_);
    request->priority = priority;
    scheduler_->Enqueue(request, /*lend=*/false);
    return request;
  }
  // The only instance runs one request and takes no more; those that follow wait. The ids of what
  // it has, in the order of their arrival.
  std::vector<std::string> Occupy() {
    strings_->Hold();
    std::vector<std::string> ids{"busy"};
    Send(ids.back());
    strings_->AwaitStarted(1);
    for (const std::string& id : FillHand()) ids.push_back(id);
    return ids;
  }
  // What an instance takes while it runs one.
  std::vector<std::string> FillHand() {
    std::vector<std::string> ids;
    while (ids.size() + 1 < GetParam().batches_in_hand) {
      Send(ids.emplace_back("in hand"));
      while (scheduler_->pending_requests() != 0) std::this_thread::yield();
    }
    return ids;
  }
  // Requests of one client as sequences one after the other; some are lent, some cancelled.
  void RunClient(int client, int count) {
    RepeatableRandom random(static_cast<std::uint64_t>(client));
    for (int i = 0; i < count; ++i) {
      const int number = client * count + i;
      RequestPtr request = Make(std::to_string(number), static_cast<std::uint64_t>(client) + 1,
                                static_cast<float>(number));
      request->sequence_start = i == 0 || random.Below(4) == 0;
      request->sequence_end = random.Below(8) == 0;
      request->priority = static_cast<std::uint64_t>(random.Below(5));
      const bool lend = random.Below(3) == 0;
      if (random.Below(40) == 0) request->Cancel();
      scheduler_->Enqueue(request, lend);
      if (random.Below(5) == 0) request->Cancel();
      if (lend) random.Below(2) == 0 ? (void)scheduler_->RunLent() : scheduler_->WakeWorker();
    }
    // As a lender does with what is left when it ends.
    scheduler_->WakeWorker();
  }
  std::vector<std::thread> StartClients(int count) {
    std::vector<std::thread> clients;
    for (int client = 0; client < kClients; ++client)
      clients.emplace_back([this, client, count] { RunClient(client, count); });
    return clients;
  }
  // By id, once `count` have been answered. Each is answered once, and with its own data.
  std::map<std::string, StatusCode> Outcomes(std::size_t count) {
    std::map<std::string, StatusCode> outcomes;
    for (const auto& answer : sink_->Await(count)) {
      EXPECT_TRUE(answer.final);
      EXPECT_TRUE(outcomes.emplace(answer.id, answer.response.status.code()).second) << answer.id;
      if (answer.response.status.ok() && std::isdigit(answer.id[0]) != 0) {
        EXPECT_EQ(FloatsOf(answer.response.outputs.at(0))[0], std::stof(answer.id));
      }
    }
    return outcomes;
  }
  std::vector<std::string> AnsweredIds(std::size_t count) {
    std::vector<std::string> ids;
    for (const auto& answer : sink_->Await(count)) {
      EXPECT_TRUE(answer.response.status.ok()) << answer.response.status.message();
      ids.push_back(answer.id);
    }
    return ids;
  }
  bool WasRun(const std::string& id) {
    return std::ranges::any_of(strings_->seen(), [&id](const PuppetStrings::Seen& execution) {
      return std::ranges::find(execution.request_ids, id) != execution.request_ids.end();
    });
  }

  // --- a resource that is short: all of it is needed for a batch, and a part is taken ---
  void StartWithoutResources() {
    claim_ = limiter_.Register(Needs(2)).value();
    behind_->set_on_reserved([this] { served_.release(); });
    ASSERT_TRUE(taken_->TryTake());
    Start(4);
  }
  // Blocks until the scheduler stands in line, and gets in line behind it.
  void StandBehindTheScheduler() {
    while (behind_->TryTake()) {
      behind_->GiveBack();
      std::this_thread::yield();
    }
  }
  // Blocks until the scheduler has left the line, though what it needed is still taken.
  void AwaitServed() {
    served_.acquire();
    EXPECT_TRUE(behind_->TryTake());
  }

  std::binary_semaphore served_{0};  // `behind_` has its turn
  RateLimiter limiter_{{{"r", 2}}};
  std::unique_ptr<ResourceClaim> claim_;  // Start hands it on
  std::unique_ptr<ResourceClaim> taken_ = limiter_.Register(Needs(1)).value();
  std::unique_ptr<ResourceClaim> behind_ = limiter_.Register(Needs(1)).value();
  DeadlineTimer timer_{SystemClock()};
  std::shared_ptr<ModelSpec> spec_;
  std::shared_ptr<PuppetStrings> strings_ = std::make_shared<PuppetStrings>();
  std::shared_ptr<RecordingSink> sink_ = std::make_shared<RecordingSink>();
  std::shared_ptr<Scheduler> scheduler_;
  std::uint64_t sequences_ = 100;
  std::atomic<int> next_value_{1'000'000};  // clients are threads
};

// --- exactly once ---

TEST_P(SchedulerContract, EveryRequestIsAnsweredExactlyOnce) {
  constexpr int kRequests = 500;
  Start(8);
  for (std::thread& client : StartClients(kRequests)) client.join();
  EXPECT_EQ(Outcomes(kClients * kRequests).size(), std::size_t{kClients * kRequests});
  EXPECT_EQ(scheduler_->pending_requests(), 0U);
}

TEST_P(SchedulerContract, EveryRequestIsAnsweredExactlyOnceWhenStopCutsIn) {
  constexpr int kRequests = 500;
  Start(8, GetParam().instances_in_order);
  std::vector<std::thread> clients = StartClients(kRequests);
  sink_->Await(kRequests / 2);
  scheduler_->Stop();
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(Outcomes(kClients * kRequests).size(), std::size_t{kClients * kRequests});
  EXPECT_EQ(scheduler_->pending_requests(), 0U);
}

TEST_P(SchedulerContract, FailedBatchFailsItsRequestsAndNoOthers) {
  Start(1);
  strings_->EndWith(Status::Internal("broken"));
  const RequestPtr failing = Send("a");
  const auto answers = sink_->Await(1);
  EXPECT_EQ(answers[0].response.status.code(), StatusCode::kInternal);
  EXPECT_NE(answers[0].response.status.message().find("broken"), std::string::npos);
  EXPECT_EQ(failing->failure_reason, FailureReason::kBackend);
  strings_->EndWith(Status::Ok());
  Send("b");
  EXPECT_EQ(Outcomes(2).at("b"), StatusCode::kOk);
}

TEST_P(SchedulerContract, LentRequestThatNobodyRunsGoesToTheWorkers) {
  Start(4);
  scheduler_->Enqueue(Make("a", 1), /*lend=*/true);
  scheduler_->WakeWorker();
  EXPECT_EQ(Outcomes(1).at("a"), StatusCode::kOk);
}

// --- order and fairness ---

TEST_P(SchedulerContract, RequestsOfOneClientAreAnsweredInOrder) {
  Start(4, GetParam().instances_in_order);
  std::vector<std::string> expected;
  for (int i = 0; i < 200; ++i) {
    RequestPtr request = Make(expected.emplace_back(std::to_string(i)), 1);
    request->sequence_start = i == 0;
    request->sequence_end = false;
    scheduler_->Enqueue(request, /*lend=*/false);
  }
  EXPECT_EQ(AnsweredIds(200), expected);
}

TEST_P(SchedulerContract, NobodyIsOvertakenByLaterArrivals) {
  Start(1);
  std::vector<std::string> expected = Occupy();
  for (int i = 0; i < 50; ++i) Send(expected.emplace_back("r" + std::to_string(i)));
  EXPECT_EQ(scheduler_->pending_requests(), 50U);
  strings_->Release();
  EXPECT_EQ(AnsweredIds(expected.size()), expected);
  EXPECT_EQ(scheduler_->pending_requests(), 0U);
}

TEST_P(SchedulerContract, EqualsAreServedInOrderOfArrivalWhateverTheirPriority) {
  Start(1);
  std::vector<std::string> expected = Occupy();
  std::vector<std::vector<std::string>> by_level(GetParam().priority_levels);
  for (std::uint32_t i = 0; i < 60; ++i) {
    const std::uint32_t level = (i * 7) % 3;
    Send(by_level[level % by_level.size()].emplace_back("r" + std::to_string(i)), level + 1);
  }
  strings_->Release();
  for (const auto& level : by_level) expected.insert(expected.end(), level.begin(), level.end());
  EXPECT_EQ(AnsweredIds(expected.size()), expected);
}

TEST_P(SchedulerContract, SequencesTakeTurns) {
  constexpr int kRounds = 10;
  constexpr int kSequences = 4;
  Start(4);
  const std::size_t before = Occupy().size();
  for (int i = 0; i < kRounds * kSequences; ++i) {
    const int sequence = i % kSequences;
    RequestPtr request = Make(std::to_string(i / kSequences) + "." + std::to_string(sequence),
                              static_cast<std::uint64_t>(sequence) + 1);
    request->sequence_start = i < kSequences;
    request->sequence_end = i >= (kRounds - 1) * kSequences;
    scheduler_->Enqueue(request, /*lend=*/false);
  }
  strings_->Release();
  std::vector<std::string> ids = AnsweredIds(kRounds * kSequences + before);
  ids.erase(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(before));
  EXPECT_TRUE(std::ranges::is_sorted(ids, {}, [](const std::string& id) { return id[0]; }))
      << "a sequence is a round ahead of another";
}

// --- cancellation in every stage ---

TEST_P(SchedulerContract, CancelledBeforeItArrivesIsAnsweredAtOnceAndNeverRun) {
  Start(4);
  const std::size_t occupying = Occupy().size();
  Send("before");
  const RequestPtr request = Make("early", 1);
  request->Cancel();
  scheduler_->Enqueue(request, /*lend=*/false);
  EXPECT_EQ(Outcomes(1).at("early"), StatusCode::kCancelled);
  EXPECT_EQ(request->failure_reason, FailureReason::kCanceled);
  strings_->Release();
  EXPECT_EQ(Outcomes(occupying + 2).at("before"), StatusCode::kOk);
  EXPECT_FALSE(WasRun("early"));
}

// The first is found in the ring, which that empties; the others in the queue, or the backlog.
TEST_P(SchedulerContract, CancelledWhileItWaitsIsAnsweredAtOnceAndTheOthersStay) {
  Start(1);
  const std::size_t occupying = Occupy().size();
  Send("first");
  const RequestPtr arriving = Send("arriving");
  const RequestPtr waiting = Send("waiting");
  Send("last");
  EXPECT_EQ(scheduler_->pending_requests(), 4U);
  arriving->Cancel();
  EXPECT_EQ(Outcomes(1).at("arriving"), StatusCode::kCancelled);
  waiting->Cancel();
  EXPECT_EQ(Outcomes(2).at("waiting"), StatusCode::kCancelled);
  EXPECT_EQ(waiting->failure_reason, FailureReason::kCanceled);
  EXPECT_EQ(scheduler_->pending_requests(), 2U);
  strings_->Release();
  const auto outcomes = Outcomes(occupying + 4);
  for (const char* id : {"busy", "first", "last"}) EXPECT_EQ(outcomes.at(id), StatusCode::kOk);
  EXPECT_FALSE(WasRun("arriving") || WasRun("waiting"));
}

TEST_P(SchedulerContract, CancelledBeyondTheIngressRingIsAnsweredAtOnce) {
  constexpr int kMany = 1500;  // the ring of the dynamic batcher holds 1024
  Start(1);
  const std::size_t occupying = Occupy().size();
  RequestPtr last;
  for (int i = 0; i < kMany; ++i) last = Send("r" + std::to_string(i));
  last->Cancel();
  EXPECT_EQ(Outcomes(1).at(last->id), StatusCode::kCancelled);
  strings_->Release();
  EXPECT_EQ(Outcomes(kMany + occupying).size(), kMany + occupying);
}

TEST_P(SchedulerContract, CancelledBehindARunningRequestOfItsSequenceIsAnsweredAtOnce) {
  Start(4);
  strings_->Hold();
  std::vector<RequestPtr> requests;
  std::size_t others = 0;
  for (const char* id : {"running", "second", "third"}) {
    requests.push_back(Make(id, 1));
    requests.back()->sequence_start = requests.size() == 1;
    requests.back()->sequence_end = requests.size() == 3;
    scheduler_->Enqueue(requests.back(), /*lend=*/false);
    if (requests.size() > 1) continue;
    strings_->AwaitStarted(1);
    others = FillHand().size();
  }
  requests[1]->Cancel();
  EXPECT_EQ(Outcomes(1).at("second"), StatusCode::kCancelled);
  strings_->Release();
  EXPECT_EQ(Outcomes(others + 3).at("third"), StatusCode::kOk);
}

TEST_P(SchedulerContract, CancelledWhileItWaitsForResourcesLeavesTheLine) {
  StartWithoutResources();
  const RequestPtr request = Send("waiting");
  StandBehindTheScheduler();
  request->Cancel();
  EXPECT_EQ(Outcomes(1).at("waiting"), StatusCode::kCancelled);
  AwaitServed();
  EXPECT_FALSE(WasRun("waiting"));
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

// --- the end ---

TEST_P(SchedulerContract, StopAnswersWhatRunsFailsWhatWaitsAndRefusesWhatComes) {
  Start(1);
  const std::size_t occupying = Occupy().size();
  for (int i = 0; i < 10; ++i) Send("r" + std::to_string(i));
  std::thread releaser([this] { strings_->Release(); });
  scheduler_->Stop();
  releaser.join();
  const auto outcomes = Outcomes(occupying + 10);
  // An iterative request that has run and is to run again waits.
  if (outcomes.at("busy") != StatusCode::kOk) {
    EXPECT_STREQ(GetParam().name, "Iterative");
  }
  // Those that ran before the end was noticed are the first ones.
  for (int i = 1; i < 10; ++i) {
    if (outcomes.at("r" + std::to_string(i)) == StatusCode::kOk) {
      EXPECT_EQ(outcomes.at("r" + std::to_string(i - 1)), StatusCode::kOk);
    } else {
      EXPECT_EQ(outcomes.at("r" + std::to_string(i)), StatusCode::kUnavailable);
    }
  }
  Send("late");
  EXPECT_EQ(Outcomes(occupying + 11).at("late"), StatusCode::kUnavailable);
  scheduler_->Enqueue(Make("lent", 1), /*lend=*/true);
  scheduler_->WakeWorker();
  EXPECT_EQ(Outcomes(occupying + 12).at("lent"), StatusCode::kUnavailable);
  scheduler_->Stop();
}

TEST_P(SchedulerContract, StopWhileItWaitsForResourcesLeavesTheLine) {
  StartWithoutResources();
  Send("waiting");
  StandBehindTheScheduler();
  scheduler_->Stop();
  EXPECT_EQ(Outcomes(1).at("waiting"), StatusCode::kUnavailable);
  AwaitServed();
}

INSTANTIATE_TEST_SUITE_P(Schedulers, SchedulerContract, ::testing::ValuesIn(kSchedulerKinds),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace fastserve
