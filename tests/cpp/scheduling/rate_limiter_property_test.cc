// Random operations on the rate limiter and on a reference that keeps no counts: it adds up who
// holds what and looks through the line each time. The same claims are served at the same times,
// and the limiter's invariants hold for what its callers see.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "scheduling/rate_limiter.h"
#include "support/random.h"

namespace fastserve {
namespace {

constexpr int kSteps = 6'000;
constexpr std::size_t kMostClaims = 8;

using Counts = std::map<std::string, std::uint32_t>;

enum class Place : std::uint8_t { kIdle, kWaiting, kReserved, kHeld };

struct ReferenceClaim {
  int id = 0;
  Counts needs;
  std::uint64_t priority = 1;
  std::uint64_t start_tag = 0;
  Place place = Place::kIdle;
};

// In the order of their registration.
class ReferenceLimiter {
 public:
  explicit ReferenceLimiter(Counts totals) : totals_(std::move(totals)) {}

  void Add(int id, const Counts& needs, std::uint64_t priority) {
    claims_.push_back({id, needs, priority, now_, Place::kIdle});
  }
  void Remove(int id) {
    std::erase_if(claims_, [id](const ReferenceClaim& claim) { return claim.id == id; });
    ServeLine();
  }
  bool TryTake(int id) {
    ReferenceClaim& claim = At(id);
    if (claim.place == Place::kIdle) {
      claim.place = Place::kWaiting;
      claim.start_tag = std::max(claim.start_tag, now_);
      ServeLine();
    }
    if (claim.place != Place::kReserved) return false;
    claim.place = Place::kHeld;
    return true;
  }
  void Leave(int id) {
    At(id).place = Place::kIdle;
    ServeLine();
  }
  Place PlaceOf(int id) { return At(id).place; }

 private:
  ReferenceClaim& At(int id) { return *std::ranges::find(claims_, id, &ReferenceClaim::id); }
  bool Fits(const ReferenceClaim& asking) const {
    return std::ranges::all_of(asking.needs, [this](const auto& need) {
      std::uint32_t used = need.second;
      for (const ReferenceClaim& claim : claims_) {
        const bool holds = claim.place == Place::kReserved || claim.place == Place::kHeld;
        if (holds && claim.needs.contains(need.first)) used += claim.needs.at(need.first);
      }
      return used <= totals_.at(need.first);
    });
  }
  void ServeLine() {
    for (;;) {
      ReferenceClaim* first = nullptr;
      for (ReferenceClaim& claim : claims_) {
        const bool waits = claim.place == Place::kWaiting;
        if (waits && (first == nullptr || claim.start_tag < first->start_tag)) first = &claim;
      }
      if (first == nullptr || !Fits(*first)) return;
      first->place = Place::kReserved;
      now_ = std::max(now_, first->start_tag);
      first->start_tag += first->priority;
    }
  }

  const Counts totals_;
  std::uint64_t now_ = 0;
  std::vector<ReferenceClaim> claims_;
};

// A claim as its scheduler sees it.
struct Seen {
  int id = 0;
  Counts needs;
  Place place = Place::kIdle;
  std::unique_ptr<ResourceClaim> claim;
};

class RateLimiterProperty : public ::testing::TestWithParam<std::uint64_t> {
 protected:
  // "open" has no given count: one instance that is never unloaded sets it.
  RateLimiterProperty() { Add({{"open", kTotals.at("open")}}, 1); }
  ~RateLimiterProperty() override { seen_.clear(); }

  void Step() {
    switch (random_.Below(10)) {
      case 0:
        return Register();
      case 1:
        return Unregister();
      case 2:
      case 3:
        return Withdraw();
      case 4:
      case 5:
      case 6:
        return GiveBack();
      default:
        return TryTake();
    }
  }
  void Register() {
    Counts needs;
    for (const auto& [name, total] : kTotals) {
      const auto count = static_cast<std::uint32_t>(random_.Below(total + 2));
      if (count > 0) needs[name] = std::min(count, name == "open" ? total : count);
    }
    const auto too_much = [](const auto& need) { return need.second > kTotals.at(need.first); };
    if (std::ranges::any_of(needs, too_much)) {
      EXPECT_EQ(limiter_.Register(GroupOf(needs, 1)).status().code(), StatusCode::kInvalidArgument);
    } else if (seen_.size() < kMostClaims) {
      Add(needs, static_cast<std::uint32_t>(1 + random_.Below(3)));
    }
  }
  void Unregister() {
    if (seen_.size() == 1) return;
    const auto victim = seen_.begin() + 1 + random_.Below(std::ssize(seen_) - 1);
    const int id = (*victim)->id;
    // Gone before the others are served: it must not be told any more.
    const std::unique_ptr<Seen> gone = std::move(*victim);
    seen_.erase(victim);
    gone->claim.reset();
    reference_.Remove(id);
  }
  void TryTake() {
    Seen& any = Any();
    if (any.place == Place::kHeld) return;
    const bool taken = any.claim->TryTake();
    ASSERT_EQ(taken, reference_.TryTake(any.id)) << "claim " << any.id;
    any.place = taken ? Place::kHeld : Place::kWaiting;
    ++(taken ? taken_ : refused_);
  }
  void GiveBack() {
    Seen& any = Any();
    any.claim->GiveBack();
    if (any.place != Place::kHeld) return;  // nothing to give back
    any.place = Place::kIdle;
    reference_.Leave(any.id);
  }
  void Withdraw() {
    Seen& any = Any();
    const bool in_line = any.place == Place::kWaiting || any.place == Place::kReserved;
    if (in_line) any.place = Place::kIdle;
    any.claim->Withdraw();
    if (in_line) reference_.Leave(any.id);
  }

  void ExpectTheSamePlaces() {
    for (const auto& one : seen_)
      ASSERT_EQ(one->place, reference_.PlaceOf(one->id)) << "claim " << one->id;
  }
  // Of what the callers see alone.
  void ExpectTheInvariants() {
    Counts used;
    for (const auto& one : seen_) {
      if (one->place != Place::kReserved && one->place != Place::kHeld) continue;
      for (const auto& [name, count] : one->needs) used[name] += count;
    }
    for (const auto& [name, total] : kTotals) ASSERT_LE(used[name], total) << name;
    // Who waits does so behind one, maybe itself, that does not fit: not all who wait fit.
    std::ptrdiff_t waiting = 0;
    std::ptrdiff_t fitting = 0;
    for (const auto& one : seen_) {
      if (one->place != Place::kWaiting) continue;
      ++waiting;
      const auto fits = [&used](const auto& need) {
        return used[need.first] + need.second <= kTotals.at(need.first);
      };
      fitting += std::ranges::all_of(one->needs, fits) ? 1 : 0;
    }
    ASSERT_TRUE(waiting == 0 || fitting < waiting);
    ahead_ += fitting;
  }

  Seen& Any() { return *seen_[static_cast<std::size_t>(random_.Below(std::ssize(seen_)))]; }

  static InstanceGroupSpec GroupOf(const Counts& needs, std::uint32_t priority) {
    InstanceGroupSpec group;
    group.rate_limiter_priority = priority;
    for (const auto& [name, count] : needs) group.resources.push_back({name, false, count});
    return group;
  }
  void Add(const Counts& needs, std::uint32_t priority) {
    auto one = std::make_unique<Seen>();
    one->id = next_id_++;
    one->needs = needs;
    one->claim = limiter_.Register(GroupOf(needs, priority)).value();
    one->claim->set_on_reserved([raw = one.get()] {
      EXPECT_EQ(raw->place, Place::kWaiting) << "claim " << raw->id << " is told unasked";
      raw->place = Place::kReserved;
    });
    reference_.Add(one->id, needs, priority);
    seen_.push_back(std::move(one));
  }

  inline static const Counts kTotals{{"few", 2}, {"many", 5}, {"open", 3}};
  RateLimiter limiter_{{{"few", 2}, {"many", 5}}};
  ReferenceLimiter reference_{kTotals};
  RepeatableRandom random_{GetParam()};
  std::vector<std::unique_ptr<Seen>> seen_;
  int next_id_ = 0;
  int taken_ = 0;
  int refused_ = 0;
  std::ptrdiff_t ahead_ = 0;  // that would have fitted and did not overtake
};

TEST_P(RateLimiterProperty, BehavesAsTheReference) {
  for (int step = 0; step < kSteps; ++step) {
    SCOPED_TRACE("step " + std::to_string(step));
    Step();
    ASSERT_FALSE(HasFailure());
    ExpectTheSamePlaces();
    ASSERT_FALSE(HasFatalFailure());
    ExpectTheInvariants();
    ASSERT_FALSE(HasFatalFailure());
  }
  // The run has seen what it is about.
  EXPECT_GT(taken_, kSteps / 50);
  EXPECT_GT(refused_, kSteps / 50);
  EXPECT_GT(ahead_, kSteps / 200);
}

INSTANTIATE_TEST_SUITE_P(Seeds, RateLimiterProperty, ::testing::Values(1, 2, 3));

}  // namespace
}  // namespace fastserve
