// Non-blocking TCP for the load generator: names to addresses, connecting, descriptors that close
// themselves.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <utility>

#include "base/status.h"

namespace fastserve::perf {

// Owns a descriptor.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  ~FileDescriptor();

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;
};

// The first address of host:port that accepts a connection. Blocks (name look-up, connecting).
// Errors: Unavailable with the reason of the last address tried.
Result<SocketAddress> FindListeningAddress(const std::string& host, const std::string& port);

// Begins to connect; writable means connected or failed (then SocketError says why).
Result<FileDescriptor> BeginConnect(const SocketAddress& address);

// Pending error of a socket as text; OK when there is none.
Status SocketError(int fd);

// Text of an errno value, such as "Connection refused".
std::string ErrnoText(int error);

// CLOCK_MONOTONIC in nanoseconds.
std::int64_t MonotonicNs();

}  // namespace fastserve::perf
