#include "grpc/keepalive.h"

#include <algorithm>
#include <limits>

namespace fastserve {

namespace {

// What gRPC allows a peer without calls that has no permission to ping.
constexpr std::int64_t kPingIntervalWithoutCallsMs = 2 * 3600 * 1000;

}  // namespace

bool KeepAlive::AllowPing(std::int64_t now_ns, bool has_calls) {
  const bool permitted = has_calls || options_.permit_without_calls;
  const std::int64_t interval_ms =
      permitted ? options_.min_recv_ping_interval_without_data_ms : kPingIntervalWithoutCallsMs;
  const bool too_soon =
      last_peer_ping_ns_ != 0 && now_ns - last_peer_ping_ns_ < interval_ms * kNsPerMs;
  last_peer_ping_ns_ = now_ns;
  if (!too_soon || options_.max_ping_strikes == 0) return true;
  return ++strikes_ <= options_.max_ping_strikes;
}

void KeepAlive::OnResponseFrameSent() {
  last_peer_ping_ns_ = 0;
  strikes_ = 0;
  pings_since_data_ = 0;
}

KeepAlive::Action KeepAlive::Check(std::int64_t now_ns, bool has_calls) {
  if (ping_sent_ns_ != 0 && last_received_ns_ > ping_sent_ns_) ping_sent_ns_ = 0;
  if (now_ns < next_deadline_ns()) return Action::kNone;
  if (ping_sent_ns_ != 0) return Action::kClose;
  const bool may_ping =
      options_.max_pings_without_data == 0 || pings_since_data_ < options_.max_pings_without_data;
  if (!may_ping || (!has_calls && !options_.permit_without_calls)) {
    rearmed_ns_ = now_ns;
    return Action::kNone;
  }
  ++pings_since_data_;
  ping_sent_ns_ = now_ns;
  return Action::kSendPing;
}

std::int64_t KeepAlive::next_deadline_ns() const {
  const std::int64_t base =
      ping_sent_ns_ != 0 ? ping_sent_ns_ : std::max(last_received_ns_, rearmed_ns_);
  const std::int64_t wait_ms = ping_sent_ns_ != 0 ? options_.timeout_ms : options_.time_ms;
  constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
  if (wait_ms >= (kMax - base) / kNsPerMs) return kMax;
  return base + wait_ms * kNsPerMs;
}

}  // namespace fastserve
