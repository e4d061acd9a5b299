#include "grpc/grpc_listener.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "base/log.h"

namespace fastserve {

namespace {

constexpr int kBacklog = 1024;
constexpr int kPauseMs = 100;  // when there are no descriptors left

struct AddressListDeleter {
  void operator()(addrinfo* list) const { freeaddrinfo(list); }
};
using AddressList = std::unique_ptr<addrinfo, AddressListDeleter>;

Result<AddressList> Resolve(const GrpcListenOptions& options) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int error =
      getaddrinfo(options.address.c_str(), std::to_string(options.port).c_str(), &hints, &list);
  if (error != 0) {
    return Status::InvalidArgument("gRPC address '" + options.address +
                                   "' cannot be used: " + gai_strerror(error));
  }
  return AddressList(list);
}

void SetOption(int fd, int level, int name) {
  const int on = 1;
  setsockopt(fd, level, name, &on, sizeof on);
}

Status BindAndListen(int fd, const addrinfo& address, const GrpcListenOptions& options) {
  SetOption(fd, SOL_SOCKET, SO_REUSEADDR);
  if (options.reuse_port) SetOption(fd, SOL_SOCKET, SO_REUSEPORT);
  if (bind(fd, address.ai_addr, address.ai_addrlen) == 0 && listen(fd, kBacklog) == 0)
    return Status::Ok();
  return Status::Unavailable("failed to listen for gRPC on " + options.address + ":" +
                             std::to_string(options.port) + ": " + std::strerror(errno));
}

int BoundPort(int fd) {
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size) != 0) return 0;
  const in_port_t port = bound.ss_family == AF_INET6
                             ? reinterpret_cast<const sockaddr_in6*>(&bound)->sin6_port
                             : reinterpret_cast<const sockaddr_in*>(&bound)->sin_port;
  return ntohs(port);
}

bool OutOfDescriptors(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

}  // namespace

Result<std::unique_ptr<GrpcListener>> GrpcListener::Create(const GrpcListenOptions& options,
                                                           std::function<void(int)> adopt) {
  FASTSERVE_ASSIGN_OR_RETURN(const AddressList addresses, Resolve(options));
  const int fd = socket(addresses->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0)
    return Status::Unavailable(std::string("no socket for gRPC: ") + std::strerror(errno));
  if (Status status = BindAndListen(fd, *addresses, options); !status.ok()) {
    close(fd);
    return status;
  }
  return std::unique_ptr<GrpcListener>(new GrpcListener(fd, BoundPort(fd), std::move(adopt)));
}

GrpcListener::GrpcListener(int fd, int port, std::function<void(int)> adopt)
    : fd_(fd), port_(port), stop_fd_(eventfd(0, EFD_CLOEXEC)), adopt_(std::move(adopt)) {
  thread_ = std::thread([this] { Run(); });
  pthread_setname_np(thread_.native_handle(), "fs-grpc-accept");
}

GrpcListener::~GrpcListener() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(stop_fd_, &one, sizeof one);
  thread_.join();
  close(fd_);
  close(stop_fd_);
}

void GrpcListener::Run() {
  bool paused = false;
  for (;;) {
    // While paused only the order to stop is watched (a negative descriptor is skipped by poll).
    std::array<pollfd, 2> polled = {{{stop_fd_, POLLIN, 0}, {paused ? -1 : fd_, POLLIN, 0}}};
    if (poll(polled.data(), polled.size(), paused ? kPauseMs : -1) < 0 && errno != EINTR) return;
    if (polled[0].revents != 0) return;
    const bool was_paused = paused;
    paused = !AcceptAll();
    if (paused && !was_paused) LOG_WARNING("gRPC: no file descriptors left, connections wait");
  }
}

bool GrpcListener::AcceptAll() {
  for (;;) {
    const int fd = accept4(fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      return !OutOfDescriptors(errno);
    }
    SetOption(fd, IPPROTO_TCP, TCP_NODELAY);
    adopt_(fd);
  }
}

}  // namespace fastserve
