// The limits of the HTTP front end.
#pragma once

#include <cstddef>
#include <cstdint>

#include "protocol/http_framer.h"

namespace fastserve {

struct HttpOptions {
  HttpHeadLimits head;
  std::size_t max_input_bytes = 67108864;  // --http-max-input-size
  // Size of the receive buffer that all connections of a loop share.
  std::size_t scratch_bytes = 65536;

  // A connection on which no request begins. Longer than the idle timeout of common reverse
  // proxies.
  std::int64_t idle_timeout_ns = 3'630'000'000'000;
  // From the first byte of a head to its last.
  std::int64_t head_timeout_ns = 30'000'000'000;
  // Between two receptions of a body's bytes; a body has this long, and time at min_body_rate,
  // altogether.
  std::int64_t body_timeout_ns = 30'000'000'000;
  std::int64_t min_body_bytes_per_second = 16384;
  // A peer that takes no byte of its response.
  std::int64_t stall_timeout_ns = 120'000'000'000;
  // How long the rest of a refused request is read and ignored, so that the refusal reaches the
  // client.
  std::int64_t linger_ns = 5'000'000'000;
};

}  // namespace fastserve
