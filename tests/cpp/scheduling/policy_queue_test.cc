#include "scheduling/policy_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <random>

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

TEST(PolicyQueue, ServesInOrderOfArrival) {
  PolicyQueue queue{QueuePolicySpec{}};
  for (const char* id : {"a", "b", "c"}) queue.Push(Waiting(id, 0));
  EXPECT_EQ(Order(queue), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(queue.next_deadline_ns(), 0);
}

TEST(PolicyQueue, RemovesFromTheMiddleAndOnlyOnce) {
  PolicyQueue queue{QueuePolicySpec{}};
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
  PolicyQueue queue(policy);
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
  PolicyQueue queue(policy);
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
  PolicyQueue queue(policy);
  queue.Push(Waiting("longer", 0, 50));
  EXPECT_EQ(queue.next_deadline_ns(), 10'000);
  queue.Push(Waiting("shorter", 0, 3));
  EXPECT_EQ(queue.next_deadline_ns(), 3'000);
}

TEST(PolicyQueue, IgnoresTheClientsTimeoutUnlessAllowed) {
  PolicyQueue queue{QueuePolicySpec{}};
  queue.Push(Waiting("a", 0, 1));
  EXPECT_EQ(queue.next_deadline_ns(), 0);
}

TEST(PolicyQueue, HugeTimeoutDoesNotOverflow) {
  QueuePolicySpec policy;
  policy.default_timeout_us = UINT64_MAX;
  PolicyQueue queue(policy);
  queue.Push(Waiting("a", 1'000'000'000));
  EXPECT_GT(queue.next_deadline_ns(), 1'000'000'000);
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

class PolicyQueueProperty : public ::testing::TestWithParam<TimeoutAction> {};

TEST_P(PolicyQueueProperty, BehavesAsTheReference) {
  QueuePolicySpec policy;
  policy.timeout_action = GetParam();
  policy.default_timeout_us = 50;
  policy.allow_timeout_override = true;
  std::mt19937 random(7);
  for (int round = 0; round < 50; ++round) {
    PolicyQueue queue(policy);
    ReferenceQueue reference(policy);
    std::vector<RequestPtr> all;
    std::int64_t now = 0;
    for (int step = 0; step < 200; ++step) {
      now += 1 + static_cast<std::int64_t>(random() % 5000);
      switch (random() % 4) {
        case 0:
        case 1: {
          all.push_back(Waiting(std::to_string(all.size()), now, 1 + random() % 80));
          reference.Push(all.back());
          queue.Push(all.back());
          break;
        }
        case 2: {
          if (all.empty()) break;
          const RequestPtr& victim = all[random() % all.size()];
          EXPECT_EQ(reference.Remove(victim), queue.Remove(victim.get()) != nullptr);
          break;
        }
        default: {
          std::vector<RequestPtr> rejected;
          queue.Expire(now, &rejected);
          std::vector<std::string> ids;
          for (const RequestPtr& request : rejected) ids.push_back(request->id);
          std::sort(ids.begin(), ids.end());
          EXPECT_EQ(reference.Expire(now), ids);
        }
      }
      std::vector<std::string> expected = reference.InTime();
      const std::vector<std::string> actual = Order(queue);
      ASSERT_EQ(actual.size(), expected.size() + reference.Delayed().size());
      EXPECT_TRUE(std::equal(expected.begin(), expected.end(), actual.begin()));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Actions, PolicyQueueProperty,
                         ::testing::Values(TimeoutAction::kReject, TimeoutAction::kDelay));

}  // namespace
}  // namespace fastserve
