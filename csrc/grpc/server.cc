#include "grpc/server.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <thread>

#include "grpc/grpc_io_thread.h"
#include "grpc/grpc_listener.h"

namespace fastserve {

Result<std::unique_ptr<GrpcServer>> GrpcServer::Create(Engine* engine, AdminHandler* admin,
                                                       GrpcServerOptions options) {
  std::unique_ptr<GrpcServer> server(new GrpcServer(engine, admin, std::move(options)));
  const GrpcListenOptions listen{server->options_.address, server->options_.port, server->options_.reuse_port};
  FASTSERVE_ASSIGN_OR_RETURN(server->listener_,
                             GrpcListener::Create(listen, [raw = server.get()](int fd) { raw->Adopt(fd); }));
  server->port_ = server->listener_->port();
  return server;
}

GrpcServer::GrpcServer(Engine* engine, AdminHandler* admin, GrpcServerOptions options)
    : options_(std::move(options)),
      budget_(options_.max_receiving_bytes > 0 ? options_.max_receiving_bytes
                                               : std::numeric_limits<std::uint64_t>::max()) {
  for (int i = 0; i < std::max(1, options_.thread_count); ++i) {
    threads_.push_back(std::make_unique<GrpcIoThread>(engine, admin, options_, &budget_));
  }
}

GrpcServer::~GrpcServer() {
  listener_.reset();
  threads_.clear();
}

void GrpcServer::StopAccepting() {
  listener_.reset();
  for (auto& thread : threads_) thread->Drain();
}

bool GrpcServer::WaitDrained(std::int64_t timeout_ns) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::nanoseconds(timeout_ns);
  while (connections() > 0) {
    if (std::chrono::steady_clock::now() >= end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

std::size_t GrpcServer::connections() const {
  std::size_t count = 0;
  for (const auto& thread : threads_) count += thread->connections();
  return count;
}

void GrpcServer::Adopt(int fd) {
  const auto load = [](const std::unique_ptr<GrpcIoThread>& thread) {
    return std::pair(thread->open_calls(), thread->connections());
  };
  auto fewest = threads_.begin();
  for (auto thread = threads_.begin(); thread != threads_.end(); ++thread) {
    if (load(*thread) < load(*fewest)) fewest = thread;
  }
  (*fewest)->Adopt(fd);
}

}  // namespace fastserve
