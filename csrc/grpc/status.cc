#include "grpc/status.h"

#include <array>

namespace fastserve {

namespace {

constexpr std::array<std::string_view, 17> kCodeTexts = {
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16"};
constexpr std::string_view kHexDigits = "0123456789ABCDEF";

bool StaysPlain(unsigned char byte) { return byte >= 0x20 && byte <= 0x7E && byte != '%'; }

int HexValue(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  return -1;
}

}  // namespace

GrpcStatus GrpcStatus::From(const Status& status) {
  return {static_cast<GrpcStatusCode>(GrpcCode(status.code())), status.message()};
}

std::string_view GrpcStatusText(GrpcStatusCode code) {
  const auto index = static_cast<std::size_t>(code);
  return index < kCodeTexts.size() ? kCodeTexts[index] : kCodeTexts[2];
}

std::string PercentEncode(std::string_view text) {
  std::string encoded;
  encoded.reserve(text.size());
  for (const char character : text) {
    const auto byte = static_cast<unsigned char>(character);
    if (StaysPlain(byte)) {
      encoded.push_back(character);
      continue;
    }
    encoded.push_back('%');
    encoded.push_back(kHexDigits[byte >> 4]);
    encoded.push_back(kHexDigits[byte & 0x0F]);
  }
  return encoded;
}

std::string PercentDecode(std::string_view text) {
  std::string decoded;
  decoded.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size()) {
      const int high = HexValue(text[i + 1]);
      const int low = HexValue(text[i + 2]);
      if (high >= 0 && low >= 0) {
        decoded.push_back(static_cast<char>(high * 16 + low));
        i += 2;
        continue;
      }
    }
    decoded.push_back(text[i]);
  }
  return decoded;
}

}  // namespace fastserve
