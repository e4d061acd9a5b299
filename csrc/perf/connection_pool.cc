// Opening, finding and replacing the connections of one sending thread.
#include "perf/connection_pool.h"

#include <sys/epoll.h>

#include <algorithm>

namespace fastserve::perf {

namespace {

constexpr std::int64_t kFirstPauseNs = 10'000'000;     // 10 ms
constexpr std::int64_t kLongestPauseNs = 500'000'000;  // 0.5 s

constexpr int kTokenBits = 32;
std::uint64_t MakeToken(std::size_t index, std::uint32_t generation) {
  return (static_cast<std::uint64_t>(generation) << kTokenBits) | index;
}
std::size_t IndexOf(std::uint64_t token) { return token & 0xffffffffU; }

}  // namespace

ConnectionPool::ConnectionPool(const Options& options, ConnectionOwner& owner,
                               LoadRecorder& recorder, ErrorLog& errors)
    : options_(options), owner_(owner), recorder_(recorder), errors_(errors) {
  slots_.resize(static_cast<std::size_t>(std::max(1, options.first)));
  closed_ = slots_.size();
}

void ConnectionPool::OpenDue(std::int64_t now_ns) {
  if (closed_ == 0) return;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].connection == nullptr && slots_[i].open_ns <= now_ns) Open(i, now_ns);
  }
}

std::int64_t ConnectionPool::NextOpenNs() const {
  std::int64_t next = kNever;
  if (closed_ == 0) return next;
  for (const Slot& slot : slots_) {
    if (slot.connection == nullptr) next = std::min(next, slot.open_ns);
  }
  return next;
}

void ConnectionPool::Open(std::size_t index, std::int64_t now_ns) {
  Slot& slot = slots_[index];
  Result<std::unique_ptr<Connection>> opened =
      NewConnection(options_.address, *options_.load, owner_);
  if (!opened.ok()) {
    errors_.Add("connecting: " + opened.status().message());
    recorder_.Count(LoadCounter::refused);
    --closed_;
    CloseSlot(&slot, now_ns, true);
    return;
  }
  slot.connection = std::move(*opened);
  slot.connection->pool.token = MakeToken(index, ++slot.generation);
  slot.connection->pool.events = EPOLLIN | EPOLLOUT;
  epoll_event event{.events = slot.connection->pool.events,
                    .data = {.u64 = slot.connection->pool.token}};
  epoll_ctl(options_.epoll_fd, EPOLL_CTL_ADD, slot.connection->fd(), &event);
  --closed_;
  ++connecting_;
}

Connection* ConnectionPool::TakeWithRoom(std::int64_t now_ns) {
  while (!with_room_.empty()) {
    Connection* connection = with_room_.front();
    with_room_.pop_front();
    connection->pool.listed = false;
    if (connection->HasRoom()) return connection;
  }
  // One at a time: a burst of requests must not open a burst of connections.
  if (connecting_ == 0 && closed_ == 0 &&
      slots_.size() < static_cast<std::size_t>(options_.limit)) {
    slots_.emplace_back();
    ++closed_;
    Open(slots_.size() - 1, now_ns);
  }
  return nullptr;
}

void ConnectionPool::List(Connection* connection) {
  if (connection->pool.listed || !connection->HasRoom()) return;
  connection->pool.listed = true;
  with_room_.push_back(connection);
}

Connection* ConnectionPool::Find(std::uint64_t token) {
  const std::size_t index = IndexOf(token);
  if (index >= slots_.size() || slots_[index].connection == nullptr) return nullptr;
  Connection* connection = slots_[index].connection.get();
  return connection->pool.token == token ? connection : nullptr;
}

void ConnectionPool::Update(Connection* connection) {
  recorder_.Count(LoadCounter::sent_bytes, connection->TakeSentBytes());
  recorder_.Count(LoadCounter::received_bytes, connection->TakeReceivedBytes());
  if (connection->connected() && !connection->pool.counted) {
    connection->pool.counted = true;
    recorder_.Count(LoadCounter::connected);
    recorder_.SetConnections(++connected_);
    --connecting_;
  }
  const std::uint32_t wanted = connection->wants_write() ? EPOLLIN | EPOLLOUT : EPOLLIN;
  if (wanted == connection->pool.events) return;
  connection->pool.events = wanted;
  epoll_event event{.events = wanted, .data = {.u64 = connection->pool.token}};
  epoll_ctl(options_.epoll_fd, EPOLL_CTL_MOD, connection->fd(), &event);
}

void ConnectionPool::Replace(Connection* connection, std::int64_t now_ns, bool blameless) {
  if (connection->pool.counted) {
    recorder_.SetConnections(--connected_);
  } else {
    --connecting_;
  }
  if (connection->pool.listed) std::erase(with_room_, connection);
  Slot& slot = slots_[IndexOf(connection->pool.token)];
  if (connection->pool.answered) slot.pause_ns = 0;
  CloseSlot(&slot, now_ns, !blameless && !connection->pool.answered);
}

void ConnectionPool::CloseSlot(Slot* slot, std::int64_t now_ns, bool pause) {
  slot->connection.reset();
  ++closed_;
  slot->open_ns = now_ns;
  if (!pause) return;
  slot->pause_ns = std::clamp(slot->pause_ns * 2, kFirstPauseNs, kLongestPauseNs);
  slot->open_ns += slot->pause_ns;
}

}  // namespace fastserve::perf
