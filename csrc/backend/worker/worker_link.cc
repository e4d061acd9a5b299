#include "backend/worker/worker_link.h"

#include <cstring>
#include <utility>

namespace fastserve {

namespace {

constexpr std::uint64_t kLargestBody = std::uint64_t{256} << 20;
constexpr std::int64_t kTrimAfterNs = 10'000'000'000;
constexpr int kMostMemoryPackets = 64;  // before the caller looks at the rest of the world again

OutgoingPacket Inline(PacketKind kind, std::string_view body) {
  OutgoingPacket packet;
  packet.header.kind = kind;
  packet.header.length = body.size();
  packet.body = body;
  return packet;
}

}  // namespace

// Tells the worker of the segments of the server's arena.
class WorkerLink::Announcer final : public SegmentListener {
 public:
  explicit Announcer(std::shared_ptr<Channel> channel) : channel_(std::move(channel)) {}

  void OnSegment(std::uint32_t id, std::size_t size, UniqueFd fd) override {
    std::string body;
    PacketWriter writer(&body);
    writer.U32(id);
    writer.U64(size);
    channel_->SendWithFd(Inline(PacketKind::kSegment, body), std::move(fd));
  }
  void OnDrop(std::uint32_t id) override {
    std::string body;
    PacketWriter(&body).U32(id);
    channel_->Send(Inline(PacketKind::kDropSegment, body));
  }

 private:
  const std::shared_ptr<Channel> channel_;
};

WorkerLink::WorkerLink(UniqueFd socket, std::shared_ptr<const Wakeup> wakeup, const Clock* clock)
    : clock_(*clock),
      channel_(std::make_shared<Channel>(std::move(socket), std::move(wakeup))),
      peer_(std::make_shared<PeerBlocks>(channel_)),
      arena_(BlockArena::Create({clock, std::make_shared<Announcer>(channel_)})) {}

void WorkerLink::Send(PacketKind kind, std::string_view body) {
  OutgoingPacket packet = Inline(kind, body);
  if (body.size() > kLargestInline) {
    Result<ArenaBlockPtr> block = Lend(body.size());
    if (!block.ok()) {
      out_of_memory_.store(true, std::memory_order_relaxed);
      return;
    }
    std::memcpy((*block)->data(), body.data(), body.size());
    packet.header.flags = kOutOfLine;
    packet.header.segment = (*block)->segment();
    packet.header.offset = (*block)->offset();
    packet.body = {};
  }
  std::string releases;
  if (peer_->TakeReleases(&releases)) {
    channel_->Send(Inline(PacketKind::kRelease, releases), packet);
  } else {
    channel_->Send(packet);
  }
}

Result<ArenaBlockPtr> WorkerLink::Lend(std::size_t size) {
  FASTSERVE_ASSIGN_OR_RETURN(ArenaBlockPtr block, arena_->Allocate(size));
  lent_.Add(block);
  return block;
}

Result<BufferView> WorkerLink::Resolve(const BlockRange& range, const BlockRange& block,
                                       const BufferPtr& handed) const {
  if (range.length == 0) return BufferView();
  if (handed != nullptr && range.segment == block.segment && range.offset >= block.offset) {
    const std::uint64_t into = range.offset - block.offset;
    if (into <= block.length && range.length <= block.length - into)
      return BufferView(handed, handed->data() + into, range.length);
  }
  if (const ArenaBlockPtr lent = lent_.Find(range.segment, range.offset, range.length))
    return BufferView(lent, lent->data() + (range.offset - lent->offset()), range.length);
  return Status::InvalidArgument(
      "bytes outside of the blocks of the message: segment " + std::to_string(range.segment) +
      ", offset " + std::to_string(range.offset) + ", length " + std::to_string(range.length));
}

Result<ReceiveOutcome> WorkerLink::Receive(WorkerPacket* packet) {
  for (int handled_packets = 0; handled_packets < kMostMemoryPackets; ++handled_packets) {
    const ReceiveOutcome outcome = channel_->Receive(&incoming_);
    if (outcome == ReceiveOutcome::kMalformed)
      return Status::InvalidArgument("a packet without a header, or longer than 64 KiB");
    if (outcome != ReceiveOutcome::kPacket) return outcome;
    FASTSERVE_ASSIGN_OR_RETURN(const bool handled, HandleMemory(&incoming_));
    if (handled) continue;
    if (!incoming_.fds.empty())
      return Status::InvalidArgument("a descriptor with a packet that is not SEGMENT");
    packet->kind = incoming_.header.kind;
    packet->body = incoming_.body;
    return ReceiveOutcome::kPacket;
  }
  return ReceiveOutcome::kMore;
}

Result<bool> WorkerLink::HandleMemory(IncomingPacket* packet) {
  if ((packet->header.flags & kOutOfLine) != 0) {
    FASTSERVE_RETURN_IF_ERROR(FetchBody(packet->header));
    packet->body = fetched_;
  }
  switch (packet->header.kind) {
    case PacketKind::kSegment:
      FASTSERVE_RETURN_IF_ERROR(peer_->AddSegment(packet->body, std::move(packet->fds)));
      return true;
    case PacketKind::kDropSegment:
      FASTSERVE_RETURN_IF_ERROR(peer_->DropSegment(packet->body));
      return true;
    case PacketKind::kRelease:
      FASTSERVE_RETURN_IF_ERROR(TakeBack(packet->body));
      return true;
    default:
      return false;
  }
}

Status WorkerLink::FetchBody(const PacketHeader& header) {
  if (header.length > kLargestBody) {
    return Status::InvalidArgument("a body of " + std::to_string(header.length) +
                                   " bytes, the limit is " + std::to_string(kLargestBody));
  }
  FASTSERVE_ASSIGN_OR_RETURN(const BufferPtr block,
                             peer_->Take({header.segment, header.offset, header.length}));
  fetched_.clear();
  if (block != nullptr)
    fetched_.assign(reinterpret_cast<const char*>(block->data()), block->size());
  return Status::Ok();
}

Status WorkerLink::TakeBack(std::string_view body) {
  if (body.empty()) return Broken("a RELEASE of nothing");
  PacketReader reader(body);
  while (!reader.at_end()) {
    const std::uint32_t segment = reader.U32();
    const std::uint64_t offset = reader.U64();
    if (!reader.ok()) return Status::InvalidArgument("a RELEASE that ends within a block's name");
    FASTSERVE_RETURN_IF_ERROR(lent_.TakeBack(segment, offset));
  }
  return Status::Ok();
}

void WorkerLink::Tend() {
  std::string releases;
  if (peer_->TakeReleases(&releases)) channel_->Send(Inline(PacketKind::kRelease, releases));
  arena_->Trim(clock_.NowNs() - kTrimAfterNs);
}

Status WorkerLink::Health() const {
  if (channel_->overflowing()) {
    return Status::InvalidArgument("it does not read: more than " +
                                   std::to_string(Channel::kMostQueuedBytes) + " bytes wait");
  }
  if (out_of_memory_.load(std::memory_order_relaxed))
    return Status::Unavailable("there is no shared memory for what it is to be sent");
  return Status::Ok();
}

}  // namespace fastserve
