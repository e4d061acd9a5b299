// On which cores batches run, for the schedulers that have threads.
#include <gtest/gtest.h>

#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "scheduling/dynamic_batcher.h"
#include "scheduling/sequence_batcher.h"
#include "support/affinity.h"
#include "support/requests.h"

namespace fastserve {
namespace {

// Remembers where it ran.
class WatchingInstance final : public BackendInstance {
 public:
  void Execute(Execution* execution, ExecutionObserver* observer) override {
    {
      const std::lock_guard lock(mutex_);
      seen_.push_back(CoresOfThisThread());
    }
    execution->outputs = execution->inputs;
    observer->OnExecuted(execution, Status::Ok());
  }
  std::vector<std::vector<int>> seen() {
    const std::lock_guard lock(mutex_);
    return seen_;
  }

 private:
  std::mutex mutex_;
  std::vector<std::vector<int>> seen_;
};

class HostPolicyTest : public ::testing::Test {
 protected:
  HostPolicyTest() {
    const std::vector<int> usable = CoresOfThisThread();
    first_.cpu_cores = {usable.front()};
    last_.cpu_cores = {usable.back()};
  }
  ~HostPolicyTest() override {
    if (scheduler_) scheduler_->Stop();
  }

  template <typename Batcher>
  typename Batcher::Options OptionsFor(const std::vector<const HostPolicy*>& policies) {
    typename Batcher::Options options;
    options.spec = spec_;
    options.clock = &SystemClock();
    options.timer = &timer_;
    options.statistics = std::make_shared<ModelStatistics>();
    for (const HostPolicy* policy : policies) {
      auto instance = std::make_unique<WatchingInstance>();
      instances_.push_back(instance.get());
      options.instances.push_back(std::move(instance));
      options.host_policies.push_back(policy);
    }
    return options;
  }
  void Run(int count) {
    for (int i = 0; i < count; ++i) {
      RequestPtr request = MakeRequest(std::to_string(i), sink_);
      request->spec = spec_;
      request->sequence_id = static_cast<std::uint64_t>(i) + 1;
      request->sequence_start = request->sequence_end = true;
      scheduler_->Enqueue(request, /*lend=*/false);
    }
    sink_->Await(static_cast<std::size_t>(count));
  }
  // Every batch of the instance ran on these cores.
  void ExpectOn(std::size_t instance, const std::vector<int>& cores) {
    for (const auto& seen : instances_[instance]->seen()) EXPECT_EQ(seen, cores);
  }

  HostPolicy first_;
  HostPolicy last_;
  const std::vector<int> anywhere_ = CoresOfThisThread();
  DeadlineTimer timer_{SystemClock()};
  std::shared_ptr<ModelSpec> spec_ = MakeSpec("watching", 1);
  std::shared_ptr<RecordingSink> sink_ = std::make_shared<RecordingSink>();
  std::vector<WatchingInstance*> instances_;
  std::shared_ptr<Scheduler> scheduler_;
};

TEST_F(HostPolicyTest, EachInstanceOfADynamicBatcherRunsOnItsOwnCores) {
  scheduler_ =
      DynamicBatcher::Create(OptionsFor<DynamicBatcher>({&first_, &last_, nullptr})).value();
  Run(500);
  ExpectOn(0, first_.cpu_cores);
  ExpectOn(1, last_.cpu_cores);
  ExpectOn(2, anywhere_);
}

TEST_F(HostPolicyTest, EachInstanceOfASequenceBatcherRunsOnItsOwnCores) {
  spec_->dynamic_batching.enabled = false;
  spec_->sequence_batching.enabled = true;
  auto batcher = SequenceBatcher::Create(OptionsFor<SequenceBatcher>({&first_, &last_, nullptr}));
  ASSERT_TRUE(batcher.ok());
  scheduler_ = *batcher;
  Run(500);
  ExpectOn(0, first_.cpu_cores);
  ExpectOn(1, last_.cpu_cores);
  ExpectOn(2, anywhere_);
}

TEST_F(HostPolicyTest, ModelWithAPolicyDoesNotRunOnALentThread) {
  scheduler_ = DynamicBatcher::Create(OptionsFor<DynamicBatcher>({&last_})).value();
  Run(10);
  EXPECT_FALSE(scheduler_->lendable());
  scheduler_->Stop();
  instances_.clear();
  sink_ = std::make_shared<RecordingSink>();
  scheduler_ = DynamicBatcher::Create(OptionsFor<DynamicBatcher>({nullptr})).value();
  // Cheap as it is, the same model is lent once its cost has been measured to be below the limit.
  for (int i = 0; i < 1000 && !scheduler_->lendable(); ++i) {
    sink_ = std::make_shared<RecordingSink>();
    Run(1);
  }
  EXPECT_TRUE(scheduler_->lendable());
}

}  // namespace
}  // namespace fastserve
