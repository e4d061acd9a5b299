#include "cache/cache_options.h"

#include "cache/local_cache.h"
#include "cache/redis_cache.h"

namespace fastserve {

std::shared_ptr<ResponseCache> CreateResponseCache(const CacheOptions& options,
                                                   const Clock& clock) {
  switch (options.kind) {
    case CacheKind::kLocal:
      return std::make_shared<LocalCache>(options.local_bytes);
    case CacheKind::kRedis:
      return std::make_shared<RedisCache>(options.redis, clock);
    case CacheKind::kNone:
      break;
  }
  return nullptr;
}

}  // namespace fastserve
