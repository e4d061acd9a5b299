#include "scheduling/sequence_table.h"

#include <gtest/gtest.h>

#include <string>

#include "support/requests.h"
#include "support/sequence_flags.h"

namespace fastserve {
namespace {

constexpr std::int64_t kIdleNs = 1000;

class SequenceTableTest : public ::testing::Test {
 protected:
  void Make(std::size_t instances, std::int64_t places) {
    table_ = std::make_unique<SequenceTable>(SequenceTable::Options{instances, places, kIdleNs});
  }
  RequestPtr NewRequest(std::uint64_t id, Flags flags) {
    RequestPtr request = MakeRequest(std::to_string(++made_), nullptr);
    request->sequence_id = id;
    request->sequence_start = flags == Flags::kStart || flags == Flags::kBoth;
    request->sequence_end = flags == Flags::kEnd || flags == Flags::kBoth;
    request->timestamps.queue_start = now_ns_;
    return request;
  }
  // The request, or null when it was refused.
  RequestPtr Add(std::uint64_t id, Flags flags = Flags::kNone) {
    RequestPtr request = NewRequest(id, flags);
    return table_->Add(request, now_ns_) ? request : nullptr;
  }
  Sequence* FirstReady(std::size_t instance = 0) {
    const auto& ready = table_->ready(instance);
    return ready.empty() ? nullptr : ready.begin()->sequence;
  }
  // Runs the next request of the instance's first ready sequence; the request's name.
  std::string RunOne(std::size_t instance = 0) {
    Sequence* sequence = FirstReady(instance);
    if (sequence == nullptr) return "nothing";
    table_->Begin(sequence);
    const std::string name = sequence->running->id;
    table_->Finish(sequence, /*again=*/false, now_ns_);
    return name;
  }
  bool Cancel(const RequestPtr& request) { return table_->Remove(request, now_ns_, &orphans_); }

  std::unique_ptr<SequenceTable> table_;
  std::vector<RequestPtr> orphans_;
  std::int64_t now_ns_ = 1'000'000;
  int made_ = 0;
};

TEST_F(SequenceTableTest, RefusesARequestWhoseSequenceDidNotStart) {
  Make(1, 4);
  EXPECT_EQ(Add(7), nullptr);
  EXPECT_EQ(Add(7, Flags::kEnd), nullptr);
  EXPECT_EQ(table_->size(), 0U);
  EXPECT_NE(Add(7, Flags::kStart), nullptr);
  EXPECT_NE(Add(7), nullptr);
}

TEST_F(SequenceTableTest, RefusesWhatFollowsAnEndWithoutStart) {
  Make(1, 4);
  Add(7, Flags::kBoth);
  EXPECT_EQ(Add(7), nullptr);
  table_->Begin(FirstReady());
  EXPECT_EQ(Add(7), nullptr);
}

TEST_F(SequenceTableTest, RunsOneRequestOfASequenceAtATimeInOrder) {
  Make(1, 4);
  Add(7, Flags::kStart);
  Add(7);
  Sequence* sequence = FirstReady();
  table_->Begin(sequence);
  EXPECT_EQ(FirstReady(), nullptr);
  table_->Finish(sequence, false, now_ns_);
  EXPECT_EQ(RunOne(), "2");
  EXPECT_EQ(table_->waiting(), 0U);
}

TEST_F(SequenceTableTest, NumberAndStringAreDifferentSequences) {
  Make(1, 4);
  Add(5, Flags::kStart);
  RequestPtr request = NewRequest(0, Flags::kNone);
  request->sequence_id = "5";
  EXPECT_FALSE(table_->Add(request, now_ns_));
}

TEST_F(SequenceTableTest, BacklogIsServedInOrderOfArrivalWhenAPlaceIsFree) {
  Make(1, 1);
  Add(1, Flags::kStart);
  for (std::uint64_t id : {2, 3}) {
    ++now_ns_;
    Add(id, Flags::kBoth);
  }
  EXPECT_EQ(table_->CountBacklogRequests(), 2U);
  EXPECT_EQ(RunOne(), "1");
  EXPECT_EQ(RunOne(), "nothing") << "sequence 1 is idle and keeps its place";
  Add(1, Flags::kEnd);
  EXPECT_EQ(RunOne(), "4");
  EXPECT_EQ(RunOne(), "2");
  EXPECT_EQ(RunOne(), "3");
  EXPECT_EQ(table_->size(), 0U);
}

TEST_F(SequenceTableTest, PlacesGoToTheInstanceWithTheMostRoomAndTheLowestSlot) {
  Make(2, 2);
  for (std::uint64_t id : {1, 2, 3, 4}) Add(id, Flags::kBoth);
  EXPECT_EQ(table_->ready(0).size(), 2U);
  EXPECT_EQ(table_->ready(1).size(), 2U);
  EXPECT_EQ(RunOne(0), "1");
  Add(5, Flags::kStart);
  EXPECT_EQ(table_->ready(0).rbegin()->sequence->place->slot, 0);
}

TEST_F(SequenceTableTest, RestartKeepsThePlace) {
  Make(1, 1);
  Add(1, Flags::kStart);
  Add(2, Flags::kStart);
  Add(1, Flags::kStart);
  EXPECT_EQ(RunOne(), "1");
  EXPECT_EQ(RunOne(), "3");
}

TEST_F(SequenceTableTest, AnEndedIdThatStartsAgainTakesItsTurnInTheBacklog) {
  Make(1, 1);
  Add(1, Flags::kBoth);
  ++now_ns_;
  Add(2, Flags::kBoth);
  ++now_ns_;
  Add(1, Flags::kBoth);
  EXPECT_EQ(RunOne(), "1");
  EXPECT_EQ(RunOne(), "2");
  EXPECT_EQ(RunOne(), "3");
}

TEST_F(SequenceTableTest, IdleSequenceEndsAtItsDeadlineAndFreesItsPlace) {
  Make(1, 1);
  Add(1, Flags::kStart);
  Add(2, Flags::kStart);
  EXPECT_EQ(table_->next_expiry_ns(), 0);
  RunOne();
  EXPECT_EQ(table_->next_expiry_ns(), now_ns_ + kIdleNs);
  now_ns_ += kIdleNs - 1;
  table_->Expire(now_ns_);
  EXPECT_EQ(FirstReady(), nullptr);
  now_ns_ += 1;
  table_->Expire(now_ns_);
  EXPECT_EQ(RunOne(), "2");
  EXPECT_EQ(Add(1), nullptr);
}

TEST_F(SequenceTableTest, ASequenceThatWaitsOrRunsIsNotIdle) {
  Make(1, 1);
  Add(1, Flags::kStart);
  now_ns_ += 10 * kIdleNs;
  table_->Expire(now_ns_);
  Sequence* sequence = FirstReady();
  ASSERT_NE(sequence, nullptr);
  table_->Begin(sequence);
  now_ns_ += 10 * kIdleNs;
  table_->Expire(now_ns_);
  table_->Finish(sequence, false, now_ns_);
  EXPECT_NE(Add(1), nullptr);
}

TEST_F(SequenceTableTest, ALateTimerDoesNotProlongASequence) {
  Make(1, 1);
  Add(1, Flags::kStart);
  RunOne();
  now_ns_ += kIdleNs;
  EXPECT_EQ(Add(1), nullptr);
}

TEST_F(SequenceTableTest, CancelledRequestIsAsIfNeverSent) {
  Make(1, 1);
  Add(1, Flags::kStart);
  const RequestPtr end = Add(1, Flags::kEnd);
  EXPECT_TRUE(Cancel(end));
  EXPECT_FALSE(Cancel(end));
  EXPECT_NE(Add(1), nullptr) << "the END was taken back";
  EXPECT_TRUE(orphans_.empty());
  EXPECT_EQ(table_->waiting(), 2U);
}

TEST_F(SequenceTableTest, CancelledStartTakesItsFollowersAlong) {
  Make(1, 1);
  const RequestPtr start = Add(1, Flags::kStart);
  const RequestPtr follower = Add(1);
  Add(1, Flags::kBoth);
  EXPECT_TRUE(Cancel(start));
  ASSERT_EQ(orphans_.size(), 1U);
  EXPECT_EQ(orphans_[0], follower);
  EXPECT_EQ(RunOne(), "3");
}

TEST_F(SequenceTableTest, CancelledOnlyStartFreesThePlaceAtOnce) {
  Make(1, 1);
  const RequestPtr start = Add(1, Flags::kStart);
  Add(2, Flags::kStart);
  EXPECT_TRUE(Cancel(start));
  EXPECT_EQ(table_->size(), 1U);
  EXPECT_EQ(RunOne(), "2");
}

TEST_F(SequenceTableTest, CancelledRestartDoesNotLeadBackToTheOldSequence) {
  Make(1, 1);
  Add(1, Flags::kStart);
  table_->Begin(FirstReady());
  const RequestPtr restart = Add(1, Flags::kStart);
  EXPECT_TRUE(Cancel(restart));
  EXPECT_EQ(Add(1), nullptr);
  EXPECT_NE(Add(1, Flags::kStart), nullptr);
  EXPECT_NE(Add(1), nullptr);
}

TEST_F(SequenceTableTest, RescheduledRequestRunsBeforeItsFollowers) {
  Make(1, 1);
  Add(1, Flags::kStart);
  Add(1);
  Sequence* sequence = FirstReady();
  table_->Begin(sequence);
  table_->Finish(sequence, /*again=*/true, now_ns_);
  EXPECT_EQ(table_->waiting(), 2U);
  EXPECT_EQ(RunOne(), "1");
  EXPECT_EQ(RunOne(), "2");
}

TEST_F(SequenceTableTest, CancelledRescheduledLastRequestEndsItsSequence) {
  Make(1, 1);
  const RequestPtr only = Add(1, Flags::kBoth);
  Add(2, Flags::kBoth);
  Sequence* sequence = FirstReady();
  table_->Begin(sequence);
  table_->Finish(sequence, /*again=*/true, now_ns_);
  EXPECT_TRUE(Cancel(only));
  EXPECT_EQ(RunOne(), "2");
  EXPECT_EQ(table_->size(), 0U);
}

TEST_F(SequenceTableTest, TakeAllLeavesOnlyWhatRuns) {
  Make(1, 1);
  Add(1, Flags::kStart);
  Add(1);
  Add(2, Flags::kStart);
  Sequence* sequence = FirstReady();
  table_->Begin(sequence);
  std::vector<RequestPtr> taken;
  table_->TakeAll(&taken);
  EXPECT_EQ(taken.size(), 2U);
  EXPECT_EQ(table_->waiting(), 0U);
  table_->Finish(sequence, false, now_ns_);
  EXPECT_EQ(FirstReady(), nullptr);
}

}  // namespace
}  // namespace fastserve
