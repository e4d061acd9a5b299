// A scheduler behind a response cache, as a scheduler, so that the contract suite can be run over
// it.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <utility>

#include "base/clock.h"
#include "cache/cache_options.h"
#include "cache/request_key.h"
#include "cache/response_cache.h"
#include "cache/single_flight.h"
#include "scheduling/scheduler.h"

namespace fastserve {

// Requests with different inputs are all computed.
class CachedScheduler final : public Scheduler, private CachedModel {
 public:
  // `computed` serves `spec`.
  CachedScheduler(std::shared_ptr<const ModelSpec> spec, std::shared_ptr<Scheduler> computed)
      : computed_(std::move(computed)) {
    CacheOptions cache;
    cache.kind = CacheKind::kLocal;
    cache.local_bytes = 1 << 20;
    SingleFlight::Options options;
    options.cache = CreateResponseCache(cache, SystemClock());
    options.scope.model_name = spec->name;
    options.spec = std::move(spec);
    options.clock = &SystemClock();
    options.model = this;
    single_flight_ = std::make_shared<SingleFlight>(std::move(options));
  }

  void Enqueue(const RequestPtr& request, bool lend) override {
    request->sequence_id = {};  // requests of sequences are not cached
    request->sequence_start = request->sequence_end = false;
    if (IsCacheable(*request)) {
      (void)single_flight_->Submit(request, lend);
    } else {
      ADD_FAILURE() << "request '" << request->id << "' goes past the cache";
    }
  }
  bool lendable() const override { return computed_->lendable(); }
  bool RunLent() override { return computed_->RunLent(); }
  void WakeWorker() override { computed_->WakeWorker(); }
  void Stop() override {
    single_flight_->Stop();
    computed_->Stop();
  }
  std::uint64_t pending_requests() const override {
    return single_flight_->waiting_requests() + computed_->pending_requests();
  }

 private:
  bool Compute(const RequestPtr& request, bool may_lend) override {
    computed_->Enqueue(request, may_lend);
    return may_lend;
  }
  void OnCacheHit(const CacheHit& /*hit*/) override { ADD_FAILURE() << "no two are the same"; }
  void OnCacheMiss(std::int64_t /*lookup_and_insert_ns*/) override {}

  const std::shared_ptr<Scheduler> computed_;
  std::shared_ptr<SingleFlight> single_flight_;
};

}  // namespace fastserve
