#include "scheduling/policy_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <random>
#include <set>

#include "support/requests.h"

namespace fastserve {
namespace {

RequestPtr Waiting(const std::string& id, std::int64_t since_ns, std::uint64_t timeout_us = 0) {
  RequestPtr request = MakeRequest(id, nullptr);
  request->timestamps.queue_start = since_ns;
  request->timeout_us = timeout_us;
  return request;
}

std::vector<std::string> Order(const PolicyQueue& queue) {
  std::vector<std::string> ids;
  for (const InferRequest* r = queue.front(); r != nullptr; r = queue.Next(r)) ids.push_back(r->id);
  return ids;
}

DynamicBatchingSpec OneLevel(const QueuePolicySpec& policy) {
  DynamicBatchingSpec spec;
  spec.default_queue_policy = policy;
  return spec;
}

DynamicBatchingSpec Levels(std::uint32_t count, std::uint32_t default_level) {
  DynamicBatchingSpec spec;
  spec.priority_levels = count;
  spec.default_priority_level = default_level;
  return spec;
}

RequestPtr WithPriority(const std::string& id, std::uint64_t priority) {
  RequestPtr request = Waiting(id, 0);
  request->priority = priority;
  return request;
}

TEST(PolicyQueue, ServesInOrderOfArrival) {
  PolicyQueue queue{DynamicBatchingSpec{}};
  for (const char* id : {"a", "b", "c"}) queue.Push(Waiting(id, 0));
  EXPECT_EQ(Order(queue), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(queue.next_deadline_ns(), 0);
}

TEST(PolicyQueue, DefaultLevelBeyondTheLevelsIsTheLastOne) {
  for (const std::uint32_t levels : {0U, 1U, 3U}) {
    PolicyQueue queue(Levels(levels, 7));
    EXPECT_EQ(queue.LevelOf(*Waiting("a", 0)), queue.level_count() - 1);
    queue.Push(Waiting("a", 0));
    EXPECT_EQ(Order(queue), std::vector<std::string>{"a"});
  }
}

TEST(PolicyQueue, RemovesFromTheMiddleAndOnlyOnce) {
  PolicyQueue queue{DynamicBatchingSpec{}};
  const RequestPtr b = Waiting("b", 0);
  queue.Push(Waiting("a", 0));
  queue.Push(b);
  queue.Push(Waiting("c", 0));
  EXPECT_EQ(queue.Remove(b.get()), b);
  EXPECT_EQ(queue.Remove(b.get()), nullptr);
  EXPECT_EQ(Order(queue), (std::vector<std::string>{"a", "c"}));
}

TEST(PolicyQueue, RejectsWhatTimedOut) {
  QueuePolicySpec policy;
  policy.default_timeout_us = 10;
  PolicyQueue queue(OneLevel(policy));
  queue.Push(Waiting("a", 0));
  queue.Push(Waiting("b", 5'000));
  std::vector<RequestPtr> rejected;
  EXPECT_EQ(queue.next_deadline_ns(), 10'000);
  queue.Expire(9'999, &rejected);
  EXPECT_TRUE(rejected.empty());
  queue.Expire(10'000, &rejected);
  ASSERT_EQ(rejected.size(), 1U);
  EXPECT_EQ(rejected[0]->id, "a");
  EXPECT_EQ(Order(queue), std::vector<std::string>{"b"});
}

TEST(PolicyQueue, DelaysWhatTimedOutBehindAllOthers) {
  QueuePolicySpec policy;
  policy.default_timeout_us = 10;
  policy.timeout_action = TimeoutAction::kDelay;
  PolicyQueue queue(OneLevel(policy));
  queue.Push(Waiting("a", 0));
  queue.Push(Waiting("b", 5'000));
  std::vector<RequestPtr> rejected;
  queue.Expire(10'000, &rejected);
  EXPECT_TRUE(rejected.empty());
  EXPECT_EQ(Order(queue), (std::vector<std::string>{"b", "a"}));
  queue.Push(Waiting("c", 10'000));
  EXPECT_EQ(Order(queue), (std::vector<std::string>{"b", "c", "a"}));
}

TEST(PolicyQueue, OverrideMayOnlyShortenTheTimeout) {
  QueuePolicySpec policy;
  policy.default_timeout_us = 10;
  policy.allow_timeout_override = true;
  PolicyQueue queue(OneLevel(policy));
  queue.Push(Waiting("longer", 0, 50));
  EXPECT_EQ(queue.next_deadline_ns(), 10'000);
  queue.Push(Waiting("shorter", 0, 3));
  EXPECT_EQ(queue.next_deadline_ns(), 3'000);
}

TEST(PolicyQueue, IgnoresTheClientsTimeoutUnlessAllowed) {
  PolicyQueue queue{DynamicBatchingSpec{}};
  queue.Push(Waiting("a", 0, 1));
  EXPECT_EQ(queue.next_deadline_ns(), 0);
}

TEST(PolicyQueue, HugeTimeoutDoesNotOverflow) {
  QueuePolicySpec policy;
  policy.default_timeout_us = UINT64_MAX;
  PolicyQueue queue(OneLevel(policy));
  queue.Push(Waiting("a", 1'000'000'000));
  EXPECT_GT(queue.next_deadline_ns(), 1'000'000'000);
}

TEST(PolicyQueue, ServesLevelByLevel) {
  PolicyQueue queue(Levels(3, 2));
  queue.Push(WithPriority("low", 3));
  queue.Push(WithPriority("default", 0));
  queue.Push(WithPriority("high", 1));
  queue.Push(WithPriority("out of range", 4));
  queue.Push(WithPriority("huge", UINT64_MAX));
  queue.Push(WithPriority("high too", 1));
  EXPECT_EQ(Order(queue), (std::vector<std::string>{"high", "high too", "default", "out of range",
                                                    "huge", "low"}));
}

TEST(PolicyQueue, FindsAMoreUrgentRequestAfterItsLevelWasEmpty) {
  PolicyQueue queue(Levels(5, 5));
  queue.Push(WithPriority("a", 1));
  queue.Push(WithPriority("z", 5));
  queue.Remove(queue.front());
  EXPECT_EQ(queue.front()->id, "z");
  queue.Push(WithPriority("b", 2));
  EXPECT_EQ(queue.front()->id, "b");
  queue.Remove(queue.front());
  queue.Remove(queue.front());
  EXPECT_TRUE(queue.empty());
}

TEST(PolicyQueue, ADelayedRequestStaysAheadOfLowerLevels) {
  DynamicBatchingSpec spec = Levels(2, 1);
  spec.priority_queue_policy[1].timeout_action = TimeoutAction::kDelay;
  spec.priority_queue_policy[1].default_timeout_us = 10;
  PolicyQueue queue(spec);
  queue.Push(WithPriority("late", 1));
  queue.Push(WithPriority("low", 2));
  std::vector<RequestPtr> rejected;
  queue.Expire(10'000, &rejected);
  queue.Push(WithPriority("new", 1));
  EXPECT_TRUE(rejected.empty());
  EXPECT_EQ(Order(queue), (std::vector<std::string>{"new", "late", "low"}));
}

// The queue written as simply as it can be: two lists and no index.
class ReferenceQueue {
 public:
  explicit ReferenceQueue(const QueuePolicySpec& policy) : policy_(policy) {}
  void Push(const RequestPtr& request) { in_time_.push_back(request); }
  bool Remove(const RequestPtr& request) {
    return Erase(&in_time_, request) || Erase(&delayed_, request);
  }
  std::vector<std::string> Expire(std::int64_t now) {
    std::vector<RequestPtr> expired;
    for (const RequestPtr& request : in_time_) {
      if (DeadlineOf(*request) <= now) expired.push_back(request);
    }
    std::stable_sort(expired.begin(), expired.end(),
                     [&](const auto& a, const auto& b) { return DeadlineOf(*a) < DeadlineOf(*b); });
    std::vector<std::string> rejected;
    for (const RequestPtr& request : expired) {
      Erase(&in_time_, request);
      if (policy_.timeout_action == TimeoutAction::kReject) {
        rejected.push_back(request->id);
      } else {
        delayed_.push_back(request);
      }
    }
    std::sort(rejected.begin(), rejected.end());
    return rejected;
  }
  std::vector<std::string> InTime() const { return Ids(in_time_); }
  std::vector<std::string> Delayed() const { return Ids(delayed_); }

 private:
  static std::vector<std::string> Ids(const std::list<RequestPtr>& lane) {
    std::vector<std::string> ids;
    for (const RequestPtr& request : lane) ids.push_back(request->id);
    return ids;
  }
  static bool Erase(std::list<RequestPtr>* lane, const RequestPtr& request) {
    const auto found = std::find(lane->begin(), lane->end(), request);
    if (found == lane->end()) return false;
    lane->erase(found);
    return true;
  }
  std::int64_t DeadlineOf(const InferRequest& request) const {
    return request.timestamps.queue_start +
           static_cast<std::int64_t>(std::min(request.timeout_us, policy_.default_timeout_us)) *
               1000;
  }
  const QueuePolicySpec policy_;
  std::list<RequestPtr> in_time_;
  std::list<RequestPtr> delayed_;
};

// Three levels: the first two with a policy of their own, the last one with the default.
DynamicBatchingSpec PropertySpec(TimeoutAction action) {
  DynamicBatchingSpec spec = Levels(3, 2);
  QueuePolicySpec policy;
  policy.timeout_action = action;
  policy.default_timeout_us = 50;
  policy.allow_timeout_override = true;
  spec.priority_queue_policy[1] = policy;
  policy.timeout_action = TimeoutAction::kDelay;
  policy.default_timeout_us = 70;
  spec.priority_queue_policy[2] = policy;
  policy.timeout_action = TimeoutAction::kReject;
  spec.default_queue_policy = policy;
  return spec;
}

class PolicyQueueProperty : public ::testing::TestWithParam<TimeoutAction> {
 protected:
  void Push() {
    RequestPtr request = Waiting(std::to_string(all_.size()), now_, 1 + random_() % 80);
    request->priority = 1 + random_() % 3;
    all_.push_back(request);
    reference_[request->priority - 1].Push(request);
    queue_.Push(request);
  }
  void RemoveAny() {
    if (all_.empty()) return;
    const RequestPtr& victim = all_[random_() % all_.size()];
    EXPECT_EQ(reference_[victim->priority - 1].Remove(victim),
              queue_.Remove(victim.get()) != nullptr);
  }
  void Serve() {
    if (queue_.empty()) return;
    const RequestPtr served = queue_.Remove(queue_.front());
    EXPECT_TRUE(reference_[served->priority - 1].Remove(served));
  }
  void Expire() {
    std::vector<RequestPtr> rejected;
    queue_.Expire(now_, &rejected);
    std::multiset<std::string> actual;
    std::multiset<std::string> expected;
    for (const RequestPtr& request : rejected) actual.insert(request->id);
    for (ReferenceQueue& level : reference_) expected.merge(ToSet(level.Expire(now_)));
    EXPECT_EQ(actual, expected);
  }
  // Delayed requests of a level are in the order of their timeouts, which may be equal: compared as
  // a set.
  void Compare() const {
    const std::vector<std::string> order = Order(queue_);
    auto next = order.begin();
    for (const ReferenceQueue& level : reference_) {
      const auto in_time = level.InTime();
      const auto delayed = level.Delayed();
      ASSERT_LE(in_time.size() + delayed.size(), static_cast<std::size_t>(order.end() - next));
      EXPECT_TRUE(std::equal(in_time.begin(), in_time.end(), next));
      next += static_cast<std::ptrdiff_t>(in_time.size());
      const auto delayed_end = next + static_cast<std::ptrdiff_t>(delayed.size());
      EXPECT_EQ(ToSet({next, delayed_end}), ToSet(delayed));
      next = delayed_end;
    }
    EXPECT_EQ(next, order.end());
  }
  static std::multiset<std::string> ToSet(const std::vector<std::string>& ids) {
    return {ids.begin(), ids.end()};
  }

  const DynamicBatchingSpec spec_ = PropertySpec(GetParam());
  PolicyQueue queue_{spec_};
  ReferenceQueue reference_[3] = {ReferenceQueue(spec_.priority_queue_policy.at(1)),
                                  ReferenceQueue(spec_.priority_queue_policy.at(2)),
                                  ReferenceQueue(spec_.default_queue_policy)};
  std::vector<RequestPtr> all_;
  std::int64_t now_ = 0;
  std::mt19937 random_{7};
};

TEST_P(PolicyQueueProperty, BehavesAsTheReference) {
  for (int step = 0; step < 5'000 && !HasFatalFailure(); ++step) {
    now_ += 1 + static_cast<std::int64_t>(random_() % 5000);
    switch (random_() % 5) {
      case 0:
      case 1:
        Push();
        break;
      case 2:
        RemoveAny();
        break;
      case 3:
        Serve();
        break;
      default:
        Expire();
    }
    Compare();
  }
}

INSTANTIATE_TEST_SUITE_P(Actions, PolicyQueueProperty,
                         ::testing::Values(TimeoutAction::kReject, TimeoutAction::kDelay));

}  // namespace
}  // namespace fastserve
