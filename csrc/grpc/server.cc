#include "grpc/server.h"

#include <algorithm>

#include "grpc/grpc_io_thread.h"
#include "grpc/grpc_listener.h"

namespace fastserve {

Result<std::unique_ptr<GrpcServer>> GrpcServer::Create(Engine* engine, AdminHandler* admin,
                                                       GrpcServerOptions options) {
  std::unique_ptr<GrpcServer> server(new GrpcServer(engine, admin, std::move(options)));
  const GrpcListenOptions listen{server->options_.address, server->options_.port,
                                 server->options_.reuse_port};
  FASTSERVE_ASSIGN_OR_RETURN(
      server->listener_,
      GrpcListener::Create(listen, [raw = server.get()](int fd) { raw->Adopt(fd); }));
  server->port_ = server->listener_->port();
  return server;
}

GrpcServer::GrpcServer(Engine* engine, AdminHandler* admin, GrpcServerOptions options)
    : options_(std::move(options)) {
  for (int i = 0; i < std::max(1, options_.thread_count); ++i) {
    threads_.push_back(
        std::make_unique<GrpcIoThread>(engine, admin, options_, [this] { OnConnectionRemoved(); }));
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
  const Clock& clock = SystemClock();
  const std::int64_t end_ns = clock.NowNs() + timeout_ns;
  MutexLock lock(removed_mutex_);
  while (connections() > 0) {
    const std::int64_t left_ns = end_ns - clock.NowNs();
    if (left_ns <= 0) return false;
    removed_.WaitFor(removed_mutex_, left_ns);
  }
  return true;
}

void GrpcServer::OnConnectionRemoved() {
  MutexLock lock(removed_mutex_);
  removed_.NotifyAll();
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
