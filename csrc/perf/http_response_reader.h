// Frames HTTP/1.1 responses for the load generator: status, Content-Length, chunked, or until the
// connection ends (RFC 9112, section 6). No sockets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"
#include "perf/response_body.h"

namespace fastserve::perf {

// Reads one response after another from bytes in pieces of any size. Not thread safe.
//
//   kHead -> kBody (Content-Length or until end) -> kDone
//        \-> kChunkSize <-> kChunkData -> kTrailers -> kDone
class HttpResponseReader {
 public:
  // Starts the next response; its body goes to `body`, which must outlive it.
  void Start(ResponseBody* body);

  // Takes bytes up to the end of the response and says how many.
  // Errors: InvalidArgument when the bytes are not an HTTP/1.1 response.
  Result<std::size_t> Consume(std::string_view bytes);

  // The connection ended: OK when that ends the response, too.
  Status ConsumeEnd();

  bool done() const { return state_ == State::kDone; }
  bool started() const { return state_ != State::kHead || !line_.empty(); }
  int status() const { return status_; }
  // False when the server said that it closes the connection after this response.
  bool keep_alive() const { return keep_alive_; }

 private:
  enum class State : std::uint8_t {
    kHead,
    kBody,
    kUntilEnd,
    kChunkSize,
    kChunkData,
    kChunkEnd,
    kTrailers,
    kDone
  };

  // Moves bytes into line_ up to the end mark; true when the mark is there.
  Result<bool> CollectUntil(std::string_view mark, std::string_view* bytes);
  Status Step(std::string_view* bytes);
  Status ReadHead(std::string_view* bytes);
  Status ParseHead(std::string_view head);
  Status ParseHeaderLine(std::string_view line);
  Status ReadChunkSize(std::string_view* bytes);
  Status ReadChunkEnd(std::string_view* bytes);
  Status ReadTrailers(std::string_view* bytes);
  void ReadBody(std::string_view* bytes);
  void AfterHead();

  State state_ = State::kHead;
  ResponseBody* body_ = nullptr;
  std::string line_;  // an incomplete head, chunk size line or trailer
  std::uint64_t remaining_ = 0;
  int status_ = 0;
  bool keep_alive_ = true;
  bool has_length_ = false;
  bool chunked_ = false;
};

}  // namespace fastserve::perf
