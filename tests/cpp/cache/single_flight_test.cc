#include "cache/single_flight.h"

#include <gtest/gtest.h>

#include <deque>
#include <thread>

#include "cache/local_cache.h"
#include "cache_test_support.h"
#include "support/fake_clock.h"
#include "support/random.h"

namespace fastserve {
namespace {

// A model whose computations end when the test says so; a stand-in for a scheduler.
class ScriptedModel final : public CachedModel {
 public:
  bool Compute(const RequestPtr& request, bool may_lend) override {
    const MutexLock lock(mutex_);
    computing_.push_back(request);
    request->SetCancelHook(nullptr);
    return may_lend;
  }
  void OnCacheHit(const CacheHit& hit) override {
    const MutexLock lock(mutex_);
    hits_.push_back(hit);
  }
  void OnCacheMiss(std::int64_t ns) override {
    const MutexLock lock(mutex_);
    misses_.push_back(ns);
  }

  std::size_t computing() {
    const MutexLock lock(mutex_);
    return computing_.size();
  }
  // The oldest computation; null when there is none.
  RequestPtr Take() {
    const MutexLock lock(mutex_);
    if (computing_.empty()) return nullptr;
    RequestPtr request = computing_.front();
    computing_.pop_front();
    return request;
  }
  // Ends the oldest one with the request's own value.
  void Answer() {
    const RequestPtr request = Take();
    InferResponse response = ResponseOf(FloatsOf(request->inputs[0]));
    response.id = request->id;
    request->Respond(std::move(response), /*final=*/true);
  }
  void Fail(FailureReason reason) { Take()->Fail(Status::Internal("broken"), reason); }
  std::vector<CacheHit> hits() {
    const MutexLock lock(mutex_);
    return hits_;
  }
  std::vector<std::int64_t> misses() {
    const MutexLock lock(mutex_);
    return misses_;
  }

 private:
  Mutex mutex_;
  std::deque<RequestPtr> computing_ GUARDED_BY(mutex_);
  std::vector<CacheHit> hits_ GUARDED_BY(mutex_);
  std::vector<std::int64_t> misses_ GUARDED_BY(mutex_);
};

// A remote cache whose answers the test gives.
class ScriptedRemoteCache final : public ResponseCache {
 public:
  RequestKey KeyOf(const CacheScope& scope, const InferRequest& request) const override {
    return KeyAcrossServers(scope, request);
  }
  CachedResponse Find(const RequestKey& /*key*/) override { return nullptr; }
  bool StartLookup(const RequestKey& /*key*/,
                   const std::shared_ptr<LookupObserver>& observer) override {
    if (!connected) return false;
    lookups.push_back(observer);
    return true;
  }
  void Insert(const RequestKey& /*key*/, const InferResponse& /*response*/) override { ++inserted; }

  void Answer(CachedResponse response) {
    const std::shared_ptr<LookupObserver> observer = std::move(lookups.front());
    lookups.pop_front();
    observer->OnLookup(std::move(response));
  }

  bool connected = true;
  int inserted = 0;
  std::deque<std::shared_ptr<LookupObserver>> lookups;
};

class SingleFlightTest : public ::testing::Test {
 protected:
  void SetUp() override { Use(local_); }

  void Use(std::shared_ptr<ResponseCache> cache) {
    SingleFlight::Options options;
    options.cache = std::move(cache);
    options.scope.generation = 1;
    options.spec = MakeSpec("m", 8);
    options.clock = &clock_;
    options.model = &model_;
    flight_ = std::make_shared<SingleFlight>(std::move(options));
  }
  RequestPtr Submit(const std::string& id, float value = 0) {
    RequestPtr request = MakeRequest(id, sink_, value);
    request->timestamps.request_start = clock_.NowNs();
    flight_->Submit(request, /*may_lend=*/false);
    return request;
  }
  std::vector<RecordingSink::Answer> Answers(std::size_t count) {
    EXPECT_EQ(sink_->count(), count);
    return sink_->Await(count);
  }

  FakeClock clock_;
  ScriptedModel model_;
  std::shared_ptr<LocalCache> local_ = std::make_shared<LocalCache>(1 << 20);
  std::shared_ptr<ScriptedRemoteCache> remote_ = std::make_shared<ScriptedRemoteCache>();
  std::shared_ptr<RecordingSink> sink_ = std::make_shared<RecordingSink>();
  std::shared_ptr<SingleFlight> flight_;
};

// What it would wait for may stand behind its own caller.
TEST_F(SingleFlightTest, ANestedRequestIsAnsweredFromTheCacheButWaitsForNobody) {
  const auto nested = [&](const std::string& id) {
    const RequestPtr request = MakeRequest(id, sink_, 3);
    request->caller = MakeRequest("caller", sink_);
    flight_->Submit(request, /*may_lend=*/false);
  };
  Submit("first", 3);
  nested("beside it");
  EXPECT_EQ(model_.computing(), 2U);
  model_.Answer();
  model_.Answer();
  nested("later");
  EXPECT_EQ(model_.computing(), 0U);
  EXPECT_EQ(Answers(3).back().id, "later");
}

TEST_F(SingleFlightTest, SecondRequestIsAnsweredWithoutTheModel) {
  Submit("a", 3);
  model_.Answer();
  Submit("b", 3);
  const auto answers = Answers(2);
  EXPECT_EQ(model_.computing(), 0U);
  EXPECT_EQ(FloatsOf(answers[1].response.outputs[0]), (std::vector<float>{3, 3}));
  EXPECT_EQ(answers[1].response.id, "b");
  EXPECT_EQ(answers[1].response.model_name, "m");
  EXPECT_EQ(answers[1].response.model_version, 1);
  EXPECT_EQ(model_.hits().size(), 1U);
  EXPECT_EQ(model_.misses().size(), 1U);
}

TEST_F(SingleFlightTest, IdenticalRequestsUnderWayAreComputedOnce) {
  for (const char* id : {"a", "b", "c"}) Submit(id, 3);
  Submit("other", 4);
  EXPECT_EQ(model_.computing(), 2U);
  EXPECT_EQ(flight_->waiting_requests(), 2U);
  clock_.Advance(1000);
  model_.Answer();
  const auto answers = Answers(3);
  EXPECT_EQ(answers[0].id, "a");
  for (const auto& answer : answers) {
    EXPECT_EQ(answer.response.id, answer.id);
    EXPECT_EQ(FloatsOf(answer.response.outputs[0]), (std::vector<float>{3, 3}));
  }
  ASSERT_EQ(model_.hits().size(), 2U);
  EXPECT_EQ(model_.hits()[0].queue_ns, 1000);
  EXPECT_EQ(model_.hits()[0].request_ns, 1000);
  EXPECT_EQ(model_.misses().size(), 1U);
  EXPECT_EQ(flight_->waiting_requests(), 0U);
  model_.Answer();  // the other one
}

TEST_F(SingleFlightTest, ResponseThatDoesNotFitStillAnswersThoseThatWait) {
  Use(std::make_shared<LocalCache>(1));
  Submit("a");
  Submit("b");
  model_.Answer();
  EXPECT_TRUE(Answers(2)[1].response.status.ok());
  Submit("c");
  EXPECT_EQ(model_.computing(), 1U);
  model_.Answer();
}

TEST_F(SingleFlightTest, FailedLeaderLeavesTheOthersToBeComputedThemselves) {
  for (const char* id : {"a", "b", "c"}) Submit(id);
  model_.Fail(FailureReason::kBackend);
  EXPECT_EQ(Answers(1)[0].id, "a");
  EXPECT_EQ(model_.computing(), 2U);
  model_.Answer();
  model_.Fail(FailureReason::kBackend);
  EXPECT_EQ(sink_->count(), 3U);
  EXPECT_EQ(model_.hits().size(), 0U);
}

TEST_F(SingleFlightTest, ErrorsAreNotKept) {
  Submit("a");
  model_.Fail(FailureReason::kBackend);
  Submit("b");
  EXPECT_EQ(model_.computing(), 1U);
  model_.Answer();
}

TEST_F(SingleFlightTest, CancelledLeaderIsFollowedByTheNextAlone) {
  for (const char* id : {"a", "b", "c"}) Submit(id);
  model_.Fail(FailureReason::kCanceled);
  EXPECT_EQ(Answers(1)[0].id, "a");
  EXPECT_EQ(model_.computing(), 1U);
  model_.Answer();
  for (const auto& answer : Answers(3)) EXPECT_EQ(answer.response.status.ok(), answer.id != "a");
  EXPECT_EQ(model_.hits().size(), 1U);
}

TEST_F(SingleFlightTest, CancelledLeaderIsAbandonedUnlessOthersWaitForIt) {
  const RequestPtr leader = Submit("a");
  leader->Cancel();
  EXPECT_TRUE(leader->abandoned()) << "nobody else has its response";
  const RequestPtr waiting = Submit("b");
  EXPECT_FALSE(leader->abandoned());
  waiting->Cancel();
  EXPECT_TRUE(leader->abandoned()) << "nor any more";
  model_.Fail(FailureReason::kCanceled);
  EXPECT_EQ(sink_->count(), 2U);
}

TEST_F(SingleFlightTest, OldestThatWaitsFollowsACancelledLeader) {
  std::vector<std::string> ids;
  for (int i = 0; i < 50; ++i) ids.push_back(std::to_string(i));
  for (const std::string& id : ids) Submit(id);
  for (int i = 0; i < 49; ++i) model_.Fail(FailureReason::kCanceled);
  model_.Answer();
  std::vector<std::string> answered;
  for (const auto& answer : Answers(50)) answered.push_back(answer.id);
  EXPECT_EQ(answered, ids);
}

TEST_F(SingleFlightTest, CancellingOneThatWaitsCompletesItAlone) {
  Submit("a");
  const RequestPtr waiting = Submit("b");
  Submit("c");
  waiting->Cancel();
  const auto cancelled = Answers(1);
  EXPECT_EQ(cancelled[0].id, "b");
  EXPECT_EQ(cancelled[0].response.status.code(), StatusCode::kCancelled);
  EXPECT_EQ(waiting->failure_reason, FailureReason::kCanceled);
  model_.Answer();
  EXPECT_EQ(Answers(3).back().id, "c");
}

TEST_F(SingleFlightTest, RequestCancelledBeforeItCameIsCompleted) {
  Submit("a");
  RequestPtr request = MakeRequest("b", sink_);
  request->Cancel();
  flight_->Submit(request, false);
  EXPECT_EQ(Answers(1)[0].response.status.code(), StatusCode::kCancelled);
  EXPECT_EQ(flight_->waiting_requests(), 0U);
  model_.Answer();
}

TEST_F(SingleFlightTest, RequestWithAQueueTimeoutNeitherWaitsNorIsWaitedFor) {
  for (const char* id : {"a", "b"}) {
    RequestPtr request = MakeRequest(id, sink_);
    request->timeout_us = 5;
    flight_->Submit(request, false);
  }
  Submit("c");
  EXPECT_EQ(model_.computing(), 3U);
  model_.Answer();
  EXPECT_EQ(local_->entry_count(), 1U);  // its response is kept all the same
  model_.Answer();
  model_.Answer();
  EXPECT_EQ(sink_->count(), 3U);
}

TEST_F(SingleFlightTest, RequestDoesNotWaitForOneOfAnotherPriority) {
  Submit("a");
  RequestPtr urgent = MakeRequest("b", sink_);
  urgent->priority = 1;
  flight_->Submit(urgent, false);
  EXPECT_EQ(model_.computing(), 2U);
  model_.Answer();
  model_.Answer();
  EXPECT_EQ(sink_->count(), 2U);
}

TEST_F(SingleFlightTest, AfterStopWhoWaitsFailsWithTheLeader) {
  Submit("a");
  Submit("b");
  flight_->Stop();
  model_.Fail(FailureReason::kOther);
  EXPECT_EQ(Answers(2)[1].response.status.code(), StatusCode::kUnavailable);
  EXPECT_EQ(model_.computing(), 0U);
}

TEST_F(SingleFlightTest, LentWorkIsReportedToTheLender) {
  EXPECT_TRUE(flight_->Submit(MakeRequest("a", sink_), /*may_lend=*/true));
  EXPECT_FALSE(flight_->Submit(MakeRequest("b", sink_), /*may_lend=*/true));
  model_.Answer();
  EXPECT_FALSE(flight_->Submit(MakeRequest("c", sink_), /*may_lend=*/true));
  EXPECT_EQ(sink_->count(), 3U);
}

TEST_F(SingleFlightTest, OneRemoteLookupAnswersAllThatWaitForIt) {
  Use(remote_);
  Submit("a");
  Submit("b");
  EXPECT_EQ(remote_->lookups.size(), 1U);
  clock_.Advance(500);
  remote_->Answer(CopyResponse(ResponseOf({7})));
  for (const auto& answer : Answers(2)) {
    EXPECT_EQ(FloatsOf(answer.response.outputs[0]), std::vector<float>{7});
    EXPECT_EQ(answer.response.id, answer.id);
  }
  ASSERT_EQ(model_.hits().size(), 2U);
  EXPECT_EQ(model_.hits()[0].lookup_ns, 500);
  EXPECT_EQ(model_.computing(), 0U);
}

TEST_F(SingleFlightTest, RemoteMissIsComputedOnceAndInserted) {
  Use(remote_);
  Submit("a");
  Submit("b");
  clock_.Advance(500);
  remote_->Answer(nullptr);
  EXPECT_EQ(model_.computing(), 1U);
  model_.Answer();
  EXPECT_EQ(Answers(2).size(), 2U);
  EXPECT_EQ(remote_->inserted, 1);
  EXPECT_EQ(model_.misses(), std::vector<std::int64_t>{500});
}

TEST_F(SingleFlightTest, RemoteResponseThatIsNotOfThisModelIsAMiss) {
  Use(remote_);
  InferResponse misnamed = ResponseOf({7});
  misnamed.outputs[0].name = "Y";
  InferResponse mistyped = ResponseOf({7});
  mistyped.outputs[0].type = DataType::kInt32;
  InferResponse doubled = ResponseOf({7});
  doubled.outputs.push_back(doubled.outputs[0]);
  for (const InferResponse& wrong : {misnamed, mistyped, doubled, InferResponse()}) {
    RequestPtr request = MakeRequest("r", sink_, 3);
    request->outputs.resize(1);
    request->outputs[0].name = "X";
    flight_->Submit(request, /*may_lend=*/false);
    remote_->Answer(CopyResponse(wrong));
    ASSERT_EQ(model_.computing(), 1U);
    model_.Answer();
  }
  for (const auto& answer : Answers(4))
    EXPECT_EQ(FloatsOf(answer.response.outputs.at(0)), (std::vector<float>{3, 3}));
  EXPECT_TRUE(model_.hits().empty());
}

TEST_F(SingleFlightTest, RemoteResponseWithTheClassesAskedForIsAHit) {
  Use(remote_);
  InferResponse classes = ResponseOf({});
  classes.outputs[0].type = DataType::kBytes;
  classes.outputs[0].shape = MakeShape({1, 0});
  RequestPtr request = MakeRequest("r", sink_);
  request->outputs.resize(1);
  request->outputs[0].name = "X";
  request->outputs[0].classification_count = 2;
  flight_->Submit(request, /*may_lend=*/false);
  remote_->Answer(CopyResponse(classes));
  EXPECT_EQ(Answers(1)[0].response.outputs.at(0).type, DataType::kBytes);
  EXPECT_EQ(model_.hits().size(), 1U);
}

TEST_F(SingleFlightTest, UnreachableRemoteCacheIsAMissAtOnce) {
  remote_->connected = false;
  Use(remote_);
  EXPECT_TRUE(flight_->Submit(MakeRequest("a", sink_), /*may_lend=*/true));
  EXPECT_EQ(model_.computing(), 1U);
  model_.Answer();
}

TEST_F(SingleFlightTest, CancellingDuringTheLookupCompletesAtOnce) {
  Use(remote_);
  const RequestPtr first = Submit("a");
  Submit("b");
  first->Cancel();
  EXPECT_EQ(Answers(1)[0].id, "a");
  remote_->Answer(nullptr);
  EXPECT_EQ(model_.computing(), 1U);  // for the other one
  model_.Answer();
  EXPECT_EQ(sink_->count(), 2U);
}

TEST_F(SingleFlightTest, LookupThatNobodyWaitsForStartsNothing) {
  Use(remote_);
  Submit("a")->Cancel();
  flight_.reset();
  remote_->Answer(nullptr);
  EXPECT_EQ(model_.computing(), 0U);
  EXPECT_EQ(sink_->count(), 1U);
}

// Random submissions, cancellations and outcomes from several threads: each request is completed
// once (a second completion aborts), and nothing stays behind.
TEST_F(SingleFlightTest, EveryRequestIsCompletedOnceWhateverHappens) {
  Use(std::make_shared<LocalCache>(3'000));
  constexpr std::size_t kThreads = 3;
  constexpr std::size_t kRequests = 1'500;
  std::atomic<std::size_t> submitting{kThreads};
  std::vector<std::thread> threads;
  for (std::uint64_t seed = 0; seed < kThreads; ++seed) {
    threads.emplace_back([&, seed] {
      RepeatableRandom random(seed);
      std::vector<RequestPtr> mine;
      for (std::size_t i = 0; i < kRequests; ++i) {
        mine.push_back(MakeRequest("r", sink_, static_cast<float>(random.Below(8))));
        flight_->Submit(mine.back(), false);
        if (random.Below(3) == 0) {
          mine[static_cast<std::size_t>(random.Below(static_cast<std::int64_t>(mine.size())))]
              ->Cancel();
        }
      }
      --submitting;
    });
  }
  RepeatableRandom random(99);
  while (submitting != 0 || model_.computing() != 0) {
    const RequestPtr request = model_.Take();
    if (request == nullptr) continue;
    if (request->cancelled()) {
      request->Fail(Status::Cancelled("gone"), FailureReason::kCanceled);
    } else if (random.Below(5) == 0) {
      request->Fail(Status::Internal("broken"), FailureReason::kBackend);
    } else {
      request->Respond(ResponseOf(FloatsOf(request->inputs[0])), /*final=*/true);
    }
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(sink_->count(), kThreads * kRequests);
  EXPECT_EQ(flight_->waiting_requests(), 0U);
}

}  // namespace
}  // namespace fastserve
