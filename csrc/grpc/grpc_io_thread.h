// One thread of the gRPC front end: an epoll loop over its connections. In each turn it reads what
// arrived, submits the requests, lends itself to the engine, and writes the answers: a cheap model
// needs no thread switch. While it sleeps, a thread that has completed a batch may stand in for it
// and write the answers (GrpcCompletions).
#pragma once

#include <sys/epoll.h>

#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "concurrency/worker_thread.h"
#include "engine/engine.h"
#include "grpc/grpc_completions.h"
#include "grpc/grpc_connection.h"
#include "grpc/kserve_service.h"

namespace fastserve {

// Created and destroyed by the server. Everything but the public functions is called with the turn
// held, by the thread itself but for StandIn.
class GrpcIoThread final : private GrpcConnectionOwner, private GrpcLoop {
 public:
  // `on_removed` is called, on the thread, after a connection is gone.
  GrpcIoThread(Engine* engine, AdminHandler* admin, const GrpcServerOptions& options,
               std::function<void()> on_removed);
  ~GrpcIoThread() override;

  // Any thread.
  void Adopt(int fd);
  void Drain();
  // How many calls and connections it has; hints for choosing a thread.
  std::size_t open_calls() const { return open_calls_.load(std::memory_order_relaxed); }
  std::size_t connections() const { return connection_count_.load(std::memory_order_relaxed); }

 private:
  void Run();
  void WaitAndHandleEvents() REQUIRES(completions_->turn());
  int WaitMs();
  void HandleEvents(std::span<const epoll_event> events);
  void StandIn() override REQUIRES(completions_->turn());
  void FlushScheduled();
  void RemoveClosed();
  void AddConnection(int fd);
  void DrainConnections();
  void RemoveConnection(GrpcConnection* connection);

  void ScheduleFlush(GrpcConnection* connection) override;
  void WatchWritable(GrpcConnection* connection, bool watch) override;
  GrpcCall* TakeCall() override;
  void GiveBackCall(GrpcCall* call) override;
  const GrpcCallContext& call_context() const override { return context_; }

  const GrpcServerOptions& options_;
  const std::function<void()> on_removed_;
  const std::shared_ptr<GrpcCompletions> completions_;
  const int epoll_fd_;
  TimeoutHeap timeouts_;
  Lender lender_;
  KserveService service_;
  GrpcCallContext context_;
  std::vector<std::unique_ptr<GrpcCall>> calls_;  // all that were ever made
  std::vector<GrpcCall*> free_calls_;
  std::vector<std::unique_ptr<GrpcConnection>> connections_;
  std::vector<GrpcConnection*> to_flush_;
  std::vector<GrpcConnection*> flushing_;
  std::vector<GrpcConnection*> closed_;
  std::vector<std::byte> buffer_;
  std::int64_t sleeps_until_ns_ = 0;
  bool draining_ = false;
  bool stopping_ = false;
  // Statistics read by the listener; nothing is ordered by them.
  std::atomic<std::size_t> open_calls_{0};
  std::atomic<std::size_t> connection_count_{0};
  WorkerThread thread_;  // last: starts when everything above exists
};

}  // namespace fastserve
