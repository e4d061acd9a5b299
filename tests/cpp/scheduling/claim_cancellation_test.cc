// A request that is cancelled while it waits for the rate limiter takes its place in line along.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "scheduling/dynamic_batcher.h"
#include "scheduling/sequence_batcher.h"
#include "support/puppet_backend.h"
#include "support/requests.h"

namespace fastserve {
namespace {

class ClaimCancellationTest : public ::testing::Test {
 protected:
  ~ClaimCancellationTest() override {
    if (scheduler_) scheduler_->Stop();
  }

  std::unique_ptr<ResourceClaim> Register(std::uint32_t count) {
    InstanceGroupSpec group;
    group.resources.push_back({"R", false, count});
    return std::move(limiter_.Register(group).value());
  }
  // A batcher whose only instance needs both of the resources.
  template <typename Batcher>
  typename Batcher::Options OptionsForBoth() {
    typename Batcher::Options options;
    options.spec = spec_;
    options.clock = &SystemClock();
    options.timer = &timer_;
    options.statistics = std::make_shared<ModelStatistics>();
    options.instances.push_back(std::make_unique<PuppetInstance>(strings_));
    options.claims.push_back(Register(2));
    return options;
  }
  // With one of two in use, a claim of one is refused as soon as the batcher's is first in line.
  void AwaitInLine(ResourceClaim* one) {
    while (one->TryTake()) {
      one->GiveBack();
      std::this_thread::yield();
    }
    one->Withdraw();
  }
  void ExpectCancelLeavesTheLine() {
    const auto holder = Register(1);
    const auto one = Register(1);
    ASSERT_TRUE(holder->TryTake());
    const RequestPtr request = MakeRequest("waits", sink_);
    request->spec = spec_;
    request->sequence_id = std::uint64_t{1};
    request->sequence_start = request->sequence_end = true;
    scheduler_->Enqueue(request, /*lend=*/false);
    AwaitInLine(one.get());
    request->Cancel();
    EXPECT_EQ(sink_->Await(1)[0].response.status.code(), StatusCode::kCancelled);
    EXPECT_TRUE(one->TryTake());
    EXPECT_TRUE(strings_->seen().empty());
  }

  RateLimiter limiter_{{{"r", 2}}};
  DeadlineTimer timer_{SystemClock()};
  std::shared_ptr<ModelSpec> spec_ = MakeSpec("puppet", 1);
  std::shared_ptr<PuppetStrings> strings_ = std::make_shared<PuppetStrings>();
  std::shared_ptr<RecordingSink> sink_ = std::make_shared<RecordingSink>();
  std::shared_ptr<Scheduler> scheduler_;
};

TEST_F(ClaimCancellationTest, OfADynamicBatcher) {
  scheduler_ = DynamicBatcher::Create(OptionsForBoth<DynamicBatcher>()).value();
  ExpectCancelLeavesTheLine();
}

TEST_F(ClaimCancellationTest, OfASequenceBatcher) {
  spec_->dynamic_batching.enabled = false;
  spec_->sequence_batching.enabled = true;
  auto batcher = SequenceBatcher::Create(OptionsForBoth<SequenceBatcher>());
  ASSERT_TRUE(batcher.ok());
  scheduler_ = *batcher;
  ExpectCancelLeavesTheLine();
}

}  // namespace
}  // namespace fastserve
