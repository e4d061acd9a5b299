// Random operations on the table and on the reference.
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "scheduling/sequence_table.h"
#include "support/random.h"
#include "support/requests.h"
#include "support/sequence_reference.h"

namespace fastserve {
namespace {

constexpr std::int64_t kIdleNs = 50;
constexpr std::size_t kInstances = 2;
constexpr std::int64_t kPlaces = 2;
constexpr int kIds = 8;
constexpr int kSteps = 20'000;

class TableAgainstReference {
 public:
  explicit TableAgainstReference(std::uint64_t seed) : random_(seed) {}

  void Step() {
    now_ns_ += random_.Below(10);
    switch (random_.Below(10)) {
      case 0:
        return Expire();
      case 1:
        return Cancel();
      case 2:
      case 3:
      case 4:
        return Add();
      case 5:
      case 6:
        return Finish();
      default:
        return Begin();
    }
  }
  void Compare() {
    ASSERT_EQ(table_.size(), reference_.size());
    ASSERT_EQ(table_.waiting(), reference_.waiting());
    for (std::size_t instance = 0; instance < kInstances; ++instance) {
      std::vector<std::uint64_t> ids;
      for (const auto& turn : table_.ready(instance)) {
        ids.push_back(std::get<std::uint64_t>(turn.sequence->id));
        const ReferenceSequence& expected = *reference_.Find(ids.back());
        ASSERT_EQ(turn.sequence->place->slot, expected.place->slot);
        ASSERT_EQ(turn.sequence->front(), expected.queue.front().request.get());
      }
      ASSERT_EQ(ids, reference_.Ready(instance));
    }
  }
  std::size_t refused() const { return refused_; }
  std::size_t ran() const { return ran_; }

 private:
  void Expire() {
    table_.Expire(now_ns_);
    reference_.Expire(now_ns_);
  }
  void Add() {
    const auto id = static_cast<std::uint64_t>(random_.Below(kIds) + 1);
    RequestPtr request = MakeRequest("r", nullptr);
    request->sequence_id = id;
    request->sequence_start = random_.Below(10) < 4;
    request->sequence_end = random_.Below(10) < 3;
    request->timestamps.queue_start = now_ns_;
    const bool taken = table_.Add(request, now_ns_);
    ASSERT_EQ(taken, reference_.Add(request, id, now_ns_));
    taken ? waiting_.push_back(request) : void(++refused_);
  }
  void Begin() {
    const auto& ready = table_.ready(static_cast<std::size_t>(random_.Below(kInstances)));
    if (ready.empty()) return;
    const auto turn = std::next(ready.begin(), random_.Below(std::ssize(ready)));
    Sequence* sequence = turn->sequence;
    table_.Begin(sequence);
    reference_.Begin(std::get<std::uint64_t>(sequence->id));
    std::erase(waiting_, sequence->running);
    running_.push_back(sequence);
    ++ran_;
  }
  void Finish() {
    if (running_.empty()) return;
    const auto at = running_.begin() + random_.Below(std::ssize(running_));
    Sequence* sequence = *at;
    running_.erase(at);
    const bool again = random_.Below(5) == 0;
    const RequestPtr request = sequence->running;
    const auto id = std::get<std::uint64_t>(sequence->id);
    if (again) {
      request->sequence_start = false;
      waiting_.push_back(request);
      rescheduled_.insert(request);
    } else {
      rescheduled_.erase(request);
    }
    table_.Finish(sequence, again, now_ns_);
    reference_.Finish(id, again, now_ns_);
  }
  void Cancel() {
    if (waiting_.empty()) return;
    const RequestPtr request =
        waiting_[static_cast<std::size_t>(random_.Below(std::ssize(waiting_)))];
    const bool rescheduled = rescheduled_.erase(request) != 0;
    std::vector<RequestPtr> orphans;
    ASSERT_TRUE(table_.Remove(request, now_ns_, &orphans));
    ASSERT_EQ(orphans, reference_.Cancel(std::get<std::uint64_t>(request->sequence_id), request,
                                         rescheduled, now_ns_));
    std::erase(waiting_, request);
    for (const RequestPtr& orphan : orphans) std::erase(waiting_, orphan);
  }

  RepeatableRandom random_;
  SequenceTable table_{{kInstances, kPlaces, kIdleNs}};
  ReferenceTable reference_{kInstances, kPlaces, kIdleNs};
  std::vector<RequestPtr> waiting_;
  std::vector<Sequence*> running_;
  std::set<RequestPtr> rescheduled_;  // ran, and wait again
  std::int64_t now_ns_ = 1000;
  std::size_t refused_ = 0;
  std::size_t ran_ = 0;
};

TEST(SequenceTableProperty, BehavesAsTheReference) {
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    TableAgainstReference test(seed);
    for (int step = 0; step < kSteps; ++step) {
      test.Step();
      test.Compare();
      ASSERT_FALSE(::testing::Test::HasFatalFailure()) << "seed " << seed << " step " << step;
    }
    EXPECT_GT(test.ran(), kSteps / 20U);
    EXPECT_GT(test.refused(), kSteps / 100U);
  }
}

}  // namespace
}  // namespace fastserve
