// The epoll loop: events, then what is due, then writing, then sleep.
#include "perf/load_loop.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>

#include "base/clock.h"
#include "perf/failure_text.h"

namespace fastserve::perf {

namespace {

constexpr std::uint64_t kTimerToken = ~std::uint64_t{0};
constexpr std::uint64_t kWakeToken = kTimerToken - 1;
constexpr std::int64_t kScanNs = 1'000'000;  // how exactly timeouts and abandoning are kept
constexpr std::int64_t kLateNs = 1'000'000;
constexpr std::size_t kScratchBytes = 256 * 1024;  // one read

Status Watch(int epoll_fd, int fd, std::uint64_t token) {
  epoll_event event{.events = EPOLLIN, .data = {.u64 = token}};
  if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0) return Status::Ok();
  return Status::Unavailable("epoll_ctl: " + ErrnoText(errno));
}

// Processor time of a thread; 0 when it has just ended.
std::int64_t CpuNs(clockid_t clock) {
  timespec used{};
  if (clock_gettime(clock, &used) != 0) return 0;
  return used.tv_sec * kNsPerSecond + used.tv_nsec;
}

}  // namespace

LoadLoop::LoadLoop(LoadOptions options, const SocketAddress& address, ErrorLog& errors)
    : options_(std::move(options)),
      address_(address),
      errors_(errors),
      schedule_(options_.arrival, options_.request_rate, options_.seed),
      random_(options_.seed) {}

LoadLoop::~LoadLoop() {
  BeginStop(0);
  Join();
}

Status LoadLoop::Start() {
  FASTSERVE_RETURN_IF_ERROR(Prepare());
  thread_ = std::thread([this] { Run(); });
  native_handle_ = thread_.native_handle();
  return Status::Ok();
}

Status LoadLoop::Prepare() {
  epoll_ = FileDescriptor(epoll_create1(EPOLL_CLOEXEC));
  timer_ = FileDescriptor(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  wake_ = FileDescriptor(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!epoll_.valid() || !timer_.valid() || !wake_.valid()) {
    return Status::Unavailable("cannot start the sending loop: " + ErrnoText(errno));
  }
  FASTSERVE_RETURN_IF_ERROR(Watch(epoll_.get(), timer_.get(), kTimerToken));
  FASTSERVE_RETURN_IF_ERROR(Watch(epoll_.get(), wake_.get(), kWakeToken));
  const ConnectionPool::Options pool{.address = address_,
                                     .load = &options_,
                                     .first = options_.connections,
                                     .limit = options_.max_connections,
                                     .epoll_fd = epoll_.get()};
  ConnectionOwner& owner = *this;
  pool_ = std::make_unique<ConnectionPool>(pool, owner, recorder_, errors_);
  scratch_.resize(kScratchBytes);
  return Status::Ok();
}

void LoadLoop::BeginStop(std::int64_t grace_ns) {
  if (!thread_.joinable() || stopping_.load(std::memory_order_relaxed)) return;
  give_up_ns_.store(MonotonicNs() + grace_ns, std::memory_order_relaxed);
  stopping_.store(true, std::memory_order_release);
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(wake_.get(), &one, sizeof one);
}

void LoadLoop::Join() {
  if (thread_.joinable()) thread_.join();
}

void LoadLoop::AddTo(LoadSnapshot* snapshot) const {
  recorder_.AddTo(snapshot);
  const std::int64_t next_ns = next_send_ns_.load(std::memory_order_relaxed);
  snapshot->overdue += schedule_.Overdue(next_ns, MonotonicNs());
  clockid_t clock = 0;
  if (finished()) {
    snapshot->cpu_ns += final_cpu_ns_.load(std::memory_order_relaxed);
  } else if (pthread_getcpuclockid(native_handle_, &clock) == 0) {
    snapshot->cpu_ns += CpuNs(clock);
  }
}

void LoadLoop::Run() {
  prctl(PR_SET_TIMERSLACK, 1);  // wake at the intended time, not 50 us later
  std::array<epoll_event, 128> events{};
  const std::int64_t start_ns = MonotonicNs();
  schedule_.Start(start_ns);
  if (options_.request_timeout_ns > 0 || options_.abandon_fraction > 0)
    next_scan_ns_ = start_ns + kScanNs;
  while (true) {
    const std::int64_t now_ns = MonotonicNs();
    if (Done(now_ns)) break;
    pool_->OpenDue(now_ns);
    SendDue();
    if (now_ns >= next_scan_ns_) Scan(now_ns);
    recorder_.SetInFlight(in_flight_);
    next_send_ns_.store(MayStart() ? schedule_.NextNs(now_ns) : kNever, std::memory_order_relaxed);
    ArmTimer(now_ns);
    const int count = epoll_wait(epoll_.get(), events.data(), events.size(), -1);
    for (int i = 0; i < count; ++i) HandleEvent(events[i].data.u64, events[i].events);
  }
  pool_->ForEach([this](Connection* connection) {
    while (Exchange* exchange = connection->TakeUnfinished()) {
      recorder_.Count(LoadCounter::abandoned);
      Release(exchange);
    }
  });
  recorder_.SetInFlight(0);
  next_send_ns_.store(kNever, std::memory_order_relaxed);
  final_cpu_ns_.store(CpuNs(CLOCK_THREAD_CPUTIME_ID), std::memory_order_relaxed);
  // Release: pairs with finished(); the last counts are visible to who sees it.
  finished_.store(true, std::memory_order_release);
}

bool LoadLoop::Done(std::int64_t now_ns) const {
  const bool all_started = options_.max_requests > 0 && started_requests_ >= options_.max_requests;
  // Acquire: pairs with BeginStop.
  const bool stopping = stopping_.load(std::memory_order_acquire);
  if (in_flight_ == 0) return all_started || stopping;
  return stopping && now_ns >= give_up_ns_.load(std::memory_order_relaxed);
}

void LoadLoop::HandleEvent(std::uint64_t token, std::uint32_t events) {
  if (token == kTimerToken || token == kWakeToken) {
    std::uint64_t ignored = 0;
    const int fd = token == kTimerToken ? timer_.get() : wake_.get();
    [[maybe_unused]] const ssize_t size = read(fd, &ignored, sizeof ignored);
    if (token == kTimerToken) armed_ns_ = kNever;
    return;
  }
  Connection* connection = pool_->Find(token);
  if (connection == nullptr) return;
  AfterEvent(connection, connection->OnEvents(events, &scratch_));
  SendDue();
}

void LoadLoop::AfterEvent(Connection* connection, const Status& status) {
  if (!status.ok()) {
    Break(connection, status);
  } else if (connection->Ended() && connection->Idle()) {
    pool_->Update(connection);
    pool_->Replace(connection, MonotonicNs(), false);
    pool_->OpenDue(MonotonicNs());
  } else {
    pool_->Update(connection);
    pool_->List(connection);
  }
}

bool LoadLoop::MaySend() const { return in_flight_ < options_.concurrency && MayStart(); }

bool LoadLoop::MayStart() const {
  if (stopping_.load(std::memory_order_relaxed)) return false;
  return options_.max_requests == 0 || started_requests_ < options_.max_requests;
}

void LoadLoop::SendDue() {
  std::int64_t now_ns = MonotonicNs();
  while (MaySend() && schedule_.NextNs(now_ns) <= now_ns) {
    Connection* connection = pool_->TakeWithRoom(now_ns);
    if (connection == nullptr) break;
    SendOn(connection, schedule_.NextNs(now_ns), now_ns);
    schedule_.Advance();
    pool_->List(connection);
  }
  FlushUsed();
}

void LoadLoop::SendOn(Connection* connection, std::int64_t intended_ns, std::int64_t now_ns) {
  Exchange* exchange = NewExchange();
  exchange->intended_ns = intended_ns;
  exchange->begin_ns = now_ns;
  exchange->request = &(*options_.requests)[next_request_];
  next_request_ = (next_request_ + 1) % options_.requests->size();
  std::uniform_real_distribution<double> uniform(0, 1);
  if (options_.abandon_fraction > 0 && uniform(random_) < options_.abandon_fraction) {
    const double wait_ns = uniform(random_) * static_cast<double>(options_.abandon_within_ns);
    exchange->abandon_ns = now_ns + static_cast<std::int64_t>(wait_ns);
  }
  ++in_flight_;
  ++started_requests_;
  recorder_.Count(LoadCounter::sent);
  if (now_ns - intended_ns > kLateNs) recorder_.Count(LoadCounter::late);
  connection->Submit(exchange);
  used_.push_back(connection);
}

void LoadLoop::FlushUsed() {
  while (!used_.empty()) {
    Connection* connection = used_.back();
    std::erase(used_, connection);  // it may carry several of the new requests
    const Status status = connection->Flush();
    if (status.ok()) {
      pool_->Update(connection);
    } else {
      Break(connection, status);
    }
  }
}

void LoadLoop::Break(Connection* connection, const Status& status, bool blameless) {
  bool lost = false;
  while (Exchange* exchange = connection->TakeUnfinished()) {
    lost = true;
    Record(exchange, status);
    Release(exchange);
  }
  if (!connection->connected()) {
    errors_.Add("connecting: " + status.message());
    recorder_.Count(LoadCounter::refused);
  }
  if (lost) recorder_.Count(LoadCounter::broken);
  pool_->Replace(connection, MonotonicNs(), blameless);
}

void LoadLoop::OnFinished(Exchange* exchange, const Status& status) {
  Connection* connection = exchange->connection;
  connection->pool.answered = status.ok();
  Record(exchange, status);
  Release(exchange);
  pool_->List(connection);
}

void LoadLoop::Record(Exchange* exchange, const Status& status) {
  const std::int64_t now_ns = MonotonicNs();
  const std::string failure = status.ok() ? FailureText(options_, *exchange) : status.message();
  if (!failure.empty()) {
    recorder_.Count(LoadCounter::failed);
    if (status.ok() && IsSuccess(options_, *exchange)) recorder_.Count(LoadCounter::mismatched);
    errors_.Add(failure);
    return;
  }
  recorder_.Count(LoadCounter::completed);
  recorder_.RecordLatency(now_ns - exchange->intended_ns);
  if (exchange->written_ns != 0)
    recorder_.Count(LoadCounter::send_ns, exchange->written_ns - exchange->begin_ns);
  if (exchange->first_byte_ns != 0)
    recorder_.Count(LoadCounter::receive_ns, now_ns - exchange->first_byte_ns);
}

void LoadLoop::Scan(std::int64_t now_ns) {
  next_scan_ns_ = now_ns + kScanNs;
  for (Exchange& exchange : exchanges_) {
    if (exchange.connection == nullptr) continue;
    const bool timed_out = options_.request_timeout_ns > 0 &&
                           now_ns - exchange.begin_ns >= options_.request_timeout_ns;
    const bool abandoned = exchange.abandon_ns != 0 && now_ns >= exchange.abandon_ns;
    if (timed_out || abandoned) GiveUp(&exchange, !abandoned);
  }
}

void LoadLoop::GiveUp(Exchange* exchange, bool timed_out) {
  Connection* connection = exchange->connection;
  recorder_.Count(timed_out ? LoadCounter::failed : LoadCounter::abandoned);
  if (timed_out) {
    recorder_.Count(LoadCounter::timed_out);
    errors_.Add("no answer within the request timeout");
  }
  const Status status = connection->Abandon(exchange);
  Release(exchange);
  if (status.ok()) {
    pool_->Update(connection);
    pool_->List(connection);
  } else {
    Break(connection, status, true);
  }
}

void LoadLoop::ArmTimer(std::int64_t now_ns) {
  std::int64_t wanted = std::min(next_scan_ns_, pool_->NextOpenNs());
  if (!schedule_.closed_loop()) {
    const std::int64_t next_ns = schedule_.NextNs(now_ns);
    // An overdue request waits for a connection to have room, which is an event.
    if (next_ns > now_ns && MaySend()) wanted = std::min(wanted, next_ns);
  }
  if (stopping_.load(std::memory_order_acquire)) {
    wanted = std::min(wanted, give_up_ns_.load(std::memory_order_relaxed));
  }
  if (wanted == armed_ns_) return;
  armed_ns_ = wanted;
  itimerspec when{};
  if (wanted != kNever) {
    const std::int64_t at_ns = std::max<std::int64_t>(wanted, 1);
    when.it_value = {.tv_sec = at_ns / kNsPerSecond, .tv_nsec = at_ns % kNsPerSecond};
  }
  timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &when, nullptr);
}

Exchange* LoadLoop::NewExchange() {
  if (idle_exchanges_.empty()) return &exchanges_.emplace_back();
  Exchange* exchange = idle_exchanges_.back();
  idle_exchanges_.pop_back();
  return exchange;
}

void LoadLoop::Release(Exchange* exchange) {
  --in_flight_;
  exchange->connection = nullptr;
  exchange->written_ns = exchange->first_byte_ns = exchange->abandon_ns = 0;
  exchange->http_status = 0;
  exchange->grpc_status = -1;
  exchange->grpc_message.clear();
  exchange->written = 0;
  idle_exchanges_.push_back(exchange);
}

}  // namespace fastserve::perf
