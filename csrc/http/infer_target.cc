#include "http/infer_target.h"

#include <charconv>
#include <optional>

namespace fastserve {
namespace {

constexpr std::string_view kPrefix = "/v2/models/";
constexpr std::string_view kSuffix = "/infer";
constexpr std::string_view kVersions = "/versions/";

std::optional<int> HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return std::nullopt;
}

// RFC 3986 2.1. False when a percent sign is not followed by two hexadecimal digits.
bool PercentDecode(std::string_view text, std::string* result) {
  if (text.find('%') == std::string_view::npos) {
    *result = text;
    return true;
  }
  result->clear();
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      result->push_back(text[i]);
      continue;
    }
    if (i + 2 >= text.size()) return false;
    const std::optional<int> high = HexDigit(text[i + 1]);
    const std::optional<int> low = HexDigit(text[i + 2]);
    if (!high || !low) return false;
    result->push_back(static_cast<char>(*high * 16 + *low));
    i += 2;
  }
  return true;
}

bool ParseVersion(std::string_view text, std::int64_t* version) {
  if (text.empty() || text.front() < '0' || text.front() > '9') return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *version);
  return error == std::errc() && end == text.data() + text.size() && *version > 0;
}

// A coding other than these would be applied to the response (see python/fastserve/http/infer.py).
bool AcceptsCompression(std::string_view accept_encoding) {
  return !accept_encoding.empty() &&
         (HasToken(accept_encoding, "gzip") || HasToken(accept_encoding, "deflate") ||
          HasToken(accept_encoding, "*"));
}

}  // namespace

bool ParseInferTarget(std::string_view target, InferTarget* result) {
  std::string_view path = target.substr(0, target.find('?'));
  if (!path.starts_with(kPrefix) || !path.ends_with(kSuffix)) return false;
  if (path.size() <= kPrefix.size() + kSuffix.size()) return false;
  path.remove_prefix(kPrefix.size());
  path.remove_suffix(kSuffix.size());
  const std::size_t slash = path.find('/');
  if (slash != std::string_view::npos) {
    if (!path.substr(slash).starts_with(kVersions)) return false;
    if (!ParseVersion(path.substr(slash + kVersions.size()), &result->model_version)) return false;
  }
  const std::string_view name = path.substr(0, slash);
  return !name.empty() && PercentDecode(name, &result->model_name);
}

bool IsPlainInfer(const HttpHead& head) {
  return head.method == "POST" && head.has_content_length && !head.has_expect &&
         !head.has_upgrade &&
         (head.content_encoding.empty() || EqualsIgnoreCase(head.content_encoding, "identity")) &&
         !AcceptsCompression(head.accept_encoding);
}

}  // namespace fastserve
