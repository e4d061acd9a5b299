#include "backend/worker/wire.h"

#include <bit>

namespace fastserve {

static_assert(std::endian::native == std::endian::little, "the wire is little-endian");

Shape PacketReader::Dims() {
  Shape shape;
  const std::uint8_t count = U8();
  for (std::uint8_t i = 0; i < count && ok_; ++i) shape.push_back(I64());
  return shape;
}

BlockRange PacketReader::Range() {
  BlockRange range;
  range.segment = U32();
  range.offset = U64();
  range.length = U64();
  return range;
}

std::string_view PacketReader::Take(std::size_t size) {
  if (!ok_ || size > left_.size()) {
    ok_ = false;
    left_ = {};
    return {};
  }
  const std::string_view taken = left_.substr(0, size);
  left_.remove_prefix(size);
  return taken;
}

std::array<char, PacketHeader::kSize> EncodeHeader(const PacketHeader& header) {
  std::array<char, PacketHeader::kSize> bytes;
  std::memcpy(bytes.data(), &header.kind, sizeof(header.kind));
  std::memcpy(bytes.data() + 2, &header.flags, sizeof(header.flags));
  std::memcpy(bytes.data() + 4, &header.segment, sizeof(header.segment));
  std::memcpy(bytes.data() + 8, &header.offset, sizeof(header.offset));
  std::memcpy(bytes.data() + 16, &header.length, sizeof(header.length));
  return bytes;
}

bool ReadHeader(std::string_view packet, PacketHeader* header) {
  PacketReader reader(packet);
  header->kind = static_cast<PacketKind>(reader.U16());
  header->flags = reader.U16();
  header->segment = reader.U32();
  header->offset = reader.U64();
  header->length = reader.U64();
  return reader.ok();
}

}  // namespace fastserve
