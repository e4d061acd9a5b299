#include "concurrency/delivery_scope.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

namespace fastserve {
namespace {

class Recorder final : public Delivery {
 public:
  void Deliver(bool may_linger) override { calls.push_back(may_linger); }
  std::vector<bool> calls;  // may_linger of each
};

TEST(DeliveryScope, DefersNothingWithoutAScope) {
  const auto receiver = std::make_shared<Recorder>();
  EXPECT_FALSE(DeliveryScope::Defer(receiver));
  EXPECT_TRUE(receiver->calls.empty());
}

TEST(DeliveryScope, DeliversOnceToEachReceiverAtItsEnd) {
  const auto first = std::make_shared<Recorder>();
  const auto second = std::make_shared<Recorder>();
  {
    DeliveryScope scope;
    EXPECT_TRUE(DeliveryScope::Defer(first));
    EXPECT_TRUE(DeliveryScope::Defer(second));
    EXPECT_TRUE(DeliveryScope::Defer(first));
    EXPECT_TRUE(first->calls.empty());
    scope.set_may_linger(true);
  }
  EXPECT_EQ(first->calls, std::vector<bool>{true});
  EXPECT_EQ(second->calls, std::vector<bool>{true});
  EXPECT_FALSE(DeliveryScope::Defer(first)) << "the scope has ended";
}

TEST(DeliveryScope, InnerScopesLeaveItToTheOutermost) {
  const auto receiver = std::make_shared<Recorder>();
  {
    const DeliveryScope outer;
    {
      DeliveryScope inner;
      inner.set_may_linger(true);
      EXPECT_TRUE(DeliveryScope::Defer(receiver));
    }
    EXPECT_TRUE(receiver->calls.empty());
  }
  EXPECT_EQ(receiver->calls, std::vector<bool>{false}) << "the outer work may still be urgent";
}

// Completes more work while it delivers, as a stand-in does.
class Chained final : public Delivery {
 public:
  explicit Chained(std::shared_ptr<Recorder> next) : next_(std::move(next)) {}
  void Deliver(bool) override { deferred = DeliveryScope::Defer(next_); }
  bool deferred = true;

 private:
  std::shared_ptr<Recorder> next_;
};

TEST(DeliveryScope, WhatDeliveringCausesIsDeliveredAtOnce) {
  const auto chained = std::make_shared<Chained>(std::make_shared<Recorder>());
  {
    const DeliveryScope scope;
    EXPECT_TRUE(DeliveryScope::Defer(chained));
  }
  EXPECT_FALSE(chained->deferred);
}

}  // namespace
}  // namespace fastserve
