// The server's end of the socket to a worker: whole packets, in order, with descriptors.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "backend/worker/wire.h"
#include "base/mutex.h"
#include "base/unique_fd.h"

namespace fastserve {

// Wakes the one thread that polls `fd`. Thread safe; never blocks.
class Wakeup {
 public:
  Wakeup();
  int fd() const { return fd_.get(); }
  void Notify() const;
  // The polling thread, before it looks at what has changed.
  void Clear() const;

 private:
  UniqueFd fd_;
};

// A packet on its way out. The views are read before Send returns.
struct OutgoingPacket {
  PacketHeader header;
  std::string_view body;  // empty when it is out of line
};

struct IncomingPacket {
  PacketHeader header;
  std::string_view body;  // valid until the next Receive
  std::vector<UniqueFd> fds;
};

// kMore: only packets that were dealt with already, and others may wait behind them.
enum class ReceiveOutcome : std::uint8_t { kPacket, kNothing, kMore, kEnd, kMalformed };

// Send: any thread. Receive, Flush: the thread that polls. Nothing blocks, and nothing raises
// SIGPIPE. Invariants: 1. packets arrive whole and in the order of Send; 2. a peer that does not
// read costs at most kMostQueuedBytes: then the channel is overflowing(), and what is sent is lost.
class Channel {
 public:
  static constexpr std::size_t kMostQueuedBytes = std::size_t{64} << 20;

  // `wakeup` is notified when Flush is needed, or the channel overflows.
  Channel(UniqueFd socket, std::shared_ptr<const Wakeup> wakeup);

  int fd() const { return socket_.get(); }
  // One system call for both.
  void Send(const OutgoingPacket& first, const OutgoingPacket& second) EXCLUDES(mutex_);
  void Send(const OutgoingPacket& packet) EXCLUDES(mutex_);
  void SendWithFd(const OutgoingPacket& packet, UniqueFd fd) EXCLUDES(mutex_);
  // Sends what the socket did not take, as far as it does now.
  void Flush() EXCLUDES(mutex_);
  bool needs_flush() const EXCLUDES(mutex_);
  bool overflowing() const EXCLUDES(mutex_);
  // kEnd: the peer has closed its end, or is gone.
  ReceiveOutcome Receive(IncomingPacket* packet);

 private:
  struct Queued {
    std::string bytes;
    UniqueFd fd;
  };
  // True when the socket took it, or nobody ever will; false when it is full.
  bool TrySendLocked(const OutgoingPacket& packet, int fd) REQUIRES(mutex_);
  void QueueLocked(const OutgoingPacket& packet, UniqueFd fd) REQUIRES(mutex_);

  const UniqueFd socket_;
  const std::shared_ptr<const Wakeup> wakeup_;

  mutable Mutex mutex_;
  std::deque<Queued> queue_ GUARDED_BY(mutex_);
  std::size_t queued_bytes_ GUARDED_BY(mutex_) = 0;
  bool overflowing_ GUARDED_BY(mutex_) = false;

  // The polling thread's.
  std::array<char, PacketHeader::kSize + kLargestInline> buffer_;
};

}  // namespace fastserve
