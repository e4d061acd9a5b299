#include "memory/byte_budget.h"

#include <string>

namespace fastserve {

Status ByteBudget::Refusal(std::uint64_t request_bytes) const {
  return Status::Unavailable(
      "request of " + std::to_string(request_bytes) + " bytes: " + std::to_string(used_bytes()) +
      " of " + std::to_string(max_bytes_) + " bytes are in flight (--max-inflight-bytes)");
}

}  // namespace fastserve
