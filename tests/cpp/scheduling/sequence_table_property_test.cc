// Random operations on the table and on a reference that keeps everything in one list and looks
// through it.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <list>
#include <optional>
#include <set>
#include <string>

#include "scheduling/sequence_table.h"
#include "support/random.h"
#include "support/requests.h"

namespace fastserve {
namespace {

constexpr std::int64_t kIdleNs = 50;
constexpr std::size_t kInstances = 2;
constexpr std::int64_t kPlaces = 2;
constexpr int kIds = 8;
constexpr int kSteps = 20'000;

struct ReferenceSequence {
  std::uint64_t id = 0;
  std::deque<RequestPtr> queue;  // a rescheduled request is at the front again
  RequestPtr running;
  std::optional<SequencePlace> place;
  bool cut = false;  // the last START was cancelled
  std::int64_t idle_since = 0;
  std::uint64_t turn = 0;
  std::uint64_t number = 0;

  bool ready() const { return place && !running && !queue.empty(); }
  bool idle() const { return place && !running && queue.empty(); }
  const InferRequest* last() const { return queue.empty() ? running.get() : queue.back().get(); }
};

class Reference {
 public:
  ReferenceSequence* Find(std::uint64_t id) {
    for (auto& sequence : all_) {
      if (sequence.id == id) return &sequence;
    }
    return nullptr;
  }

  bool Add(const RequestPtr& request, std::uint64_t id, std::int64_t now) {
    Expire(now);
    ReferenceSequence* sequence = Find(id);
    const bool joins = sequence != nullptr && !sequence->cut &&
                       (sequence->last() == nullptr || !sequence->last()->sequence_end);
    if (!request->sequence_start && !joins) return false;
    if (sequence == nullptr) {
      sequence = &all_.emplace_back();
      sequence->id = id;
      sequence->number = ++numbers_;
    }
    if (request->sequence_start) sequence->cut = false;
    sequence->queue.push_back(request);
    Update(id, now);
    return true;
  }
  void Begin(std::uint64_t id) {
    ReferenceSequence* sequence = Find(id);
    sequence->running = sequence->queue.front();
    sequence->queue.pop_front();
    sequence->turn = 0;
  }
  void Finish(std::uint64_t id, bool again, std::int64_t now) {
    ReferenceSequence* sequence = Find(id);
    const RequestPtr done = std::exchange(sequence->running, nullptr);
    if (again) {
      sequence->queue.push_front(done);
    } else if (done->sequence_end) {
      sequence->place.reset();
      sequence->turn = 0;
    }
    Update(id, now, /*was_used=*/true);
  }
  // The requests that lost their START.
  std::vector<RequestPtr> Cancel(std::uint64_t id, const RequestPtr& request, bool rescheduled,
                                 std::int64_t now) {
    ReferenceSequence* sequence = Find(id);
    auto at = std::ranges::find(sequence->queue, request);
    at = sequence->queue.erase(at);
    std::vector<RequestPtr> orphans;
    if (rescheduled) {
      if (request->sequence_end) {
        sequence->place.reset();
        sequence->turn = 0;
      }
    } else if (request->sequence_start) {
      const auto next = std::find_if(at, sequence->queue.end(), [](const RequestPtr& follower) {
        return follower->sequence_start;
      });
      orphans.assign(at, next);
      if (next == sequence->queue.end()) sequence->cut = true;
      sequence->queue.erase(at, next);
    }
    Update(id, now, /*was_used=*/true);
    return orphans;
  }
  void Expire(std::int64_t now) {
    all_.remove_if([now](const ReferenceSequence& sequence) {
      return sequence.idle() && sequence.idle_since + kIdleNs <= now;
    });
    FillPlaces();
  }

  std::vector<std::uint64_t> Ready(std::size_t instance) const {
    std::vector<const ReferenceSequence*> ready;
    for (const auto& sequence : all_) {
      if (sequence.ready() && sequence.place->instance == instance) ready.push_back(&sequence);
    }
    std::ranges::sort(ready, {}, &ReferenceSequence::turn);
    std::vector<std::uint64_t> ids;
    for (const auto* sequence : ready) ids.push_back(sequence->id);
    return ids;
  }
  std::size_t waiting() const {
    std::size_t count = 0;
    for (const auto& sequence : all_) count += sequence.queue.size();
    return count;
  }
  std::size_t size() const { return all_.size(); }

 private:
  void Update(std::uint64_t id, std::int64_t now, bool was_used = false) {
    ReferenceSequence* sequence = Find(id);
    if (!sequence->running && sequence->queue.empty() && (!sequence->place || sequence->cut)) {
      all_.remove_if([id](const ReferenceSequence& other) { return other.id == id; });
    } else {
      if (was_used && sequence->idle()) {
        sequence->idle_since = now;
        sequence->turn = 0;
      }
      if (sequence->ready() && sequence->turn == 0) sequence->turn = ++turns_;
    }
    FillPlaces();
  }
  void FillPlaces() {
    for (;;) {
      ReferenceSequence* first = nullptr;
      for (auto& sequence : all_) {
        if (sequence.place || sequence.queue.empty() || sequence.running) continue;
        if (first == nullptr || Arrival(sequence) < Arrival(*first)) first = &sequence;
      }
      if (first == nullptr) return;
      first->place = FreePlace();
      if (!first->place) return;
      first->turn = ++turns_;
    }
  }
  static std::pair<std::int64_t, std::uint64_t> Arrival(const ReferenceSequence& sequence) {
    return {sequence.queue.front()->timestamps.queue_start, sequence.number};
  }
  std::optional<SequencePlace> FreePlace() const {
    std::vector<std::set<std::int64_t>> used(kInstances);
    for (const auto& sequence : all_) {
      if (sequence.place) used[sequence.place->instance].insert(sequence.place->slot);
    }
    const auto roomiest =
        std::ranges::min_element(used, {}, [](const auto& set) { return set.size(); });
    for (std::int64_t slot = 0; slot < kPlaces; ++slot) {
      if (!roomiest->contains(slot))
        return SequencePlace{static_cast<std::size_t>(roomiest - used.begin()), slot};
    }
    return std::nullopt;
  }

  std::list<ReferenceSequence> all_;
  std::uint64_t turns_ = 0;
  std::uint64_t numbers_ = 0;
};

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
        ASSERT_EQ(turn.sequence->front(), expected.queue.front().get());
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
  Reference reference_;
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
