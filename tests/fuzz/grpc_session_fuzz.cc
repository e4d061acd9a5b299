// Bytes of a client into an HTTP/2 session with gRPC calls on top: the whole input path short of
// the socket. The first byte of the input chooses how the rest is cut into reads.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "grpc/grpc_call.h"
#include "grpc/http2_session.h"

namespace fastserve {
namespace {

// Answers every message with itself.
class EchoService final : public GrpcService {
 public:
  const GrpcMethod* Find(std::string_view path) const override {
    static const GrpcMethod unary{"Unary", 0, true};
    static const GrpcMethod stream{"Stream", 1, false};
    if (path == "/u") return &unary;
    return path == "/s" ? &stream : nullptr;
  }
  void OnMessage(GrpcCall* call, BufferView message) override {
    WireMessage answer;
    answer.pieces.push_back({"", std::move(message)});
    call->Send(std::move(answer));
    if (call->method().unary) call->Finish({});
  }
  void OnHalfClose(GrpcCall* call) override { call->Finish({}); }
};

class Connection final : public Http2Observer, public GrpcCallOwner {
 public:
  Connection() {
    context_.service = &service_;
    context_.timeouts = &timeouts_;
    context_.clock = &SystemClock();
    context_.limits.max_message_bytes = 1 << 20;
    session_ = std::make_unique<Http2Session>(Http2Options{}, this);
  }
  void Receive(std::span<const std::byte> bytes) {
    session_->Receive(bytes, 1);
    for (;;) {
      WriteQueue queue;
      session_->CollectOutput(&queue);
      if (queue.empty()) return;
    }
  }
  bool done() const { return session_->failed() || session_->finished(); }

  Http2Stream* NewStream() override {
    calls_.push_back(std::make_unique<GrpcCall>(&context_));
    calls_.back()->Start(session_.get(), this);
    return calls_.back().get();
  }
  void OnPing() override {}
  void OnPingAck(std::uint64_t) override {}
  void OnResponseFrameSent() override {}
  void OnCallOutput() override {}
  void ReleaseCall(GrpcCall*) override {}
  void OnMissing(std::size_t) override {}
  bool stalled() const override { return false; }

 private:
  EchoService service_;
  TimeoutHeap timeouts_;
  GrpcCallContext context_;
  std::vector<std::unique_ptr<GrpcCall>> calls_;
  std::unique_ptr<Http2Session> session_;  // last: its end closes the calls
};

}  // namespace
}  // namespace fastserve

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t step = data[0] == 0 ? size : data[0];
  const std::span<const std::byte> bytes = std::as_bytes(std::span(data + 1, size - 1));
  fastserve::Connection connection;
  for (std::size_t at = 0; at < bytes.size() && !connection.done(); at += step) {
    connection.Receive(bytes.subspan(at, std::min(step, bytes.size() - at)));
  }
  return 0;
}
