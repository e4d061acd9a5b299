#include "grpc/grpc_io_thread.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <limits>

#include "base/clock.h"

namespace fastserve {

namespace {

constexpr std::size_t kReadBytes = 256 * 1024;

void Watch(int epoll_fd, int operation, int fd, std::uint32_t events, void* user) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = user;
  epoll_ctl(epoll_fd, operation, fd, &event);
}

}  // namespace

GrpcIoThread::GrpcIoThread(Engine* engine, AdminHandler* admin, const GrpcServerOptions& options,
                           std::function<void()> on_removed)
    : options_(options),
      on_removed_(std::move(on_removed)),
      completions_(std::make_shared<GrpcCompletions>()),
      epoll_fd_(epoll_create1(EPOLL_CLOEXEC)),
      service_({engine, &lender_, admin, completions_}),
      buffer_(kReadBytes) {
  context_.service = &service_;
  context_.timeouts = &timeouts_;
  context_.clock = &engine->clock();
  context_.limits = {options.max_message_bytes, engine->byte_budget().get()};
  context_.max_header_list_bytes = options.http2.max_header_list_bytes;
  context_.response_compression = options.response_compression;
  // A null user pointer stands for the wake descriptor.
  Watch(epoll_fd_, EPOLL_CTL_ADD, completions_->wake_fd(), EPOLLIN, nullptr);
  thread_ = WorkerThread("fs-grpc", [this] { Run(); });
}

GrpcIoThread::~GrpcIoThread() {
  completions_->Push(MakeGrpcTask([this] { stopping_ = true; }));
  thread_.Join();
  close(epoll_fd_);
}

void GrpcIoThread::Adopt(int fd) {
  connection_count_.fetch_add(1, std::memory_order_relaxed);
  completions_->Push(MakeGrpcTask([this, fd] { AddConnection(fd); }));
}

void GrpcIoThread::Drain() {
  completions_->Push(MakeGrpcTask([this] { DrainConnections(); }));
}

void GrpcIoThread::Run() {
  const MutexLock turn(completions_->turn());
  completions_->BindToThisThread(this);
  while (!stopping_) {
    WaitAndHandleEvents();
    lender_.Run();
    completions_->RunAll();
    timeouts_.FireDue(context_.clock->NowNs());
    FlushScheduled();
    RemoveClosed();
  }
  for (auto& connection : connections_) connection->Flush();
  connections_.clear();
  completions_->Close();
}

void GrpcIoThread::WaitAndHandleEvents() {
  constexpr int kMaxEvents = 256;
  std::array<epoll_event, kMaxEvents> events;
  const int wait_ms = WaitMs();
  completions_->turn().Unlock();
  const int count = epoll_wait(epoll_fd_, events.data(), kMaxEvents, wait_ms);
  completions_->turn().Lock();
  if (count > 0) HandleEvents(std::span(events).first(static_cast<std::size_t>(count)));
}

int GrpcIoThread::WaitMs() {
  sleeps_until_ns_ = 0;
  if (!to_flush_.empty() || !completions_->PrepareToSleep()) return 0;
  sleeps_until_ns_ = timeouts_.next_deadline_ns();
  if (sleeps_until_ns_ == TimeoutHeap::kNever) return -1;
  const std::int64_t wait_ns = sleeps_until_ns_ - context_.clock->NowNs();
  if (wait_ns <= 0) return 0;
  constexpr std::int64_t kMaxMs = std::numeric_limits<int>::max();
  return static_cast<int>(std::min(kMaxMs, (wait_ns + kNsPerMs - 1) / kNsPerMs));
}

// One round only: the caller has batches to run. What it leaves is the thread's own: connections to
// remove (events that name them may be on their way), requests for the lender, earlier timeouts.
void GrpcIoThread::StandIn() {
  completions_->RunAll();
  FlushScheduled();
  const bool all_done = to_flush_.empty() && closed_.empty() && lender_.empty() && !stopping_ &&
                        timeouts_.next_deadline_ns() >= sleeps_until_ns_;
  if (!completions_->PrepareToSleep() || !all_done) completions_->Interrupt();
}

void GrpcIoThread::HandleEvents(std::span<const epoll_event> events) {
  for (const epoll_event& event : events) {
    auto* connection = static_cast<GrpcConnection*>(event.data.ptr);
    if (connection == nullptr) {
      completions_->ClearWake();
      continue;
    }
    if ((event.events & EPOLLOUT) != 0) ScheduleFlush(connection);
    if ((event.events & ~static_cast<std::uint32_t>(EPOLLOUT)) != 0 && !connection->closed()) {
      connection->OnReadable(buffer_);
    }
  }
}

void GrpcIoThread::FlushScheduled() {
  // Flushing may schedule again (a stream closed inside it): those wait for the next turn.
  flushing_.swap(to_flush_);
  for (GrpcConnection* connection : flushing_) {
    connection->flush_scheduled = false;
    connection->Flush();
    if (connection->closed() && !connection->flush_scheduled) {
      connection->flush_scheduled = true;  // in one list only
      closed_.push_back(connection);
    }
  }
  flushing_.clear();
  open_calls_.store(calls_.size() - free_calls_.size(), std::memory_order_relaxed);
}

void GrpcIoThread::RemoveClosed() {
  for (GrpcConnection* connection : closed_) RemoveConnection(connection);
  closed_.clear();
}

void GrpcIoThread::AddConnection(int fd) {
  GrpcConnectionOwner* owner = this;
  auto connection = std::make_unique<GrpcConnection>(fd, options_, owner);
  connection->index = connections_.size();
  Watch(epoll_fd_, EPOLL_CTL_ADD, fd, EPOLLIN, connection.get());
  if (draining_) connection->Drain();
  connections_.push_back(std::move(connection));
}

void GrpcIoThread::DrainConnections() {
  draining_ = true;
  for (auto& connection : connections_) connection->Drain();
}

void GrpcIoThread::RemoveConnection(GrpcConnection* connection) {
  epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, connection->fd(), nullptr);
  const std::size_t index = connection->index;
  const std::unique_ptr<GrpcConnection> removed = std::move(connections_[index]);
  if (index + 1 != connections_.size()) {
    connections_[index] = std::move(connections_.back());
    connections_[index]->index = index;
  }
  connections_.pop_back();
  connection_count_.fetch_sub(1, std::memory_order_relaxed);
  on_removed_();
}

void GrpcIoThread::ScheduleFlush(GrpcConnection* connection) {
  if (connection->flush_scheduled) return;
  connection->flush_scheduled = true;
  to_flush_.push_back(connection);
}

void GrpcIoThread::WatchWritable(GrpcConnection* connection, bool watch) {
  const std::uint32_t events = watch ? EPOLLIN | EPOLLOUT : EPOLLIN;
  Watch(epoll_fd_, EPOLL_CTL_MOD, connection->fd(), events, connection);
}

GrpcCall* GrpcIoThread::TakeCall() {
  if (free_calls_.empty()) {
    calls_.push_back(std::make_unique<GrpcCall>(&context_));
    return calls_.back().get();
  }
  GrpcCall* call = free_calls_.back();
  free_calls_.pop_back();
  return call;
}

void GrpcIoThread::GiveBackCall(GrpcCall* call) { free_calls_.push_back(call); }

}  // namespace fastserve
