// One HTTP connection as a state machine without sockets and without Python: bytes in, actions out
// (HttpTransport).
//
//            +--------------------- response ended, keep-alive ----------------------+
//            v                                                                       |
//   kHead ---+--- plain infer ---> kBody ---> kExecuting ---------------------------->+
//            +--- anything else -> kDelegated (aiohttp) ----------------------------->+
//            +--- Upgrade, CONNECT, broken chunks -> kDetached (aiohttp until it closes)
//            +--- refused, last response sent ------> kClosing ---> closed
//
// The next request is looked at only when the response before it has ended; what a client sends
// ahead waits in `ahead_`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "http/http_options.h"
#include "http/infer_call.h"
#include "protocol/http_framer.h"

namespace fastserve {

// What a connection does to the outside. Calls come only from within calls to the connection.
class HttpTransport {
 public:
  virtual ~HttpTransport() = default;
  // Sends head and body. May call HttpConnection::OnWritable(false) at once.
  virtual void Write(std::string head, WireMessage body) = 0;
  // Bytes of the request that aiohttp answers.
  virtual void Delegate(std::span<const std::byte> bytes) = 0;
  virtual void PauseReading() = 0;
  virtual void ResumeReading() = 0;
  // Sends what was written, then the end of the stream; reading goes on.
  virtual void WriteEof() = 0;
  // Sends what was written, then closes. OnLost follows.
  virtual void Close() = 0;
  // Closes now.
  virtual void Abort() = 0;
  // Written and not yet taken by the system.
  virtual std::size_t UnsentBytes() = 0;
};

// What the connections of one event loop share. Event loop thread only.
struct HttpShared {
  HttpOptions options;
  const Clock* clock = nullptr;
  InferStarter* starter = nullptr;
  std::shared_ptr<ByteBudget> budget;  // null: none
  std::unique_ptr<std::byte[]>
      scratch;  // where bytes are received that have no place of their own yet
  bool draining = false;
};

// Event loop thread only. The transport is used until OnLost.
class HttpConnection : public ReplyTarget, public std::enable_shared_from_this<HttpConnection> {
 public:
  HttpConnection(std::shared_ptr<HttpShared> shared, HttpTransport* transport);

  // Where the next bytes should be received; never empty. OnReceived says how many were.
  std::span<std::byte> ReadBuffer();
  void OnReceived(std::size_t size);
  // The peer sends no more, which ends the connection: a request in flight is cancelled.
  void OnEof();
  void OnLost();
  // The transport's write buffer became full (false) or drained (true).
  void OnWritable(bool writable);
  // aiohttp has sent the response to the delegated request.
  void OnDelegateEnded(bool keep_alive);
  void OnDelegatePaused(bool paused);
  void OnDelegateClosed();
  void OnReply(InferReply reply) override;

  // Ends what takes too long. Called by the loop's coarse timer.
  void OnTick(std::int64_t now_ns);
  // Closes the connection if no request is in progress; else its response will say `Connection:
  // close`.
  void OnDrain();
  // No request has begun.
  bool idle() const { return state_ == State::kHead && ahead_.empty(); }
  bool lost() const { return transport_ == nullptr; }

 private:
  enum class State : std::uint8_t { kHead, kBody, kExecuting, kDelegated, kDetached, kClosing };
  enum PauseReason : std::uint8_t { kPausedAhead = 1, kPausedWriting = 2, kPausedDelegate = 4 };

  void OnReceivedRequest(std::span<const std::byte> bytes);
  void OnReceivedDelegated(std::span<const std::byte> bytes);
  void ProcessAhead();
  std::size_t Process(std::span<const std::byte> bytes);
  std::size_t BeginRequest(std::span<const std::byte> bytes, std::size_t head_size);
  std::size_t BeginInfer(const HttpHead& head, std::span<const std::byte> rest, RequestPtr request);
  bool AllocateBody(std::size_t size);
  bool ClaimBody(std::size_t size);
  void OnReceivedBody(std::size_t size);
  void DropRequest();
  void StartInfer();
  void BeginDelegated(const HttpHead& head, std::span<const std::byte> head_bytes);
  std::size_t ForwardBody(std::span<const std::byte> bytes);
  void KeepAhead(std::span<const std::byte> bytes);
  void EndResponse(bool keep_alive);
  void Refuse(int status, std::string_view text);
  void SendReply(InferReply reply, bool keep_alive);
  void CloseAfterResponse();
  void CancelRequest();
  bool Stalled(std::int64_t now_ns);
  void SetPaused(PauseReason reason, bool paused);
  void SetDeadline(std::int64_t delay_ns);
  void SetBodyDeadline();
  void WaitForRequest();

  const std::shared_ptr<HttpShared> shared_;
  HttpTransport* transport_;  // null after OnLost
  State state_ = State::kHead;
  std::uint8_t pause_reasons_ = 0;
  bool processing_ = false;             // inside ProcessAhead's loop
  std::int64_t deadline_ns_ = 0;        // 0: none
  std::int64_t stall_deadline_ns_ = 0;  // of a reader that stalls; 0: none
  std::size_t stalled_bytes_ = 0;       // unsent when it was last looked at

  // kHead
  HttpHeadScanner scanner_;
  bool head_begun_ = false;
  std::string ahead_;  // bytes received that are not part of a request in progress

  // The request in progress.
  bool keep_alive_ = true;
  int minor_version_ = 1;
  std::int64_t body_limit_ns_ = 0;  // when the whole body must have come
  RequestPtr request_;              // kBody, kExecuting
  BufferView body_;                 // kBody
  ByteClaim body_claim_;            // kBody: what has arrived of it
  std::size_t body_received_ = 0;   // kBody
  std::size_t json_size_ = 0;       // kBody
  HttpBodyFramer framer_;           // kDelegated
  bool response_ended_ = false;     // kDelegated
};

}  // namespace fastserve
