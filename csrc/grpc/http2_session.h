// The server side of one HTTP/2 connection: bytes in -> stream events, stream operations -> bytes
// out. No sockets, threads or clocks. Wraps nghttp2. Source: RFC 9113, RFC 7541.
#pragma once

#include <nghttp2/nghttp2.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "grpc/outgoing_body.h"
#include "grpc/token_bucket.h"
#include "grpc/write_queue.h"

namespace fastserve {

class Http2Session;

// Static header fields: no copy is made, so names and values must live until the stream is closed.
using HeaderBlock = std::span<const nghttp2_nv>;
nghttp2_nv StaticHeader(std::string_view name, std::string_view value);

// One request and its response. The upper layer derives from it; the session drives it.
//
//   headers -> OnHeader* OnHeadersEnd -> OnData* -> OnRequestEnd        (the request)
//   Respond -> SendBody* -> SendTrailers | RespondAndEnd                 (the response, from any of
//   these or later) OnClosed: the last event; afterwards no session operation is allowed
class Http2Stream {
 public:
  virtual ~Http2Stream() = default;
  virtual void OnHeader(std::string_view name, std::string_view value) = 0;
  virtual void OnHeadersEnd() = 0;
  // `bytes` must be given back with Http2Session::Consume, at once or later; until then the peer's
  // window stays smaller.
  virtual void OnData(std::span<const std::byte> bytes) = 0;
  virtual void OnRequestEnd() = 0;
  // The last byte queued by SendBody was written.
  virtual void OnBodySent() {}
  // `error_code` is NGHTTP2_NO_ERROR when both sides ended.
  virtual void OnClosed(std::uint32_t error_code) = 0;

  std::int32_t stream_id() const { return id_; }
  bool request_ended() const { return request_ended_; }
  std::size_t unsent_bytes() const { return body_.size(); }

 private:
  friend class Http2Session;
  friend struct Http2Callbacks;
  std::int32_t id_ = 0;
  OutgoingBody body_;
  HeaderBlock trailers_;
  bool responding_ = false;
  bool has_trailers_ = false;
  bool waiting_for_body_ = false;  // nghttp2 was told that there is nothing to send now
  bool request_ended_ = false;
  Http2Stream* previous_ = nullptr;  // the session's list of open streams
  Http2Stream* next_ = nullptr;
};

// Told of what concerns the whole connection.
class Http2Observer {
 public:
  virtual ~Http2Observer() = default;
  // A request begins. The stream belongs to the observer, which may reuse it after OnClosed.
  virtual Http2Stream* NewStream() = 0;
  virtual void OnPing() = 0;
  virtual void OnPingAck(std::uint64_t payload) = 0;
  // A HEADERS or DATA frame was written (resets the count of ping strikes).
  virtual void OnResponseFrameSent() = 0;
};

struct Http2Options {
  std::uint32_t max_concurrent_streams = 4096;
  std::uint32_t max_header_list_bytes = 16 * 1024;
  std::uint32_t max_frame_bytes = 1 << 20;
  std::int32_t stream_window_bytes = (16 << 20) + (1 << 20);
  std::int32_t connection_window_bytes = 64 << 20;
  // Streams the peer resets: this many at once, so many more per second, and one for each stream
  // that ended well.
  std::int64_t reset_burst = 10000;
  std::int64_t resets_per_second = 1000;
  // SETTINGS, PRIORITY, empty DATA and invalid frames.
  std::int64_t glitch_burst = 1000;
  std::int64_t glitches_per_second = 100;
};

// Not thread safe. Invariants: 1. every stream made gets exactly one OnClosed, at the latest from
// the destructor. 2. after `failed()` nothing more is received; what is queued (a GOAWAY) is still
// written.
class Http2Session {
 public:
  Http2Session(const Http2Options& options, Http2Observer* observer);
  ~Http2Session();
  Http2Session(const Http2Session&) = delete;
  Http2Session& operator=(const Http2Session&) = delete;

  // Feeds what the peer sent; events fire inside the call.
  void Receive(std::span<const std::byte> bytes, std::int64_t now_ns);
  // Moves what may be sent now to `queue` until it holds kOutputBytes or nothing is left.
  void CollectOutput(WriteQueue* queue);

  void Respond(Http2Stream* stream, HeaderBlock headers);        // a body follows
  void RespondAndEnd(Http2Stream* stream, HeaderBlock headers);  // trailers-only
  void SendBody(Http2Stream* stream, std::string prefix, WireMessage message);
  void SendTrailers(Http2Stream* stream, HeaderBlock trailers);
  void Reset(Http2Stream* stream, std::uint32_t error_code);
  void Consume(Http2Stream* stream, std::size_t bytes);

  void Ping(std::uint64_t payload);
  // The first GOAWAY of two: no stream is refused yet.
  void AnnounceShutdown();
  // The second: streams after the last one seen are refused; the open ones go on.
  void FinishShutdown();
  // GOAWAY with an error; the connection is to be closed once it is written.
  void Fail(std::uint32_t error_code, std::string_view reason);

  // The peer's preface is complete: the fixed octets and its first SETTINGS. RFC 9113, section 3.4.
  bool greeted() const { return greeted_; }
  bool failed() const { return failed_; }
  // Nothing is left to read or write: the connection may be closed.
  bool finished() const;
  std::size_t open_streams() const { return open_streams_; }
  // Response bytes that wait for the peer's windows.
  std::size_t unsent_bytes() const { return unsent_bytes_; }
  // Copies unsent tensor views of all streams, so that batch buffers are freed.
  void CopyOutBodies();

  static constexpr std::size_t kOutputBytes = 256 * 1024;

 private:
  friend struct Http2Callbacks;
  static constexpr std::size_t kMaxHeaderBlockBytes = 128 * 1024;

  Http2Stream* Find(std::int32_t stream_id) const;
  void OpenStream(std::int32_t stream_id);
  void CloseStream(Http2Stream* stream, std::uint32_t error_code);
  void OnFrame(const nghttp2_frame* frame);
  void OnStreamFrame(const nghttp2_frame* frame);
  void OnFrameSent(const nghttp2_frame* frame);
  void SpendGlitch(std::int64_t cost);
  void ResumeBody(Http2Stream* stream);

  const Http2Options options_;
  Http2Observer* const observer_;
  nghttp2_session* session_ = nullptr;
  WriteQueue* output_ = nullptr;    // during CollectOutput
  Http2Stream* streams_ = nullptr;  // open streams, a doubly linked list
  std::size_t open_streams_ = 0;
  std::size_t unsent_bytes_ = 0;
  std::size_t header_block_bytes_ = 0;  // received since an unfinished header block began
  bool in_header_block_ = false;
  bool greeted_ = false;
  bool failed_ = false;
  std::int64_t now_ns_ = 0;
  TokenBucket resets_;
  TokenBucket glitches_;
};

}  // namespace fastserve
