#include "cache/redis_cache.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "cache/response_wire.h"
#include "concurrency/delivery_scope.h"

namespace fastserve {

namespace {

// What may wait for Redis: beyond it a lookup finds nothing and an insertion is left out.
constexpr std::size_t kMostCommands = 4096;
constexpr std::size_t kMostValueBytes = std::size_t{64} << 20;
// Of the deadline: what takes longer to send would end the connection, for everybody.
constexpr std::int64_t kValueBytesPerMs = 40 << 10;
constexpr std::string_view kNamePrefix = "fastserve:1:";

}  // namespace

RedisCache::RedisCache(RedisOptions options, const Clock& clock)
    : options_(std::move(options)),
      clock_(clock),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      wake_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
      connection_(options_, epoll_, this) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = nullptr;  // the connection's is not null
  epoll_ctl(epoll_, EPOLL_CTL_ADD, wake_, &event);
  thread_ = WorkerThread("fs-redis", [this] { Loop(); });
}

RedisCache::~RedisCache() {
  Stop();
  close(epoll_);
  close(wake_);
}

RequestKey RedisCache::KeyOf(const CacheScope& scope, const InferRequest& request) const {
  return KeyAcrossServers(scope, request);
}

bool RedisCache::StartLookup(const RequestKey& key,
                             const std::shared_ptr<LookupObserver>& observer) {
  return Enqueue({key, observer, {}, 0});
}

void RedisCache::Insert(const RequestKey& key, const InferResponse& response) {
  if (!connected() || TensorBytes(response) > most_value_bytes()) return;
  Result<std::string> value = SerializeResponse(response);
  if (value.ok()) Enqueue({key, nullptr, std::move(*value), 0});
}

std::size_t RedisCache::most_value_bytes() const {
  const std::int64_t deadline_ms = std::clamp<std::int64_t>(options_.deadline_ms, 0, 1 << 20);
  return std::min(kMostValueBytes, static_cast<std::size_t>(deadline_ms * kValueBytesPerMs));
}

void RedisCache::Stop() {
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
    connected_ = false;
  }
  Poke();
  thread_.Join();
}

bool RedisCache::connected() const {
  const MutexLock lock(mutex_);
  return connected_;
}

bool RedisCache::stopping() const {
  const MutexLock lock(mutex_);
  return stopping_;
}

void RedisCache::Poke() {
  const std::uint64_t one = 1;
  // Fails only when the counter is full, and then the thread is awake.
  [[maybe_unused]] const ssize_t written = write(wake_, &one, sizeof(one));
}

std::string RedisCache::NameOf(const RequestKey& key) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string name(kNamePrefix);
  for (const std::uint64_t word : key.words) {
    for (int shift = 60; shift >= 0; shift -= 4) name += kDigits[word >> shift & 0xf];
  }
  return name;
}

bool RedisCache::Enqueue(Command command) {
  const std::size_t bytes = command.value.size();
  command.deadline_ns = clock_.NowNs() + options_.deadline_ms * kNsPerMs;
  bool was_empty = false;
  {
    const MutexLock lock(mutex_);
    if (!connected_ || waiting_commands_ >= kMostCommands ||
        bytes > most_value_bytes() - waiting_bytes_) {
      return false;
    }
    ++waiting_commands_;
    waiting_bytes_ += bytes;
    was_empty = queued_.empty();
    queued_.push_back(std::move(command));
  }
  if (was_empty) Poke();
  return true;
}

void RedisCache::Loop() {
  while (!stopping()) {
    // Answers of one round wake each receiver once.
    const DeliveryScope delivery;
    ConnectWhenDue();
    SendQueued();
    DropLate();
    WaitForEvents();
  }
  Disconnect("the server stops");
  OnLost("the server stops");  // ends what was queued without a connection
}

void RedisCache::ConnectWhenDue() {
  const std::int64_t now_ns = clock_.NowNs();
  if (connection_.open()) {
    if (connect_until_ns_ == 0 || now_ns < connect_until_ns_) return;
    Disconnect("no connection within " + std::to_string(options_.connect_timeout_ms) +
               " ms (connect_timeout)");
  } else if (now_ns >= connect_at_ns_) {
    connect_until_ns_ = now_ns + options_.connect_timeout_ms * kNsPerMs;
    connection_.Connect();
  }
}

void RedisCache::SendQueued() {
  std::vector<Command> commands;
  {
    const MutexLock lock(mutex_);
    commands.swap(queued_);
  }
  for (Command& command : commands) {
    const std::string name = NameOf(command.key);
    const bool is_lookup = command.observer != nullptr;
    // Sending only fills a buffer: no answer arrives before the command is in sent_.
    if (is_lookup ? connection_.Get(name) : connection_.Set(name, command.value)) {
      sent_.push_back(std::move(command));
    } else {
      Finish(command, nullptr);
    }
  }
}

void RedisCache::Disconnect(const std::string& reason) {
  {
    const MutexLock lock(mutex_);
    connected_ = false;
  }
  connection_.Close(reason);
}

void RedisCache::DropLate() {
  if (sent_.empty() || clock_.NowNs() < sent_.front().deadline_ns) return;
  Disconnect("no answer within " + std::to_string(options_.deadline_ms) + " ms (socket_timeout)");
}

std::int64_t RedisCache::NextDeadlineNs() const {
  if (!connection_.open()) return connect_at_ns_;
  if (connect_until_ns_ != 0) return connect_until_ns_;
  return sent_.empty() ? std::numeric_limits<std::int64_t>::max() : sent_.front().deadline_ns;
}

void RedisCache::WaitForEvents() {
  const std::int64_t wait_ns = NextDeadlineNs() - clock_.NowNs();
  constexpr std::int64_t kLongestWaitMs = 60'000;
  // Rounded up: waking a moment early would only mean another round.
  const std::int64_t wait_ms = std::clamp<std::int64_t>(wait_ns / kNsPerMs + 1, 0, kLongestWaitMs);
  std::array<epoll_event, 4> events;
  const int count = epoll_wait(epoll_, events.data(), events.size(),
                               wait_ns <= 0 ? 0 : static_cast<int>(wait_ms));
  for (int i = 0; i < count; ++i) {
    if (events[i].data.ptr != nullptr) {
      connection_.HandleEvents(events[i].events);
    } else {
      std::uint64_t wakes = 0;
      [[maybe_unused]] const ssize_t taken = read(wake_, &wakes, sizeof(wakes));
    }
  }
}

void RedisCache::Finish(const Command& command, CachedResponse response) {
  {
    const MutexLock lock(mutex_);
    --waiting_commands_;
    waiting_bytes_ -= command.value.size();
  }
  if (command.observer != nullptr) command.observer->OnLookup(std::move(response));
}

void RedisCache::OnReady() {
  connect_until_ns_ = 0;
  reported_lost_ = false;
  reported_error_ = false;
  {
    const MutexLock lock(mutex_);
    connected_ = !stopping_;
  }
  LOG_INFO("response cache: connected to Redis at " + options_.host + ":" +
           std::to_string(options_.port));
}

void RedisCache::OnLost(const std::string& reason) {
  std::vector<Command> unsent;
  bool ending = false;
  {
    const MutexLock lock(mutex_);
    connected_ = false;
    unsent.swap(queued_);
    ending = stopping_;
  }
  connect_at_ns_ = clock_.NowNs() + reconnect_delay_.Next();
  connect_until_ns_ = 0;
  for (const Command& command : unsent) Finish(command, nullptr);
  if (ending || std::exchange(reported_lost_, true)) return;
  LOG_WARNING("response cache: no connection to Redis at " + options_.host + ":" +
              std::to_string(options_.port) + ": " + reason +
              "; nothing is found in the cache until there is one");
}

void RedisCache::OnAnswer(std::optional<std::span<const std::byte>> value, std::string_view error) {
  if (sent_.empty()) return;
  const Command command = std::move(sent_.front());
  sent_.pop_front();
  // Not on connecting: a server that answers too late would be connected to ten times a second.
  if (clock_.NowNs() < command.deadline_ns) reconnect_delay_.Reset();
  CachedResponse response;
  std::string complaint(error);
  if (value && command.observer != nullptr) {
    Result<CachedResponse> parsed = ParseResponse(*value);
    if (parsed.ok()) {
      response = std::move(*parsed);
    } else {
      complaint = parsed.status().message();
    }
  }
  Finish(command, std::move(response));
  if (complaint.empty() || std::exchange(reported_error_, true)) return;
  LOG_WARNING("response cache: Redis at " + options_.host + ":" + std::to_string(options_.port) +
              " works only in part: " + complaint);
}

}  // namespace fastserve
