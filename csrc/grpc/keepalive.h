// When to ping a silent peer, when to give it up, and when its own pings are too many.
// Source: gRPC "Keepalive" and gRFC A8/A9 (ping strikes), with Triton's --grpc-keepalive-* flags.
#pragma once

#include <cstdint>

#include "base/clock.h"

namespace fastserve {

struct KeepAliveOptions {
  std::int64_t time_ms = 7200000;
  std::int64_t timeout_ms = 20000;
  bool permit_without_calls = false;
  int max_pings_without_data = 2;  // 0: any number
  std::int64_t min_recv_ping_interval_without_data_ms = 300000;
  int max_ping_strikes = 2;  // 0: any number
};

// The keep-alive state of one connection. Time is given. Not thread safe.
class KeepAlive {
 public:
  enum class Action : std::uint8_t { kNone, kSendPing, kClose };

  KeepAlive(const KeepAliveOptions& options, std::int64_t now_ns)
      : options_(options), last_received_ns_(now_ns) {}

  // False when the peer has pinged too often: the connection is to end with "too_many_pings".
  bool AllowPing(std::int64_t now_ns, bool has_calls);
  void OnResponseFrameSent();
  void OnReceived(std::int64_t now_ns) { last_received_ns_ = now_ns; }
  // What to do now. Call when next_deadline_ns() is reached, or earlier.
  Action Check(std::int64_t now_ns, bool has_calls);
  std::int64_t next_deadline_ns() const;

 private:
  const KeepAliveOptions options_;
  std::int64_t last_received_ns_;
  std::int64_t rearmed_ns_ = 0;    // when Check last saw nothing to do
  std::int64_t ping_sent_ns_ = 0;  // 0: no ping outstanding
  int pings_since_data_ = 0;
  std::int64_t last_peer_ping_ns_ = 0;  // 0: none since the last response frame
  int strikes_ = 0;
};

}  // namespace fastserve
