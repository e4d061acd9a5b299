#include "grpc/metadata.h"

#include <array>
#include <limits>

#include "base/clock.h"

namespace fastserve {

namespace {

constexpr std::size_t kMaxTimeoutDigits = 8;
constexpr std::string_view kAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

// Nanoseconds of one unit; 0 for a letter that is none.
std::int64_t UnitNs(char unit) {
  switch (unit) {
    case 'H':
      return 3600 * kNsPerSecond;
    case 'M':
      return 60 * kNsPerSecond;
    case 'S':
      return kNsPerSecond;
    case 'm':
      return 1'000'000;
    case 'u':
      return 1000;
    case 'n':
      return 1;
    default:
      return 0;
  }
}

constexpr std::array<std::int16_t, 256> MakeDecodeTable() {
  std::array<std::int16_t, 256> table{};
  for (auto& entry : table) entry = -1;
  for (std::size_t i = 0; i < kAlphabet.size(); ++i) {
    table[static_cast<unsigned char>(kAlphabet[i])] = static_cast<std::int16_t>(i);
  }
  return table;
}
constexpr std::array<std::int16_t, 256> kDecodeTable = MakeDecodeTable();

std::string_view WithoutPadding(std::string_view text) {
  for (int i = 0; i < 2 && text.ends_with('='); ++i) text.remove_suffix(1);
  return text;
}

RequestHead::ContentType ClassifyContentType(std::string_view value) {
  constexpr std::string_view kGrpc = "application/grpc";
  if (!value.starts_with(kGrpc)) return RequestHead::ContentType::kOther;
  const bool ends_or_qualified =
      value.size() == kGrpc.size() || value[kGrpc.size()] == '+' || value[kGrpc.size()] == ';';
  return ends_or_qualified ? RequestHead::ContentType::kGrpc : RequestHead::ContentType::kOther;
}

bool ListContains(std::string_view list, std::string_view item) {
  while (!list.empty()) {
    const std::size_t comma = list.find(',');
    std::string_view entry = list.substr(0, comma);
    while (entry.starts_with(' ')) entry.remove_prefix(1);
    while (entry.ends_with(' ')) entry.remove_suffix(1);
    if (entry == item) return true;
    if (comma == std::string_view::npos) return false;
    list.remove_prefix(comma + 1);
  }
  return false;
}

}  // namespace

std::optional<std::int64_t> ParseGrpcTimeout(std::string_view text) {
  if (text.size() < 2 || text.size() > kMaxTimeoutDigits + 1) return std::nullopt;
  const std::int64_t unit = UnitNs(text.back());
  if (unit == 0) return std::nullopt;
  std::int64_t value = 0;
  for (const char digit : text.substr(0, text.size() - 1)) {
    if (digit < '0' || digit > '9') return std::nullopt;
    value = value * 10 + (digit - '0');
  }
  if (value > std::numeric_limits<std::int64_t>::max() / unit)
    return std::numeric_limits<std::int64_t>::max();
  return value * unit;
}

std::optional<std::string> DecodeBase64(std::string_view text) {
  text = WithoutPadding(text);
  if (text.size() % 4 == 1) return std::nullopt;
  std::string bytes;
  bytes.reserve(text.size() * 3 / 4);
  std::uint32_t bits = 0;
  int bit_count = 0;
  for (const char character : text) {
    const int value = kDecodeTable[static_cast<unsigned char>(character)];
    if (value < 0) return std::nullopt;
    bits = (bits << 6) | static_cast<std::uint32_t>(value);
    bit_count += 6;
    if (bit_count >= 8) {
      bit_count -= 8;
      bytes.push_back(static_cast<char>((bits >> bit_count) & 0xFF));
    }
  }
  return bytes;
}

std::string EncodeBase64(std::string_view bytes) {
  std::string text;
  text.reserve((bytes.size() * 4 + 2) / 3);
  std::uint32_t bits = 0;
  int bit_count = 0;
  for (const char character : bytes) {
    bits = (bits << 8) | static_cast<unsigned char>(character);
    bit_count += 8;
    while (bit_count >= 6) {
      bit_count -= 6;
      text.push_back(kAlphabet[(bits >> bit_count) & 0x3F]);
    }
  }
  if (bit_count > 0) text.push_back(kAlphabet[(bits << (6 - bit_count)) & 0x3F]);
  return text;
}

void RequestHead::Add(std::string_view name, std::string_view value) {
  constexpr std::size_t kEntryOverhead = 32;  // RFC 9113, section 6.5.2
  list_bytes += name.size() + value.size() + kEntryOverhead;
  if (name == ":path") {
    path.assign(value);
  } else if (name == ":method") {
    is_post = value == "POST";
  } else if (name == "content-type") {
    content_type = ClassifyContentType(value);
  } else if (name.starts_with("grpc-")) {
    AddGrpcHeader(name, value);
  } else if (name == "triton_grpc_error") {
    triton_grpc_error = value == "true";
  } else if (name.ends_with("-bin") && !DecodeBase64(value)) {
    malformed.assign(name);
  }
}

void RequestHead::AddGrpcHeader(std::string_view name, std::string_view value) {
  if (name == "grpc-timeout") {
    timeout_ns = ParseGrpcTimeout(value);
    if (!timeout_ns) malformed.assign(name);
  } else if (name == "grpc-encoding") {
    encoding = ParseEncoding(value);
    if (encoding == MessageEncoding::kUnsupported) encoding_name.assign(value);
  } else if (name == "grpc-accept-encoding") {
    accepts_gzip = ListContains(value, "gzip");
    accepts_deflate = ListContains(value, "deflate");
  } else if (name.ends_with("-bin") && !DecodeBase64(value)) {
    malformed.assign(name);
  }
}

void RequestHead::Clear() {
  path.clear();
  is_post = false;
  content_type = ContentType::kMissing;
  timeout_ns.reset();
  encoding = MessageEncoding::kIdentity;
  encoding_name.clear();
  accepts_gzip = false;
  accepts_deflate = false;
  triton_grpc_error = false;
  malformed.clear();
  list_bytes = 0;
}

}  // namespace fastserve
