// Sockets of the load generator.
#include "perf/socket.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <system_error>

#include "base/clock.h"

namespace fastserve::perf {

namespace {

constexpr int kConnectTimeoutMs = 5000;

Status WaitUntilConnected(int fd) {
  pollfd waiting{fd, POLLOUT, 0};
  if (poll(&waiting, 1, kConnectTimeoutMs) == 0) return Status::Unavailable("no answer within 5 s");
  return SocketError(fd);
}

}  // namespace

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) close(fd_);
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) close(fd_);
}

std::string ErrnoText(int error) { return std::generic_category().message(error); }

std::int64_t MonotonicNs() { return SystemClock().NowNs(); }

Status SocketError(int fd) {
  int error = 0;
  socklen_t length = sizeof error;
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) error = errno;
  return error == 0 ? Status::Ok() : Status::Unavailable(ErrnoText(error));
}

Result<FileDescriptor> BeginConnect(const SocketAddress& address) {
  FileDescriptor fd(
      socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return Status::Unavailable("socket: " + ErrnoText(errno));
  const int one = 1;
  setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  const auto* generic = reinterpret_cast<const sockaddr*>(&address.storage);
  if (connect(fd.get(), generic, address.length) != 0 && errno != EINPROGRESS) {
    return Status::Unavailable(ErrnoText(errno));
  }
  return fd;
}

Result<SocketAddress> FindListeningAddress(const std::string& host, const std::string& port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const std::string where = "cannot connect to " + host + ":" + port + ": ";
  if (const int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &found); error != 0) {
    return Status::Unavailable(where + gai_strerror(error));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, &freeaddrinfo);
  Status last;
  for (const addrinfo* entry = found; entry != nullptr; entry = entry->ai_next) {
    SocketAddress address;
    address.length = entry->ai_addrlen;
    std::memcpy(&address.storage, entry->ai_addr, entry->ai_addrlen);
    Result<FileDescriptor> fd = BeginConnect(address);
    last = fd.ok() ? WaitUntilConnected(fd->get()) : fd.status();
    if (last.ok()) return address;
  }
  return Status::Unavailable(where + last.message());
}

}  // namespace fastserve::perf
