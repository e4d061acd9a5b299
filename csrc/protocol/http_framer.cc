#include "protocol/http_framer.h"

#include <algorithm>
#include <array>
#include <utility>

namespace fastserve {
namespace {

constexpr std::string_view kTokenSymbols = "!#$%&'*+-.^_`|~";
// Chunk extensions and trailers of one body together: nobody needs them, so they may not cost much.
constexpr std::uint32_t kMaxChunkOverheadBytes = 8192;
constexpr int kMaxChunkSizeDigits = 15;
// Of a request line: more than any method, the version and the spaces need.
constexpr std::size_t kMethodAndVersionBytes = 64;
constexpr std::string_view kTargetTooLong = "HTTP request target is too long";

enum CharClass : std::uint8_t { kToken = 1, kTarget = 2, kFieldValue = 4 };

constexpr bool IsTokenChar(int c) {
  const bool alphanumeric =
      (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  return alphanumeric || kTokenSymbols.find(static_cast<char>(c)) != std::string_view::npos;
}

// RFC 9110 5.6.2 token, RFC 9112 3.2 request-target (any visible character), RFC 9110 5.5
// field-value.
constexpr std::array<std::uint8_t, 256> MakeCharClasses() {
  std::array<std::uint8_t, 256> classes{};
  for (int c = 0; c < 256; ++c) {
    if (c < 128 && IsTokenChar(c)) classes[c] |= kToken;
    if (c > 0x20 && c < 0x7f) classes[c] |= kTarget;
    if (c == '\t' || (c >= 0x20 && c != 0x7f)) classes[c] |= kFieldValue;
  }
  return classes;
}
constexpr std::array<std::uint8_t, 256> kCharClasses = MakeCharClasses();

bool AllOf(std::string_view text, CharClass char_class) {
  return std::all_of(text.begin(), text.end(), [char_class](char c) {
    return (kCharClasses[static_cast<unsigned char>(c)] & char_class) != 0;
  });
}

char ToLower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; }

std::string_view Trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

HttpError BadRequest(std::string_view text) { return {400, text}; }

// Takes the next line off `text`, without its CRLF.
std::string_view NextLine(std::string_view* text) {
  const std::size_t end = text->find('\n');
  const std::string_view line = text->substr(0, end - 1);
  text->remove_prefix(end + 1);
  return line;
}

HttpError ParseRequestLine(std::string_view line, const HttpHeadLimits& limits, HttpHead* head) {
  const std::size_t first = line.find(' ');
  const std::size_t second = first == std::string_view::npos ? first : line.find(' ', first + 1);
  if (second == std::string_view::npos) return BadRequest("malformed HTTP request line");
  head->method = line.substr(0, first);
  head->target = line.substr(first + 1, second - first - 1);
  const std::string_view version = line.substr(second + 1);
  if (head->method.empty() || !AllOf(head->method, kToken))
    return BadRequest("malformed HTTP method");
  if (head->target.size() > limits.max_target_bytes) return {414, kTargetTooLong};
  if (head->target.empty() || !AllOf(head->target, kTarget))
    return BadRequest("malformed HTTP request target");
  if (version.size() != 8 || version.substr(0, 5) != "HTTP/")
    return BadRequest("malformed HTTP version");
  if (version != "HTTP/1.1" && version != "HTTP/1.0") return {505, "HTTP version is not supported"};
  head->minor_version = version.back() - '0';
  head->keep_alive = head->minor_version == 1;
  return {};
}

HttpError TakeContentLength(std::string_view value, HttpHead* head) {
  if (head->has_content_length) return BadRequest("more than one Content-Length");
  constexpr std::size_t kMaxDigits = 18;
  if (value.empty() || value.size() > kMaxDigits) return BadRequest("malformed Content-Length");
  for (const char c : value) {
    if (c < '0' || c > '9') return BadRequest("malformed Content-Length");
    head->content_length = head->content_length * 10 + static_cast<std::uint64_t>(c - '0');
  }
  head->has_content_length = true;
  return {};
}

HttpError TakeTransferEncoding(std::string_view value, HttpHead* head) {
  if (head->chunked) return BadRequest("more than one Transfer-Encoding");
  if (!EqualsIgnoreCase(value, "chunked")) return {501, "Transfer-Encoding is not supported"};
  head->chunked = true;
  return {};
}

void TakeConnection(std::string_view value, HttpHead* head) {
  if (HasToken(value, "close")) {
    head->keep_alive = false;
  } else if (HasToken(value, "keep-alive") && head->minor_version == 0) {
    head->keep_alive = true;
  }
  if (HasToken(value, "upgrade")) head->has_upgrade = true;
}

HttpError TakeHost(HttpHead* head) {
  if (head->has_host) return BadRequest("more than one Host");
  head->has_host = true;
  return {};
}

HttpError TakeInferenceHeaderLength(std::string_view value, HttpHead* head) {
  if (head->has_inference_header_length)
    return BadRequest("more than one Inference-Header-Content-Length");
  head->has_inference_header_length = true;
  head->inference_header_length = value;
  return {};
}

struct KnownField {
  std::string_view name;
  HttpError (*take)(std::string_view value, HttpHead* head);
};

constexpr KnownField kKnownFields[] = {
    {"host", [](std::string_view, HttpHead* head) { return TakeHost(head); }},
    {"expect",
     [](std::string_view, HttpHead* head) {
       head->has_expect = true;
       return HttpError();
     }},
    {"upgrade",
     [](std::string_view, HttpHead* head) {
       head->has_upgrade = true;
       return HttpError();
     }},
    {"connection",
     [](std::string_view value, HttpHead* head) {
       TakeConnection(value, head);
       return HttpError();
     }},
    {"content-length", &TakeContentLength},
    {"accept-encoding",
     [](std::string_view value, HttpHead* head) {
       head->accept_encoding = value;
       return HttpError();
     }},
    {"content-encoding",
     [](std::string_view value, HttpHead* head) {
       head->content_encoding = value;
       return HttpError();
     }},
    {"transfer-encoding", &TakeTransferEncoding},
    {"inference-header-content-length", &TakeInferenceHeaderLength},
};

HttpError TakeField(std::string_view name, std::string_view value, HttpHead* head) {
  for (const KnownField& field : kKnownFields) {
    if (EqualsIgnoreCase(name, field.name)) return field.take(value, head);
  }
  return {};
}

HttpError ParseField(std::string_view line, HttpHead* head) {
  if (line.front() == ' ' || line.front() == '\t') return BadRequest("folded HTTP header field");
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos || colon == 0)
    return BadRequest("malformed HTTP header field");
  const std::string_view name = line.substr(0, colon);
  const std::string_view value = Trim(line.substr(colon + 1));
  if (!AllOf(name, kToken)) return BadRequest("malformed HTTP header field name");
  if (!AllOf(value, kFieldValue)) return BadRequest("malformed HTTP header field value");
  return TakeField(name, value, head);
}

// RFC 9112 6.3: what must not be guessed.
HttpError CheckFraming(const HttpHead& head) {
  if (head.chunked && head.has_content_length)
    return BadRequest("both Content-Length and Transfer-Encoding");
  if (head.chunked && head.minor_version == 0)
    return BadRequest("Transfer-Encoding in an HTTP/1.0 request");
  return {};
}

}  // namespace

bool EqualsIgnoreCase(std::string_view text, std::string_view lower) {
  return text.size() == lower.size() && std::equal(text.begin(), text.end(), lower.begin(),
                                                   [](char a, char b) { return ToLower(a) == b; });
}

bool HasToken(std::string_view value, std::string_view token) {
  while (!value.empty()) {
    const std::size_t comma = std::min(value.find(','), value.size());
    std::string_view element = value.substr(0, comma);
    element = Trim(element.substr(0, std::min(element.find(';'), element.size())));
    if (EqualsIgnoreCase(element, token)) return true;
    value.remove_prefix(std::min(comma + 1, value.size()));
  }
  return false;
}

std::size_t HttpHeadScanner::Fail(int status, std::string_view text) {
  error_ = {status, text};
  return 0;
}

void HttpHeadScanner::Reset() {
  scanned_ = 0;
  line_start_ = 0;
  in_request_line_ = true;
  error_ = {};
}

std::size_t HttpHeadScanner::Scan(std::string_view head) {
  // What does not start like a method (a TLS hello, say) is refused at once, not when its line
  // ends.
  if (scanned_ == 0 && !head.empty() && !AllOf(head.substr(0, 1), kToken))
    return Fail(400, "malformed HTTP method");
  const std::size_t end = std::min(head.size(), limits_.max_head_bytes);
  while (scanned_ < end) {
    const std::size_t newline = std::min(head.find('\n', scanned_), end);
    scanned_ = std::min(newline + 1, end);
    if (in_request_line_ && newline > limits_.max_target_bytes + kMethodAndVersionBytes)
      return Fail(414, kTargetTooLong);
    if (newline == end) break;
    if (EndLine(head, newline)) return scanned_;
    if (!error_.ok()) return 0;
  }
  if (head.size() >= limits_.max_head_bytes) return Fail(431, "HTTP request head is too large");
  return 0;
}

// A line ends at `newline`. True when it is the empty one that ends the head.
bool HttpHeadScanner::EndLine(std::string_view head, std::size_t newline) {
  const std::size_t start = std::exchange(line_start_, newline + 1);
  if (newline == start || head[newline - 1] != '\r') {
    Fail(400, "HTTP line ends without CR LF");
  } else if (newline == start + 1) {
    if (!in_request_line_) return true;
    Fail(400, "malformed HTTP request line");
  }
  in_request_line_ = false;
  return false;
}

HttpError ParseHttpHead(std::string_view head, const HttpHeadLimits& limits, HttpHead* result) {
  *result = HttpHead();
  if (HttpError error = ParseRequestLine(NextLine(&head), limits, result); !error.ok())
    return error;
  std::size_t count = 0;
  for (std::string_view line = NextLine(&head); !line.empty(); line = NextLine(&head)) {
    if (++count > limits.max_headers) return {431, "too many HTTP header fields"};
    if (HttpError error = ParseField(line, result); !error.ok()) return error;
  }
  return CheckFraming(*result);
}

HttpBodyFramer HttpBodyFramer::Sized(std::uint64_t length) {
  HttpBodyFramer framer;
  framer.remaining_ = length;
  framer.state_ = length > 0 ? State::kSized : State::kDone;
  return framer;
}

HttpBodyFramer HttpBodyFramer::Chunked() {
  HttpBodyFramer framer;
  framer.state_ = State::kSize;
  return framer;
}

HttpBodyFramer HttpBodyFramer::For(const HttpHead& head) {
  return head.chunked ? Chunked() : Sized(head.content_length);
}

std::size_t HttpBodyFramer::Consume(std::span<const std::byte> bytes) {
  std::size_t used = 0;
  while (used < bytes.size() && state_ != State::kDone && error_.ok()) {
    if (state_ == State::kSized || state_ == State::kData) {
      const std::uint64_t taken = std::min<std::uint64_t>(remaining_, bytes.size() - used);
      remaining_ -= taken;
      used += taken;
      if (remaining_ == 0) state_ = state_ == State::kSized ? State::kDone : State::kDataCr;
    } else {
      Step(static_cast<char>(bytes[used++]));
    }
  }
  return used;
}

void HttpBodyFramer::Fail(std::string_view text) { error_ = BadRequest(text); }

void HttpBodyFramer::Expect(char byte, char expected, State next) {
  if (byte != expected) return Fail("malformed HTTP chunk");
  state_ = next;
}

void HttpBodyFramer::CountOverhead() {
  if (++overhead_bytes_ > kMaxChunkOverheadBytes)
    Fail("HTTP chunk extensions or trailers are too large");
}

void HttpBodyFramer::Step(char byte) {
  switch (state_) {
    case State::kSize:
      return StepSize(byte);
    case State::kExtension:
      CountOverhead();
      if (byte == '\r') {
        state_ = State::kSizeLf;
      } else if (!AllOf({&byte, 1}, kFieldValue)) {
        Fail("malformed HTTP chunk extension");
      }
      return;
    case State::kSizeLf:
      return Expect(byte, '\n', remaining_ == 0 ? State::kTrailerStart : State::kData);
    case State::kDataCr:
      return Expect(byte, '\r', State::kDataLf);
    case State::kDataLf:
      size_digits_ = 0;
      return Expect(byte, '\n', State::kSize);
    default:
      return StepTrailer(byte);
  }
}

void HttpBodyFramer::StepSize(char byte) {
  const char lower = ToLower(byte);
  const bool decimal = byte >= '0' && byte <= '9';
  if (decimal || (lower >= 'a' && lower <= 'f')) {
    if (size_digits_ == 0) remaining_ = 0;
    if (++size_digits_ > kMaxChunkSizeDigits) return Fail("HTTP chunk size is too large");
    remaining_ =
        remaining_ * 16 + static_cast<std::uint64_t>(decimal ? byte - '0' : lower - 'a' + 10);
  } else if (size_digits_ == 0) {
    Fail("malformed HTTP chunk size");
  } else if (byte == ';') {
    state_ = State::kExtension;
  } else {
    Expect(byte, '\r', State::kSizeLf);
  }
}

void HttpBodyFramer::StepTrailer(char byte) {
  CountOverhead();
  switch (state_) {
    case State::kTrailerStart:
      if (byte == '\r') {
        state_ = State::kFinalLf;
      } else if (AllOf({&byte, 1}, kToken)) {
        state_ = State::kTrailerLine;
      } else {
        Fail("malformed HTTP trailer");
      }
      return;
    case State::kTrailerLine:
      if (byte == '\r') {
        state_ = State::kTrailerLf;
      } else if (!AllOf({&byte, 1}, kFieldValue)) {
        Fail("malformed HTTP trailer");
      }
      return;
    case State::kTrailerLf:
      return Expect(byte, '\n', State::kTrailerStart);
    default:
      return Expect(byte, '\n', State::kDone);
  }
}

}  // namespace fastserve
