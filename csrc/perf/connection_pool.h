// The connections of one sending thread: opens them, opens lost ones again (ever more slowly while
// the server refuses), and says which has room for a request.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "perf/connection.h"
#include "perf/load_stats.h"
#include "perf/send_schedule.h"

namespace fastserve::perf {

// Not thread safe; never blocks.
class ConnectionPool {
 public:
  struct Options {
    SocketAddress address;
    const LoadOptions* load = nullptr;  // outlives the pool
    int first = 1;                      // opened at the start
    int limit = 1;                      // opened on demand up to here
    int epoll_fd = -1;
  };
  ConnectionPool(const Options& options, ConnectionOwner& owner, LoadRecorder& recorder,
                 ErrorLog& errors);

  // Opens the first connections, and later those whose time for another try has come.
  void OpenDue(std::int64_t now_ns);
  // When OpenDue has something to do; kNever if nothing is closed.
  std::int64_t NextOpenNs() const;

  // A connection with room, in turn; null if there is none (then one more is opened, for later, if
  // allowed).
  Connection* TakeWithRoom(std::int64_t now_ns);
  // Puts a connection back in turn if it has room.
  void List(Connection* connection);

  // The connection an epoll event is about; null when it has been replaced since.
  Connection* Find(std::uint64_t token);
  // After a connection did something: registers with epoll what it waits for now, counts bytes and,
  // once, the connection.
  void Update(Connection* connection);
  // Destroys a connection whose requests have been taken back, and opens it again: at once, or
  // after a pause if it did not answer a request since the last pause and `blameless` is false.
  void Replace(Connection* connection, std::int64_t now_ns, bool blameless);

  template <typename Function>
  void ForEach(Function function) {
    for (Slot& slot : slots_) {
      if (slot.connection != nullptr) function(slot.connection.get());
    }
  }

 private:
  struct Slot {
    std::unique_ptr<Connection> connection;
    std::uint32_t generation = 0;
    std::int64_t open_ns = 0;   // when to open it, if it is closed
    std::int64_t pause_ns = 0;  // before the try after the next failure
  };

  void Open(std::size_t index, std::int64_t now_ns);
  void CloseSlot(Slot* slot, std::int64_t now_ns, bool pause);

  Options options_;
  ConnectionOwner& owner_;
  LoadRecorder& recorder_;
  ErrorLog& errors_;
  std::vector<Slot> slots_;
  std::deque<Connection*> with_room_;
  std::size_t closed_ = 0;
  std::int64_t connecting_ = 0;
  std::int64_t connected_ = 0;
};

}  // namespace fastserve::perf
