// One gRPC call on one HTTP/2 stream: headers checked, messages framed, deadline kept, status
// written. Source: gRPC over HTTP/2, gRPC "Status codes and their use in gRPC".
#pragma once

#include <array>
#include <memory>
#include <string>

#include "base/clock.h"
#include "grpc/grpc_options.h"
#include "grpc/http2_session.h"
#include "grpc/message_reader.h"
#include "grpc/metadata.h"
#include "grpc/status.h"
#include "grpc/timeout_heap.h"

namespace fastserve {

class GrpcCall;

// What a service keeps about a call; may outlive it (a request in the engine). Touched by the I/O
// thread only.
class CallState {
 public:
  virtual ~CallState() = default;
  // The call has ended (answered, cancelled by the client, deadline passed): it must not be used
  // any more.
  virtual void OnCallClosed() = 0;
  // Everything sent so far is on its way. Called within the connection's writing: sends nothing.
  virtual void OnDrained() {}
};

struct GrpcMethod {
  std::string_view name;  // "ModelInfer"
  int id = 0;             // the service's own number
  bool unary = true;      // the request is one message
};

// What a server offers. One object per I/O thread.
class GrpcService {
 public:
  virtual ~GrpcService() = default;
  // Null when there is no such method.
  virtual const GrpcMethod* Find(std::string_view path) const = 0;
  // Unary: called once, when the request has ended. Otherwise for each message as it arrives.
  virtual void OnMessage(GrpcCall* call, BufferView message) = 0;
  // The client sends no more messages (not called for unary methods).
  virtual void OnHalfClose(GrpcCall* call) = 0;
};

// The connection of a call, seen from the call.
class GrpcCallOwner {
 public:
  virtual ~GrpcCallOwner() = default;
  // The call has queued output outside of Receive.
  virtual void OnCallOutput() = 0;
  virtual void ReleaseCall(GrpcCall* call) = 0;
  // At least so many bytes are still to come, if the peer sends on.
  virtual void OnMissing(std::size_t bytes) = 0;
  // Its peer drains nothing although much waits: new calls are refused.
  virtual bool stalled() const = 0;
};

// What all calls of one I/O thread share.
struct GrpcCallContext {
  GrpcService* service = nullptr;
  TimeoutHeap* timeouts = nullptr;
  const Clock* clock = nullptr;
  MessageLimits limits;
  std::uint32_t max_header_list_bytes = 16 * 1024;
  CompressionLevel response_compression = CompressionLevel::kNone;
};

// Owned by its I/O thread's pool, used for one stream after another. Not thread safe.
class GrpcCall final : public Http2Stream {
 public:
  explicit GrpcCall(const GrpcCallContext* context);
  void Start(Http2Session* session, GrpcCallOwner* owner);

  const GrpcMethod& method() const { return *method_; }
  const RequestHead& head() const { return head_; }
  // The service's state of this call; told when the call ends.
  void set_state(std::shared_ptr<CallState> state) { state_ = std::move(state); }
  CallState* state() const { return state_.get(); }
  const GrpcCallContext& context() const { return *context_; }

  // Queues a response message, compressed when agreed.
  void Send(WireMessage message);
  // Ends the call; nothing may be sent after it. Ends the state as well.
  void Finish(const GrpcStatus& status);
  // While paused the client's window is not opened again, so that it stops sending.
  void PauseReading(bool paused);

  void OnHeader(std::string_view name, std::string_view value) override;
  void OnHeadersEnd() override;
  void OnData(std::span<const std::byte> bytes) override;
  void OnRequestEnd() override;
  void OnBodySent() override;
  void OnClosed(std::uint32_t error_code) override;

 private:
  GrpcStatus CheckHead();
  void OnDeadline();
  void OnWholeMessage(BufferView message);
  void ReleaseClaim();
  void FinishHttp(HeaderBlock headers);
  void FinishUnsupportedEncoding();
  void SendHeaders();
  HeaderBlock StatusTrailers(const GrpcStatus& status, bool trailers_only);
  MessageEncoding ResponseEncoding() const;
  void End();

  const GrpcCallContext* const context_;
  Http2Session* session_ = nullptr;
  GrpcCallOwner* owner_ = nullptr;
  const GrpcMethod* method_ = nullptr;
  RequestHead head_;
  MessageReader reader_;
  Timeout deadline_;
  std::shared_ptr<CallState> state_;
  BufferView message_;             // of a unary call, until the request has ended
  std::size_t claimed_bytes_ = 0;  // of the budget, for message_
  bool has_message_ = false;
  bool headers_sent_ = false;
  bool finished_ = false;
  bool paused_ = false;
  std::size_t unconsumed_bytes_ = 0;
  MessageEncoding response_encoding_ = MessageEncoding::kIdentity;
  std::string status_message_;  // percent-encoded
  std::array<nghttp2_nv, 5> trailers_;
};

}  // namespace fastserve
