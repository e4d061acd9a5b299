// What the command line says about the response cache (--cache-config).
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/clock.h"

namespace fastserve {

class ResponseCache;  // response_cache.h

struct RedisOptions {
  std::string host;
  int port = 6379;
  std::string user;  // empty: the default user
  std::string password;
  int db = 0;
  // Connecting, and each lookup and insertion, may take so long; a connection that is slower is
  // given up.
  std::int64_t connect_timeout_ms = 1000;
  std::int64_t deadline_ms = 100;
};

enum class CacheKind : std::uint8_t { kNone, kLocal, kRedis };

struct CacheOptions {
  CacheKind kind = CacheKind::kNone;
  std::uint64_t local_bytes = 0;
  RedisOptions redis;
};

// Null for kNone. `clock` outlives the cache. A Redis server that is not there is no error: the
// cache finds nothing until it is.
std::shared_ptr<ResponseCache> CreateResponseCache(const CacheOptions& options, const Clock& clock);

}  // namespace fastserve
