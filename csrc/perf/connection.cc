// What HTTP/1.1 and gRPC connections share: connecting, reading, writing.
#include "perf/connection.h"

#include <sys/epoll.h>

#include <cerrno>

#include "perf/grpc_connection.h"
#include "perf/http_connection.h"

namespace fastserve::perf {

Status Connection::OnEvents(std::uint32_t events, std::string* scratch) {
  if (!connected_) {
    FASTSERVE_RETURN_IF_ERROR(SocketError(fd()));
    if ((events & EPOLLOUT) == 0) return Status::Ok();
    connected_ = true;
    FASTSERVE_RETURN_IF_ERROR(OnConnected());
  }
  if ((events & EPOLLOUT) != 0) {
    blocked_ = false;
    FASTSERVE_RETURN_IF_ERROR(Flush());
  }
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) return ReadAll(scratch);
  return Status::Ok();
}

Status Connection::ReadAll(std::string* scratch) {
  while (true) {
    const ssize_t size = recv(fd(), scratch->data(), scratch->size(), 0);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return Status::Ok();
    if (size < 0) return Status::Unavailable(ErrnoText(errno));
    if (size == 0) return OnEnd();
    received_bytes_ += size;
    FASTSERVE_RETURN_IF_ERROR(OnBytes({scratch->data(), static_cast<std::size_t>(size)}));
    // A short read emptied the socket; epoll tells when there is more.
    if (static_cast<std::size_t>(size) < scratch->size()) return Status::Ok();
  }
}

Result<std::size_t> Connection::Send(std::string_view bytes, bool more) {
  const int flags = MSG_NOSIGNAL | (more ? MSG_MORE : 0);
  std::size_t sent = 0;
  while (sent < bytes.size()) {
    const ssize_t size = send(fd(), bytes.data() + sent, bytes.size() - sent, flags);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && errno == EAGAIN) {
      blocked_ = true;
      break;
    }
    if (size < 0) return Status::Unavailable(ErrnoText(errno));
    sent += static_cast<std::size_t>(size);
  }
  sent_bytes_ += static_cast<std::int64_t>(sent);
  return sent;
}

Result<std::unique_ptr<Connection>> NewConnection(const SocketAddress& address,
                                                  const LoadOptions& options,
                                                  ConnectionOwner& owner) {
  FASTSERVE_ASSIGN_OR_RETURN(FileDescriptor fd, BeginConnect(address));
  if (options.protocol == Protocol::kHttp) {
    return std::unique_ptr<Connection>(std::make_unique<HttpConnection>(std::move(fd), owner));
  }
  return std::unique_ptr<Connection>(
      std::make_unique<GrpcConnection>(std::move(fd), options, owner));
}

}  // namespace fastserve::perf
