// An HTTP/1.1 connection: one request at a time, written straight from its prepared bytes.
#pragma once

#include "perf/connection.h"
#include "perf/http_response_reader.h"

namespace fastserve::perf {

class HttpConnection : public Connection {
 public:
  HttpConnection(FileDescriptor fd, ConnectionOwner& owner) : Connection(std::move(fd), owner) {}

  bool HasRoom() const override { return connected() && current_ == nullptr && !ended_; }
  bool Ended() const override { return ended_; }
  bool Idle() const override { return current_ == nullptr; }
  void Submit(Exchange* exchange) override;
  Status Abandon(Exchange* exchange) override;
  Exchange* TakeUnfinished() override { return std::exchange(current_, nullptr); }
  Status Flush() override;

 protected:
  Status OnConnected() override { return Status::Ok(); }
  Status OnBytes(std::string_view bytes) override;
  Status OnEnd() override;

 private:
  void Finish();

  Exchange* current_ = nullptr;
  HttpResponseReader reader_;
  bool ended_ = false;
};

}  // namespace fastserve::perf
