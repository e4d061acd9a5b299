// A gRPC connection: one HTTP/2 session (nghttp2), one stream to each request in flight.
// Sources: gRPC over HTTP/2 (PROTOCOL-HTTP2.md), RFC 9113.
#pragma once

#include <nghttp2/nghttp2.h>

#include <string>
#include <vector>

#include "perf/connection.h"

namespace fastserve::perf {

class GrpcConnection : public Connection {
 public:
  // `options` gives path, host and metadata, and must outlive the connection.
  GrpcConnection(FileDescriptor fd, const LoadOptions& options, ConnectionOwner& owner);
  ~GrpcConnection() override;
  GrpcConnection(const GrpcConnection&) = delete;
  GrpcConnection& operator=(const GrpcConnection&) = delete;

  bool HasRoom() const override;
  bool Ended() const override { return ended_; }
  bool Idle() const override { return in_flight_.empty(); }
  void Submit(Exchange* exchange) override;
  Status Abandon(Exchange* exchange) override;
  Exchange* TakeUnfinished() override;
  Status Flush() override;

 protected:
  Status OnConnected() override;
  Status OnBytes(std::string_view bytes) override;
  Status OnEnd() override;

 private:
  friend struct SessionCallbacks;  // nghttp2 calls it with this connection as user data

  void AddHeader(std::string_view name, std::string_view value);
  void OnHeader(Exchange* exchange, std::string_view name, std::string_view value);
  void OnStreamClosed(Exchange* exchange, std::uint32_t http2_error);
  void Remove(Exchange* exchange);
  Status CollectOutput();

  std::string authority_;
  std::vector<nghttp2_nv> headers_;
  std::size_t room_per_connection_;
  nghttp2_session* session_ = nullptr;
  std::vector<Exchange*> in_flight_;
  std::string output_;  // serialised frames not yet taken by the socket
  std::size_t output_sent_ = 0;
  std::string_view tail_;  // behind output_: of a request's message, which outlives the connection
  bool ended_ = false;
};

}  // namespace fastserve::perf
