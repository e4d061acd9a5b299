// The way of a request past the response cache of one loaded model: found, or computed once for all
// identical requests that are under way, then inserted.
//
//   Submit -> Find ---------------------------------> answered: a hit
//               | nothing
//               v
//           a flight of this key?  yes -> waits in it -> answered with its response: a hit
//               | no: a new flight
//               v
//           StartLookup (remote caches) -> found ---> answers all that wait: hits
//               | nothing
//               v
//           the first that waits leads: CachedModel::Compute -> Insert -> answers all: one miss,
//           hits
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <unordered_map>

#include "base/clock.h"
#include "base/mutex.h"
#include "cache/response_cache.h"
#include "inference/model_spec.h"
#include "inference/request.h"

namespace fastserve {

// One answer out of the cache, for the statistics.
struct CacheHit {
  std::int64_t request_ns = 0;  // since the request's arrival
  std::int64_t queue_ns = 0;    // waiting for an identical request
  std::int64_t lookup_ns = 0;   // looking up and building the response
};

// The model whose responses are cached. Thread safe. Not called without a request of the model in
// hand, which keeps it alive.
class CachedModel {
 public:
  virtual ~CachedModel() = default;
  // Gives a request to the scheduler. True when it was left for a lender.
  virtual bool Compute(const RequestPtr& request, bool may_lend) = 0;
  virtual void OnCacheHit(const CacheHit& hit) = 0;
  // A request that was computed; the time to look up and to insert.
  virtual void OnCacheMiss(std::int64_t lookup_and_insert_ns) = 0;
};

// Thread safe; nothing blocks. Invariants:
// 1. Every request submitted is completed once: answered here, cancelled here while it waits, or
//    given to Compute.
// 2. Requests with one key and one priority that are under way together are computed once, unless
//    the leader fails. A request with a queue timeout of its own never waits for another one.
// 3. When the leader is cancelled, the oldest that waits leads; it is computed to its end all the
//    same while others wait for it. When it fails, each of those that
//    wait is computed by itself: its failure may have been the leader's own.
// 4. Only OK responses are inserted.
class SingleFlight : public std::enable_shared_from_this<SingleFlight> {
 public:
  struct Options {
    std::shared_ptr<ResponseCache> cache;
    CacheScope scope;
    std::shared_ptr<const ModelSpec> spec;
    const Clock* clock = nullptr;
    CachedModel* model = nullptr;
  };

  explicit SingleFlight(Options options) : options_(std::move(options)) {}

  // Takes a validated request for which IsCacheable. True when it was left for a lender.
  bool Submit(const RequestPtr& request, bool may_lend);
  // From now on what waits for a leader that fails is failed as well: the scheduler is about to
  // stop.
  void Stop();

  // Requests that wait for another one, or for a lookup.
  std::uint64_t waiting_requests() const;

 private:
  class Flight;
  struct Waiter {
    RequestPtr request;
    std::int64_t since_ns = 0;
  };
  struct Joined {
    std::shared_ptr<Flight> own;  // to be looked up and computed by the caller
    CachedResponse found;         // inserted meanwhile
    bool cancelled = false;
  };

  // Puts the request into the flight of its key, or into a new one.
  Joined Join(const RequestKey& key, const RequestPtr& request, std::int64_t now_ns);
  // Whether a response from elsewhere is one of this model to those that wait: anybody may have
  // written it.
  bool CouldAnswer(Flight* flight, const InferResponse& response) const;
  // The oldest that waits becomes the leader; null, and the flight is over, when nobody waits.
  RequestPtr TakeLeader(Flight* flight);
  // Ends the flight: nobody joins it any more.
  std::list<Waiter> Land(Flight* flight);
  bool Remove(Flight* flight, const RequestPtr& request);
  void EraseLocked(Flight* flight) REQUIRES(mutex_);

  void AnswerHit(const RequestPtr& request, const InferResponse& cached, CacheHit times);
  void ComputeOrFail(const RequestPtr& request);

  const Options options_;
  mutable Mutex mutex_;  // also guards what the flights hold
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::uint64_t waiting_requests_ GUARDED_BY(mutex_) = 0;
  std::unordered_map<RequestKey, std::shared_ptr<Flight>, RequestKeyHash> flights_
      GUARDED_BY(mutex_);
};

}  // namespace fastserve
