// One connection of the load generator and the requests in flight on it; HTTP/1.1 and gRPC
// implement it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "base/status.h"
#include "perf/load_options.h"
#include "perf/response_body.h"
#include "perf/socket.h"

namespace fastserve::perf {

class Connection;

// One request on its way and what came back. Owned by the loop; lent to a connection from Submit to
// OnFinished.
struct Exchange {
  const PreparedRequest* request = nullptr;
  std::size_t keep_bytes = 1024;   // of the answer, for error texts
  std::int64_t intended_ns = 0;    // when it should have been sent; latency counts from here
  std::int64_t begin_ns = 0;       // handed to the connection
  std::int64_t written_ns = 0;     // last byte written; 0 when not yet
  std::int64_t first_byte_ns = 0;  // of the answer; 0 when none
  std::int64_t abandon_ns = 0;     // give up at this time on purpose; 0 is never
  Connection* connection = nullptr;

  int http_status = 0;
  int grpc_status = -1;      // -1: none arrived
  std::string grpc_message;  // still percent-encoded
  std::int32_t stream_id = 0;
  std::size_t written = 0;  // bytes of the message written so far
  ResponseBody body;
};

// Told by a connection what happened. Called from inside Connection::OnEvents; must not destroy the
// connection.
class ConnectionOwner {
 public:
  virtual ~ConnectionOwner() = default;
  // An answer is complete, or (not OK) this request failed alone. The exchange is the owner's
  // again.
  virtual void OnFinished(Exchange* exchange, const Status& status) = 0;
};

// Purpose: bytes of requests out, answers in. Owned by the loop's pool; used by one thread; never
// blocks. Invariants: 1. Every submitted exchange comes back once: by OnFinished, Abandon or
// TakeUnfinished.
//             2. After OnEvents or Flush returned an error only TakeUnfinished may be called.
class Connection {
 public:
  virtual ~Connection() = default;

  int fd() const { return fd_.get(); }
  bool connected() const { return connected_; }
  // One more request may be submitted now.
  virtual bool HasRoom() const = 0;
  // Nothing is wrong, but the server ends this connection; replace it once it is idle.
  virtual bool Ended() const = 0;
  virtual bool Idle() const = 0;
  // Takes a request; it goes out with the next Flush.
  virtual void Submit(Exchange* exchange) = 0;
  // Gives a request up, telling the server. Errors: the connection cannot go on without it.
  virtual Status Abandon(Exchange* exchange) = 0;
  // Hands back what is in flight on a broken connection.
  virtual Exchange* TakeUnfinished() = 0;

  // Reacts to epoll's events, reading into `scratch`. Errors: the connection is broken.
  Status OnEvents(std::uint32_t events, std::string* scratch);
  // Writes what can be written. Errors: the connection is broken.
  virtual Status Flush() = 0;
  // Flush could not write everything: wait for EPOLLOUT.
  bool wants_write() const { return !connected_ || blocked_; }

  std::int64_t TakeSentBytes() { return std::exchange(sent_bytes_, 0); }
  std::int64_t TakeReceivedBytes() { return std::exchange(received_bytes_, 0); }

  // Kept here for the pool: its place, the events it is registered for, whether it is in the list
  // of connections with room, was counted as connected, and has carried an answer.
  struct PoolEntry {
    std::uint64_t token = 0;
    std::uint32_t events = 0;
    bool listed = false;
    bool counted = false;
    bool answered = false;
  };
  PoolEntry pool;

 protected:
  Connection(FileDescriptor fd, ConnectionOwner& owner) : fd_(std::move(fd)), owner_(owner) {}

  virtual Status OnConnected() = 0;
  virtual Status OnBytes(std::string_view bytes) = 0;
  virtual Status OnEnd() = 0;
  // Sends bytes, as many as the socket takes; says how many and remembers whether it was blocked.
  // `more`: others follow at once.
  Result<std::size_t> Send(std::string_view bytes, bool more = false);

  ConnectionOwner& owner() { return owner_; }

 private:
  Status ReadAll(std::string* scratch);

  FileDescriptor fd_;
  ConnectionOwner& owner_;
  bool connected_ = false;
  bool blocked_ = false;
  std::int64_t sent_bytes_ = 0;
  std::int64_t received_bytes_ = 0;
};

// Begins to connect to a server.
Result<std::unique_ptr<Connection>> NewConnection(const SocketAddress& address,
                                                  const LoadOptions& options,
                                                  ConnectionOwner& owner);

}  // namespace fastserve::perf
