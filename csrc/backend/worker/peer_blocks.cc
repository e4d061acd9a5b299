#include "backend/worker/peer_blocks.h"

namespace fastserve {

namespace {

constexpr std::size_t kMostSegments = 4096;
// With so many, or so large ones, releases do not wait for the next batch.
constexpr std::size_t kUrgentReleases = 64;
constexpr std::size_t kUrgentBytes = std::size_t{16} << 20;

std::string Describe(const BlockRange& range) {
  return "segment " + std::to_string(range.segment) + ", offset " + std::to_string(range.offset) +
         ", length " + std::to_string(range.length);
}

std::string ReleaseBody(const std::vector<std::pair<std::uint32_t, std::uint64_t>>& places) {
  std::string body;
  PacketWriter writer(&body);
  for (const auto& [segment, offset] : places) {
    writer.U32(segment);
    writer.U64(offset);
  }
  return body;
}

}  // namespace

class PeerBlocks::PeerBlock final : public Buffer {
 public:
  PeerBlock(std::shared_ptr<PeerBlocks> owner, std::shared_ptr<MemfdSegment> memory,
            const BlockRange& range)
      : Buffer(memory->data() + range.offset, range.length, MemoryType::kSharedRegion, 0),
        owner_(std::move(owner)),
        memory_(std::move(memory)),
        place_(range.segment, range.offset) {}
  ~PeerBlock() override { owner_->Release(place_, size()); }

 private:
  const std::shared_ptr<PeerBlocks> owner_;
  const std::shared_ptr<MemfdSegment> memory_;
  const Place place_;
};

Status PeerBlocks::AddSegment(std::string_view body, std::vector<UniqueFd> fds) {
  PacketReader reader(body);
  const std::uint32_t id = reader.U32();
  const std::uint64_t size = reader.U64();
  if (!reader.ok() || !reader.at_end() || fds.size() != 1) {
    return Broken("a SEGMENT of " + std::to_string(body.size()) + " bytes with " +
                  std::to_string(fds.size()) + " descriptors, expected 12 bytes and 1");
  }
  if ((id & kPeerSegment) == 0)
    return Broken("segment id " + std::to_string(id) + " of the worker without bit 31");
  FASTSERVE_ASSIGN_OR_RETURN(std::shared_ptr<MemfdSegment> memory,
                             MemfdSegment::Adopt(std::move(fds.front()), size));
  const MutexLock lock(mutex_);
  if (segments_.size() >= kMostSegments)
    return Broken("more than " + std::to_string(kMostSegments) + " segments");
  if (!segments_.try_emplace(id, Segment{std::move(memory)}).second)
    return Broken("segment " + std::to_string(id) + " announced twice");
  return Status::Ok();
}

Status PeerBlocks::DropSegment(std::string_view body) {
  PacketReader reader(body);
  const std::uint32_t id = reader.U32();
  if (!reader.ok() || !reader.at_end()) return Broken("a DROP_SEGMENT that is not 4 bytes");
  const MutexLock lock(mutex_);
  const auto found = segments_.find(id);
  if (found == segments_.end()) return Broken("unknown segment " + std::to_string(id) + " dropped");
  if (found->second.handed != 0) {
    return Broken("segment " + std::to_string(id) + " dropped while the server has " +
                  std::to_string(found->second.handed) + " blocks of it");
  }
  segments_.erase(found);
  return Status::Ok();
}

Result<BufferPtr> PeerBlocks::Take(const BlockRange& range) {
  if (range.length == 0) return BufferPtr();
  const MutexLock lock(mutex_);
  const auto found = segments_.find(range.segment);
  if (found == segments_.end()) return Broken("a block of an unknown segment: " + Describe(range));
  const std::size_t size = found->second.memory->size();
  if (range.offset % kBlockAlignment != 0 || range.offset > size ||
      range.length > size - range.offset) {
    return Broken("a block outside of its segment of " + std::to_string(size) +
                  " bytes, or not at a multiple of 64: " + Describe(range));
  }
  if (!handed_.emplace(range.segment, range.offset).second)
    return Broken("a block that the server still has, handed over again: " + Describe(range));
  ++found->second.handed;
  return BufferPtr(std::make_shared<PeerBlock>(shared_from_this(), found->second.memory, range));
}

void PeerBlocks::Release(const Place& place, std::size_t size) {
  std::vector<Place> urgent;
  {
    const MutexLock lock(mutex_);
    handed_.erase(place);
    --segments_.find(place.first)->second.handed;  // handed: DropSegment refuses
    released_.push_back(place);
    released_bytes_ += size;
    if (released_.size() < kUrgentReleases && released_bytes_ < kUrgentBytes) return;
    urgent.swap(released_);
    released_bytes_ = 0;
  }
  OutgoingPacket packet;
  const std::string body = ReleaseBody(urgent);
  packet.header.kind = PacketKind::kRelease;
  packet.header.length = body.size();
  packet.body = body;
  channel_->Send(packet);
}

bool PeerBlocks::TakeReleases(std::string* body) {
  const MutexLock lock(mutex_);
  if (released_.empty()) return false;
  *body = ReleaseBody(released_);
  released_.clear();
  released_bytes_ = 0;
  return true;
}

bool PeerBlocks::has_blocks() const {
  const MutexLock lock(mutex_);
  return !handed_.empty() || !released_.empty();
}

}  // namespace fastserve
