// A strict, socket-free HTTP/1.1 request framer: where each request of a byte stream begins and
// ends, and the few header fields that decide what becomes of it. It keeps no copy of the bytes.
// Source: RFC 9110, RFC 9112. Stricter than these where leniency lets two servers disagree about a
// message's end (request smuggling): no obs-fold, no bare LF, no second Content-Length, no
// Content-Length beside Transfer-Encoding. Why it is our own: docs/design/002-http-framing.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace fastserve {

struct HttpHeadLimits {
  std::size_t max_head_bytes = 16384;  // request line and fields, with line ends
  std::size_t max_target_bytes = 8192;
  std::size_t max_headers = 100;
};

// What went wrong, with the HTTP status that says so. `text` is a constant.
struct HttpError {
  int status = 0;  // 0: nothing is wrong
  std::string_view text;
  bool ok() const { return status == 0; }
};

// A request's head. Views point into the bytes that were parsed.
struct HttpHead {
  std::string_view method;
  std::string_view target;
  int minor_version = 1;
  bool keep_alive = true;  // what the client asks for
  bool has_host = false;
  bool has_content_length = false;
  std::uint64_t content_length = 0;
  bool chunked = false;
  bool has_expect = false;
  bool has_upgrade = false;
  std::string_view content_encoding;
  std::string_view accept_encoding;
  bool has_inference_header_length = false;
  std::string_view inference_header_length;
};

// Finds the end of a head that arrives in pieces, looking at each byte once.
class HttpHeadScanner {
 public:
  explicit HttpHeadScanner(const HttpHeadLimits& limits) : limits_(limits) {}

  // `head` is everything since the start of the request; the part seen by earlier calls must be
  // unchanged. Returns the head's size with its empty line, or 0 when it goes on (look at error()).
  std::size_t Scan(std::string_view head);
  const HttpError& error() const { return error_; }
  void Reset();

 private:
  std::size_t Fail(int status, std::string_view text);
  bool EndLine(std::string_view head, std::size_t newline);

  const HttpHeadLimits limits_;
  std::size_t scanned_ = 0;     // bytes seen
  std::size_t line_start_ = 0;  // where the line that is not complete begins
  bool in_request_line_ = true;
  HttpError error_;
};

// Parses a complete head as HttpHeadScanner delimits it. Linear time.
HttpError ParseHttpHead(std::string_view head, const HttpHeadLimits& limits, HttpHead* result);

// Where the body of a request ends. Counts bytes only; the chunks of a chunked body stay as they
// are.
class HttpBodyFramer {
 public:
  // A body of `length` bytes.
  static HttpBodyFramer Sized(std::uint64_t length);
  static HttpBodyFramer Chunked();
  // The body that `head` announces: none, sized or chunked.
  static HttpBodyFramer For(const HttpHead& head);

  // How many of the next bytes belong to the body. Less than `size` only when the body is complete,
  // or broken (error()).
  std::size_t Consume(std::span<const std::byte> bytes);
  bool done() const { return state_ == State::kDone; }
  const HttpError& error() const { return error_; }

 private:
  // kSize -> kExtension -> kSizeLf -> kData -> kDataCr -> kDataLf -> kSize ... ; a size of 0 leads
  // to the trailer section: kTrailerStart -> (kTrailerLine -> kTrailerLf)* -> kFinalLf -> kDone
  enum class State : std::uint8_t {
    kSized,
    kSize,
    kExtension,
    kSizeLf,
    kData,
    kDataCr,
    kDataLf,
    kTrailerStart,
    kTrailerLine,
    kTrailerLf,
    kFinalLf,
    kDone
  };

  // Takes one byte of the framing around the chunks.
  void Step(char byte);
  void StepSize(char byte);
  void StepTrailer(char byte);
  void Expect(char byte, char expected, State next);
  void CountOverhead();
  void Fail(std::string_view text);

  State state_ = State::kDone;
  std::uint64_t remaining_ = 0;  // of a sized body, or of the current chunk
  int size_digits_ = 0;
  std::uint32_t overhead_bytes_ = 0;  // extensions and trailers
  HttpError error_;
};

// True when a comma-separated field value has `token` (lower case) as one of its elements,
// parameters ignored.
bool HasToken(std::string_view value, std::string_view token);
// ASCII case-insensitive; `lower` is lower case.
bool EqualsIgnoreCase(std::string_view text, std::string_view lower);

}  // namespace fastserve
