// Splits a load over sending threads.
#include "perf/load_generator.h"

#include <sys/epoll.h>

#include <algorithm>
#include <optional>

#include "perf/failure_text.h"

namespace fastserve::perf {

namespace {

// The part of `total` that thread `index` of `threads` takes; the first threads take the remainder.
template <typename Number>
Number Share(Number total, int index, int threads) {
  return total / threads + (index < total % threads ? 1 : 0);
}

Status Validate(const LoadOptions& options) {
  if (options.requests == nullptr || options.requests->empty())
    return Status::InvalidArgument("there is no request to send");
  if (options.threads < 1 || options.concurrency < 1 || options.connections < 1) {
    return Status::InvalidArgument("threads, concurrency and connections must be at least 1");
  }
  if (options.arrival != Arrival::kClosedLoop && !(options.request_rate > 0)) {
    return Status::InvalidArgument("the request rate must be greater than 0");
  }
  if (options.protocol == Protocol::kGrpc && options.grpc_path.empty()) {
    return Status::InvalidArgument("gRPC needs the path of a method");
  }
  return Status::Ok();
}

LoadOptions ThreadOptions(const LoadOptions& options, int index, int threads) {
  LoadOptions share = options;
  share.threads = 1;
  share.concurrency = Share(options.concurrency, index, threads);
  share.connections = std::max(1, Share(options.connections, index, threads));
  share.max_connections =
      std::max(share.connections, Share(options.max_connections, index, threads));
  share.max_requests = Share<std::int64_t>(options.max_requests, index, threads);
  share.request_rate = options.request_rate / threads;
  share.seed = options.seed + static_cast<std::uint64_t>(index);
  return share;
}

// Waits for the one exchange of CallOnce.
class OneCall : public ConnectionOwner {
 public:
  void OnFinished(Exchange* exchange, const Status& status) override { status_ = status; }

  Status Run(const LoadOptions& options, const SocketAddress& address, Exchange* exchange) {
    FASTSERVE_ASSIGN_OR_RETURN(const std::unique_ptr<Connection> connection,
                               NewConnection(address, options, *this));
    const FileDescriptor epoll(epoll_create1(EPOLL_CLOEXEC));
    epoll_event event{.events = EPOLLIN | EPOLLOUT, .data = {}};
    epoll_ctl(epoll.get(), EPOLL_CTL_ADD, connection->fd(), &event);
    std::string scratch(65536, '\0');
    const std::int64_t give_up_ns = MonotonicNs() + options.request_timeout_ns;
    while (!status_.has_value()) {
      const std::int64_t left_ms = (give_up_ns - MonotonicNs()) / 1'000'000;
      if (left_ms <= 0) return Status::Unavailable("no answer within the request timeout");
      if (epoll_wait(epoll.get(), &event, 1, static_cast<int>(left_ms)) <= 0) continue;
      FASTSERVE_RETURN_IF_ERROR(connection->OnEvents(event.events, &scratch));
      if (connection->HasRoom() && exchange->connection == nullptr) connection->Submit(exchange);
      FASTSERVE_RETURN_IF_ERROR(connection->Flush());
      event.events = connection->wants_write() ? EPOLLIN | EPOLLOUT : EPOLLIN;
      epoll_ctl(epoll.get(), EPOLL_CTL_MOD, connection->fd(), &event);
    }
    return *status_;
  }

 private:
  std::optional<Status> status_;
};

}  // namespace

Result<std::unique_ptr<LoadGenerator>> LoadGenerator::Start(const LoadOptions& options) {
  FASTSERVE_RETURN_IF_ERROR(Validate(options));
  FASTSERVE_ASSIGN_OR_RETURN(const SocketAddress address,
                             FindListeningAddress(options.host, options.port));
  std::unique_ptr<LoadGenerator> generator(new LoadGenerator);
  generator->beginning_.time_ns = MonotonicNs();
  const bool few = options.max_requests > 0 && options.max_requests < options.threads;
  const int threads = few ? 1 : std::min(options.threads, options.concurrency);
  for (int i = 0; i < threads; ++i) {
    auto loop =
        std::make_unique<LoadLoop>(ThreadOptions(options, i, threads), address, generator->errors_);
    FASTSERVE_RETURN_IF_ERROR(loop->Start());
    generator->loops_.push_back(std::move(loop));
  }
  return generator;
}

LoadSnapshot LoadGenerator::Snapshot() const {
  LoadSnapshot snapshot;
  for (const auto& loop : loops_) loop->AddTo(&snapshot);
  snapshot.time_ns = MonotonicNs();
  return snapshot;
}

bool LoadGenerator::finished() const {
  return std::all_of(loops_.begin(), loops_.end(),
                     [](const auto& loop) { return loop->finished(); });
}

void LoadGenerator::Stop(std::int64_t grace_ns) {
  for (const auto& loop : loops_) loop->BeginStop(grace_ns);
  for (const auto& loop : loops_) loop->Join();
}

Result<UnaryReply> CallOnce(const LoadOptions& options) {
  FASTSERVE_RETURN_IF_ERROR(Validate(options));
  FASTSERVE_ASSIGN_OR_RETURN(const SocketAddress address,
                             FindListeningAddress(options.host, options.port));
  Exchange exchange;
  exchange.request = &options.requests->front();
  exchange.keep_bytes = std::size_t{1} << 30;
  OneCall call;
  FASTSERVE_RETURN_IF_ERROR(call.Run(options, address, &exchange));
  if (exchange.grpc_status < 0) return Status::Unavailable(FailureText(options, exchange));
  return UnaryReply{exchange.grpc_status, DecodeGrpcMessage(exchange.grpc_message),
                    exchange.body.kept()};
}

}  // namespace fastserve::perf
