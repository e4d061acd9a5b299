// Everything that passes between the server and one worker process: packets, and the memory of both
// sides that they name.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "backend/worker/channel.h"
#include "backend/worker/lent_blocks.h"
#include "backend/worker/peer_blocks.h"
#include "backend/worker/wire.h"
#include "base/clock.h"
#include "memory/block_arena.h"

namespace fastserve {

// A packet that concerns requests, its body in the server's own memory.
struct WorkerPacket {
  PacketKind kind = PacketKind::kRelease;
  std::string_view body;  // valid until the next Receive
};

// Sending: any thread. Receive, Flush, Tend: the thread that polls. Nothing blocks. The memory that
// is out lives on when the link is gone.
class WorkerLink {
 public:
  // `wakeup` is of the thread that polls. `clock` outlives the link.
  WorkerLink(UniqueFd socket, std::shared_ptr<const Wakeup> wakeup, const Clock* clock);

  // The packet, out of line when it is large, with the releases that wait. It is lost when there is
  // no memory for it, which breaks the link.
  void Send(PacketKind kind, std::string_view body);
  // A block that the worker is lent by the packet that names it. Errors: Unavailable.
  Result<ArenaBlockPtr> Lend(std::size_t size);
  // What `size` bytes at `offset` of a segment are, within a block that this packet hands over
  // (`handed`, at `block`) or one that the worker was lent. Errors: InvalidArgument.
  Result<BufferView> Resolve(const BlockRange& range, const BlockRange& block,
                             const BufferPtr& handed) const;
  Result<BufferPtr> TakeBlock(const BlockRange& range) { return peer_->Take(range); }

  // The next packet that is not about memory; those that are have been dealt with. kMore after
  // many of them. Errors: InvalidArgument, the worker broke a rule.
  Result<ReceiveOutcome> Receive(WorkerPacket* packet);
  Channel& channel() { return *channel_; }
  // True when Tend has something to do soon.
  bool needs_tending() const { return peer_->has_blocks(); }
  // Of a link that has been idle: tells the worker what it can have back, and gives back memory
  // that was not used for long.
  void Tend();
  // OK, or why the worker can be sent nothing more.
  Status Health() const;

 private:
  class Announcer;
  Status TakeBack(std::string_view body);
  // Copies a body that the worker wrote in a block of its own; the block goes back.
  Status FetchBody(const PacketHeader& header);
  // Of a packet about memory. Null: of another.
  Result<bool> HandleMemory(IncomingPacket* packet);

  const Clock& clock_;
  const std::shared_ptr<Channel> channel_;
  const std::shared_ptr<PeerBlocks> peer_;
  const std::shared_ptr<BlockArena> arena_;
  LentBlocks lent_;
  std::atomic<bool> out_of_memory_{false};
  IncomingPacket incoming_;
  std::string fetched_;
};

}  // namespace fastserve
