// What a response cache offers to the engine. Local ones answer at once, remote ones later.
#pragma once

#include <cstdint>
#include <memory>

#include "cache/owned_response.h"
#include "cache/request_key.h"
#include "inference/request.h"

namespace fastserve {

// Gets the outcome of a lookup that takes time.
class LookupObserver {
 public:
  virtual ~LookupObserver() = default;
  // Called once, from a thread of the cache, with no lock held; null: there is none. Must not
  // block.
  virtual void OnLookup(CachedResponse response) = 0;
};

// Thread safe. Nothing here blocks but Stop. Invariants: 1. a response found for a key was inserted
// for that key; 2. a cache that cannot answer says that it has nothing.
class ResponseCache {
 public:
  virtual ~ResponseCache() = default;

  virtual RequestKey KeyOf(const CacheScope& scope, const InferRequest& request) const = 0;

  // The response, when it is at hand. Null: there is none, or StartLookup has to tell.
  virtual CachedResponse Find(const RequestKey& key) = 0;
  // Starts a lookup elsewhere: true, and `observer` is told. False when it is known at once that
  // there is none; the observer is then not called.
  virtual bool StartLookup(const RequestKey& /*key*/,
                           const std::shared_ptr<LookupObserver>& /*observer*/) {
    return false;
  }
  // Keeps a copy of an OK response, if it can. The views of `response` are not used afterwards.
  virtual void Insert(const RequestKey& key, const InferResponse& response) = 0;

  // Bytes that entries take in this process.
  virtual std::uint64_t used_bytes() const { return 0; }
  // Ends lookups under way, as not found, and the cache's threads. From now on nothing is found
  // elsewhere. Idempotent. Blocks.
  virtual void Stop() {}
};

}  // namespace fastserve
