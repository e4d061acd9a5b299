// Every scheduler around a puppet, for the contract suite.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "scheduling/dynamic_batcher.h"
#include "scheduling/sequence_batcher.h"
#include "support/asynchronous_puppet.h"
#include "support/cached_scheduler.h"
#include "support/ensemble_of_one.h"
#include "support/puppet_backend.h"
#include "support/requests.h"

namespace fastserve {

// What a scheduler is made of. The spec is MakeSpec's; a kind adds its own settings to it.
struct SchedulerParts {
  std::shared_ptr<ModelSpec> spec;
  DeadlineTimer* timer = nullptr;
  std::shared_ptr<PuppetStrings> strings;
  int instances = 1;
  std::vector<std::unique_ptr<ResourceClaim>> claims;  // one per instance, or none
};

struct SchedulerKind {
  const char* name;
  // With so many instances the requests of one sequence are still answered in order.
  int instances_in_order;
  std::uint32_t priority_levels;
  // That an instance takes: one that runs, and maybe one more.
  std::size_t batches_in_hand;
  std::shared_ptr<Scheduler> (*make)(SchedulerParts parts);
};

// Asks for every request once more after its first run (iterative_sequence).
class AskingTwiceInstance final : public BackendInstance {
 public:
  explicit AskingTwiceInstance(std::shared_ptr<PuppetStrings> strings)
      : strings_(std::move(strings)) {}

  void Execute(Execution* execution, ExecutionObserver* observer) override {
    const Status status = strings_->OnExecute(*execution);
    if (status.ok()) execution->outputs = execution->inputs;
    for (const RequestPtr& request : execution->requests) {
      const bool first = status.ok() && !request->id.empty() && once_.insert(request->id).second;
      execution->rescheduled.push_back(first);
    }
    observer->OnExecuted(execution, status);
  }

 private:
  const std::shared_ptr<PuppetStrings> strings_;
  std::set<std::string> once_;  // ids are not used again
};

template <typename Batcher, typename Instance = PuppetInstance>
typename Batcher::Options OptionsOf(SchedulerParts parts) {
  typename Batcher::Options options;
  options.spec = std::move(parts.spec);
  options.clock = &SystemClock();
  options.timer = parts.timer;
  options.statistics = std::make_shared<ModelStatistics>();
  options.claims = std::move(parts.claims);
  for (int i = 0; i < parts.instances; ++i)
    options.instances.push_back(std::make_unique<Instance>(parts.strings));
  return options;
}

inline std::shared_ptr<Scheduler> MakeDynamic(SchedulerParts parts) {
  return DynamicBatcher::Create(OptionsOf<DynamicBatcher>(std::move(parts))).value();
}
inline std::shared_ptr<Scheduler> MakeWithPriorities(SchedulerParts parts) {
  parts.spec->dynamic_batching.priority_levels = 3;
  parts.spec->dynamic_batching.default_priority_level = 2;
  return MakeDynamic(std::move(parts));
}
inline std::shared_ptr<Scheduler> MakePreservingOrder(SchedulerParts parts) {
  parts.spec->dynamic_batching.preserve_ordering = true;
  return MakeDynamic(std::move(parts));
}
template <SequenceStrategy strategy, typename Instance = PuppetInstance>
std::shared_ptr<Scheduler> MakeSequences(SchedulerParts parts) {
  parts.spec->dynamic_batching.enabled = false;
  parts.spec->sequence_batching.enabled = true;
  parts.spec->sequence_batching.strategy = strategy;
  parts.spec->sequence_batching.max_candidate_sequences = 4;
  parts.spec->sequence_batching.iterative = std::is_same_v<Instance, AskingTwiceInstance>;
  auto options = OptionsOf<SequenceBatcher, Instance>(std::move(parts));
  return SequenceBatcher::Create(std::move(options)).value();
}
// `dynamic_batching { }` with nothing in it.
inline std::shared_ptr<Scheduler> MakeSelfTuned(SchedulerParts parts) {
  parts.spec->dynamic_batching.self_tuning = true;
  return MakeDynamic(std::move(parts));
}
inline std::shared_ptr<Scheduler> MakeAsynchronous(SchedulerParts parts) {
  auto options = OptionsOf<DynamicBatcher, AsynchronousPuppet>(std::move(parts));
  return DynamicBatcher::Create(std::move(options)).value();
}
inline std::shared_ptr<Scheduler> MakeCached(SchedulerParts parts) {
  const auto spec = parts.spec;
  return std::make_shared<CachedScheduler>(spec, MakeDynamic(std::move(parts)));
}
// Its one member is a dynamic batcher.
inline std::shared_ptr<Scheduler> MakeEnsemble(SchedulerParts parts) {
  const auto spec = parts.spec;
  DeadlineTimer* const timer = parts.timer;
  return std::make_shared<EnsembleOfOne>(spec, MakeDynamic(std::move(parts)), timer);
}

inline const SchedulerKind kSchedulerKinds[] = {
    {"Dynamic", 1, 1, 1, &MakeDynamic},
    {"Priorities", 1, 3, 1, &MakeWithPriorities},
    {"PreserveOrdering", 3, 1, 1, &MakePreservingOrder},
    {"SelfTuned", 1, 1, 1, &MakeSelfTuned},
    {"Asynchronous", 1, 1, 2, &MakeAsynchronous},
    {"Cached", 1, 1, 1, &MakeCached},
    {"Direct", 3, 1, 1, &MakeSequences<SequenceStrategy::kDirect>},
    {"Oldest", 3, 1, 1, &MakeSequences<SequenceStrategy::kOldest>},
    {"Iterative", 3, 1, 1, &MakeSequences<SequenceStrategy::kOldest, AskingTwiceInstance>},
    {"Ensemble", 1, 1, 1, &MakeEnsemble},
};

}  // namespace fastserve
