#include "grpc/compression.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <limits>

namespace fastserve {

namespace {

constexpr int kGzipWindowBits = 15 + 16;  // zlib: +16 selects the gzip format
constexpr int kZlibWindowBits = 15;
constexpr std::size_t kChunkBytes = 64 * 1024;

int WindowBits(MessageEncoding encoding) {
  return encoding == MessageEncoding::kGzip ? kGzipWindowBits : kZlibWindowBits;
}

int ZlibLevel(CompressionLevel level) {
  switch (level) {
    case CompressionLevel::kLow:
      return 1;
    case CompressionLevel::kHigh:
      return 9;
    default:
      return 6;
  }
}

Bytef* ZlibInput(const void* data) { return static_cast<Bytef*>(const_cast<void*>(data)); }

class Deflater {
 public:
  Deflater(MessageEncoding encoding, CompressionLevel level) {
    constexpr int kMemoryLevel = 8;
    deflateInit2(&stream_, ZlibLevel(level), Z_DEFLATED, WindowBits(encoding), kMemoryLevel,
                 Z_DEFAULT_STRATEGY);
  }
  ~Deflater() { deflateEnd(&stream_); }
  Deflater(const Deflater&) = delete;
  Deflater& operator=(const Deflater&) = delete;

  // zlib counts a call's input in 32 bits, so a large piece goes in slices.
  void Add(const void* data, std::size_t size) {
    const auto* bytes = static_cast<const char*>(data);
    while (size > 0) {
      const std::size_t slice = std::min<std::size_t>(size, std::numeric_limits<uInt>::max() / 2);
      stream_.next_in = ZlibInput(bytes);
      stream_.avail_in = static_cast<uInt>(slice);
      while (stream_.avail_in > 0) Step(Z_NO_FLUSH);
      bytes += slice;
      size -= slice;
    }
  }
  std::string Finish() {
    while (Step(Z_FINISH) != Z_STREAM_END) {
    }
    return std::move(output_);
  }

 private:
  int Step(int flush) {
    stream_.next_out = chunk_.data();
    stream_.avail_out = static_cast<uInt>(chunk_.size());
    const int result = deflate(&stream_, flush);
    output_.append(reinterpret_cast<const char*>(chunk_.data()), chunk_.size() - stream_.avail_out);
    return result;
  }

  z_stream stream_{};
  std::array<Bytef, 16 * 1024> chunk_;
  std::string output_;
};

// One inflate call into a grown tail of *output. Returns zlib's result.
int InflateChunk(z_stream* stream, std::size_t room, std::string* output) {
  const std::size_t old_size = output->size();
  const std::size_t chunk = std::min(kChunkBytes, room);
  output->resize(old_size + chunk);
  stream->next_out = reinterpret_cast<Bytef*>(output->data() + old_size);
  stream->avail_out = static_cast<uInt>(chunk);
  const int result = inflate(stream, Z_NO_FLUSH);
  output->resize(old_size + chunk - stream->avail_out);
  return result;
}

Status InflateAll(z_stream* stream, std::size_t limit, std::string* output) {
  for (;;) {
    // One byte beyond the limit tells "exactly at the limit" from "too large".
    const int result = InflateChunk(stream, limit - output->size() + 1, output);
    if (output->size() > limit) {
      return Status::Unavailable(
          "SERVER: Received message larger than max after decompression (limit " +
          std::to_string(limit) + ")");
    }
    if (result == Z_STREAM_END) break;
    if (result != Z_OK || (stream->avail_in == 0 && stream->avail_out > 0)) {
      return Status::InvalidArgument("message is not complete compressed data");
    }
  }
  if (stream->avail_in > 0)
    return Status::InvalidArgument("bytes after the end of the compressed message");
  return Status::Ok();
}

}  // namespace

MessageEncoding ParseEncoding(std::string_view name) {
  if (name == "identity") return MessageEncoding::kIdentity;
  if (name == "gzip") return MessageEncoding::kGzip;
  if (name == "deflate") return MessageEncoding::kDeflate;
  return MessageEncoding::kUnsupported;
}

std::string_view EncodingName(MessageEncoding encoding) {
  switch (encoding) {
    case MessageEncoding::kGzip:
      return "gzip";
    case MessageEncoding::kDeflate:
      return "deflate";
    default:
      return "identity";
  }
}

Status Decompress(MessageEncoding encoding, std::span<const std::byte> input, std::size_t limit,
                  std::string* output) {
  output->clear();
  if (input.size() > std::numeric_limits<uInt>::max())
    return Status::InvalidArgument("compressed message too large");
  z_stream stream{};
  stream.next_in = ZlibInput(input.data());
  stream.avail_in = static_cast<uInt>(input.size());
  if (inflateInit2(&stream, WindowBits(encoding)) != Z_OK)
    return Status::Internal("zlib: out of memory");
  Status status = InflateAll(&stream, limit, output);
  inflateEnd(&stream);
  return status;
}

std::string Compress(MessageEncoding encoding, CompressionLevel level, const WireMessage& message) {
  Deflater deflater(encoding, level);
  for (const WirePiece& piece : message.pieces) {
    deflater.Add(piece.head.data(), piece.head.size());
    deflater.Add(piece.tail.data, piece.tail.size);
  }
  return deflater.Finish();
}

}  // namespace fastserve
