// Requests with a decoupled step whose members answer in random orders, fail and are cancelled; and
// the same with a thread for each member.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/random.h"
#include "support/room_signal.h"
#include "support/streaming_members.h"

namespace fastserve {
namespace {

class EnsembleStreamProperty : public StreamingEnsembleTest {
 protected:
  // in -> g -> b -> c -> out, c also reads what a makes beside them.
  void StartDiamond() {
    Start({"a:X=in>Y=style", "g:X=in>Y=token", "b:X=token>Y=mid", "c:X=mid,Z=style>Y=out"});
  }
  // The values 0, 1, 2 ... without a gap, then one end.
  void CheckAnswers(std::size_t sent) {
    const auto all = answers();
    ASSERT_FALSE(all.empty());
    for (std::size_t i = 0; i + 1 < all.size(); ++i) {
      EXPECT_FALSE(all[i].final);
      EXPECT_EQ(FloatsOf(all[i].response.outputs.at(0)).at(0), static_cast<float>(i));
    }
    EXPECT_TRUE(all.back().final);
    if (all.back().response.status.ok()) {
      EXPECT_EQ(all.size(), sent + 1);
    }
  }
};

// One run with random events; the number of responses that the decoupled step sent.
class RandomRun {
 public:
  RandomRun(RepeatableRandom* random, std::vector<ScriptedMember*> members, RequestPtr parent)
      : random_(*random), members_(std::move(members)), parent_(std::move(parent)) {}

  void Step(ScriptedMember* generator) {
    if (source_ == nullptr) source_ = generator->Take();
    const std::int64_t event = random_.Below(12);
    if (event < 5 && source_ != nullptr && !source_->completed()) return GoOn();
    if (event == 5 && random_.Below(20) == 0) return parent_->Cancel();
    ScriptedMember& member = *members_[static_cast<std::size_t>(random_.Below(3))];
    if (const RequestPtr request = member.Take()) held_.push_back(request);
    if (held_.empty()) return;
    const auto index = random_.Below(static_cast<std::int64_t>(held_.size()));
    Answer(held_[static_cast<std::size_t>(index)]);
    held_.erase(held_.begin() + index);
  }
  std::size_t sent() const { return sent_; }
  bool failed() const { return failed_; }

 private:
  void GoOn() {
    if (sent_ < 8 && random_.Below(6) != 0) return SendValue(source_, static_cast<float>(sent_++));
    if (random_.Below(4) != 0) return SendEnd(source_);
    failed_ = true;
    source_->Fail(Status::Internal("generator"), FailureReason::kBackend);
  }
  void Answer(const RequestPtr& request) {
    if (random_.Below(40) != 0) return AnswerPlus(request, 0);
    failed_ = true;
    request->Fail(Status::Internal("step"), FailureReason::kBackend);
  }

  RepeatableRandom& random_;
  const std::vector<ScriptedMember*> members_;
  const RequestPtr parent_;
  RequestPtr source_;
  std::vector<RequestPtr> held_;
  std::size_t sent_ = 0;
  bool failed_ = false;
};

TEST_F(EnsembleStreamProperty, RequestsEndOnceWithTheirResponsesInOrder) {
  int succeeded = 0;
  for (std::uint64_t round = 0; round < 300; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    RepeatableRandom random(round);
    client_ = std::make_shared<SlowClient>();
    StartDiamond();
    const RequestPtr parent = Enqueue();
    RandomRun run(&random, {&member("a"), &member("b"), &member("c")}, parent);
    for (int step = 0; step < 10'000 && !Ended(); ++step) run.Step(&member("g"));
    ASSERT_TRUE(Ended());
    CheckAnswers(run.sent());
    EXPECT_EQ(Outcome().ok(), !run.failed() && !parent->cancelled()) << Outcome().message();
    if (Outcome().ok()) ++succeeded;
    EXPECT_EQ(member("b").waiting() + member("c").waiting(), 0U);
  }
  EXPECT_GT(succeeded, 50);
}

// Answers what comes to a member until told to stop: the newest first, of up to `hold` that are
// there, so that they end out of order.
void PlayMember(ScriptedMember* member, std::size_t hold, const std::atomic<bool>* stop) {
  std::vector<RequestPtr> held;
  while (!stop->load()) {
    RequestPtr request = member->Take();
    const bool more = request != nullptr;
    if (more) held.push_back(std::move(request));
    if (held.empty()) std::this_thread::yield();
    if (held.empty() || (more && held.size() < hold)) continue;
    AnswerPlus(held.back(), 0);
    held.pop_back();
  }
}

// Sends so many responses, waiting for room like a backend.
void PlayGenerator(const RequestPtr& source, std::size_t count, std::size_t limit,
                   RecordingSink* answers) {
  for (std::size_t i = 0; i < count && !source->cancelled(); ++i) {
    const auto room = std::make_shared<RoomSignal>();
    const bool waits = source->congested() && source->WaitForRoom(room);
    if (waits) room->Wait();
    // Only this thread adds to what is on its way.
    const std::size_t on_their_way = i - answers->count();
    if (!source->cancelled()) {
      EXPECT_LT(on_their_way, limit);
    }
    SendValue(source, static_cast<float>(i));
  }
  SendEnd(source);
}

TEST_F(EnsembleStreamProperty, ThreadsThatAnswerOutOfOrderKeepTheOrderAndTheLimit) {
  max_inflight_ = 4;
  constexpr std::size_t kResponses = 200;
  constexpr std::size_t kFullAt = 20;
  for (const bool cancel : {false, true}) {
    client_ = std::make_shared<SlowClient>();
    client_->full_at = kFullAt;
    StartDiamond();
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    const RequestPtr parent = Enqueue();
    const RequestPtr source = member("g").Take();
    threads.emplace_back(PlayMember, &member("a"), 1, &stop);
    threads.emplace_back(PlayMember, &member("b"), 3, &stop);
    threads.emplace_back(PlayMember, &member("c"), 3, &stop);
    threads.emplace_back(PlayGenerator, source, kResponses, max_inflight_, &client_->answers);
    // From then on the client has no room for a while, so the generator is still at it.
    client_->answers.Await(kFullAt);
    while (!source->congested()) std::this_thread::yield();
    if (cancel) parent->Cancel();
    client_->full = false;
    parent->NotifyRoom();
    for (std::size_t i = 1; !Ended(); ++i) client_->answers.Await(i);
    threads.back().join();
    stop = true;
    for (std::size_t i = 0; i + 1 < threads.size(); ++i) threads[i].join();
    CheckAnswers(kResponses);
    EXPECT_EQ(Outcome().ok(), !cancel);
  }
}

}  // namespace
}  // namespace fastserve
