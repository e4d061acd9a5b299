// One connection to a Redis server, through hiredis on an epoll loop: connect, authenticate, GET,
// SET.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "cache/cache_options.h"

struct redisAsyncContext;  // hiredis/async.h

namespace fastserve {

// Used by the thread of the loop only. Invariants: 1. every command gets one answer, in the order
// of sending; 2. OnReady and OnLost alternate, or OnLost follows OnLost; after OnLost nothing is
// under way.
class RedisConnection {
 public:
  class Listener {
   public:
    virtual ~Listener() = default;
    virtual void OnReady() = 0;
    // Not connected any more, or never; the commands under way have been answered.
    virtual void OnLost(const std::string& reason) = 0;
    // The oldest unanswered command has ended. `value`: of a GET that found something; it is gone
    // when this returns. `error`: what Redis says against a command, else empty.
    virtual void OnAnswer(std::optional<std::span<const std::byte>> value,
                          std::string_view error) = 0;
  };

  // Registers its descriptor with `epoll`, this object as the data. Epoll and listener outlive it.
  RedisConnection(const RedisOptions& options, int epoll, Listener* listener)
      : options_(options), epoll_(epoll), listener_(*listener) {}
  ~RedisConnection() { Close("closed"); }
  RedisConnection(const RedisConnection&) = delete;
  RedisConnection& operator=(const RedisConnection&) = delete;

  // Starts to connect; the listener is told how it went, maybe at once. May block for as long as
  // the resolver needs to find the host's address.
  void Connect();
  // Nothing when there is no connection.
  void Close(const std::string& reason);
  bool open() const { return context_ != nullptr; }

  // False when the connection is ending: the command is then not answered.
  bool Get(std::string_view key);
  bool Set(std::string_view key, std::string_view value);
  // What epoll said of the descriptor.
  void HandleEvents(std::uint32_t events);

 private:
  struct Callbacks;  // hiredis calls these

  void Watch(std::uint32_t event, bool wanted);
  void Forget();
  void SendHandshake();
  void OnHandshakeReply(std::string_view error);

  const RedisOptions options_;
  const int epoll_;
  Listener& listener_;
  redisAsyncContext* context_ = nullptr;  // freed by hiredis itself after a failure
  std::uint32_t events_ = 0;              // what epoll waits for
  bool registered_ = false;               // with epoll
  int handshake_replies_left_ = 0;
  std::string refusal_;  // of the handshake; closes the connection when hiredis has returned
};

}  // namespace fastserve
