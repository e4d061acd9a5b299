// An ensemble around another scheduler, as a scheduler, so that the contract suite can be run over
// it: its one step goes to that scheduler's model.
#pragma once

#include <memory>
#include <string_view>
#include <utility>

#include "scheduling/ensemble_scheduler.h"
#include "support/requests.h"

namespace fastserve {

// Takes MakeRequest's requests, one at a time, so that the others wait in the ensemble.
class EnsembleOfOne final : public Scheduler {
 public:
  // `member` serves `member_spec`, MakeSpec's X -> X. `timer` outlives this.
  EnsembleOfOne(const std::shared_ptr<const ModelSpec>& member_spec,
                std::shared_ptr<Scheduler> member, DeadlineTimer* timer)
      : router_(member_spec, std::move(member)) {
    auto spec = std::make_shared<ModelSpec>(*MakeSpec("", member_spec->max_batch_size));
    spec->name = "e";
    spec->outputs[0].name = "Y";
    spec->dynamic_batching.enabled = false;
    spec->ensemble.enabled = true;
    spec->ensemble.max_inflight_requests = 1;
    spec->ensemble.steps.push_back({member_spec->name, -1, {{"X", "X"}}, {{"X", "Y"}}});
    ensemble_ = EnsembleScheduler::Create(
                    {spec, &SystemClock(), timer, std::make_shared<ModelStatistics>(), &router_})
                    .value();
  }

  void Enqueue(const RequestPtr& request, bool lend) override { ensemble_->Enqueue(request, lend); }
  bool lendable() const override { return ensemble_->lendable(); }
  bool RunLent() override { return ensemble_->RunLent(); }
  void WakeWorker() override { ensemble_->WakeWorker(); }
  void Stop() override {
    ensemble_->Stop();
    router_.target->scheduler->Stop();
  }
  std::uint64_t pending_requests() const override { return ensemble_->pending_requests(); }

 private:
  struct Target final : RequestTarget {
    Target(std::shared_ptr<const ModelSpec> target_spec,
           std::shared_ptr<Scheduler> target_scheduler)
        : member_spec(std::move(target_spec)), scheduler(std::move(target_scheduler)) {}
    const std::shared_ptr<const ModelSpec>& spec() const override { return member_spec; }
    void Submit(const RequestPtr& request, Lender* /*lender*/) override {
      request->spec = member_spec;
      scheduler->Enqueue(request, /*lend=*/false);
    }
    const std::shared_ptr<const ModelSpec> member_spec;
    const std::shared_ptr<Scheduler> scheduler;
  };
  struct Router final : RequestRouter {
    Router(std::shared_ptr<const ModelSpec> spec, std::shared_ptr<Scheduler> member)
        : target(std::make_shared<Target>(std::move(spec), std::move(member))) {}
    Result<std::shared_ptr<RequestTarget>> Find(std::string_view, std::int64_t) const override {
      return std::shared_ptr<RequestTarget>(target);
    }
    const std::shared_ptr<Target> target;
  };

  Router router_;
  std::shared_ptr<EnsembleScheduler> ensemble_;
};

}  // namespace fastserve
