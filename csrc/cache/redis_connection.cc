#include "cache/redis_connection.h"

#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <sys/epoll.h>

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace fastserve {

namespace {

std::string_view TextOf(const redisReply& reply) { return {reply.str, reply.len}; }

}  // namespace

struct RedisConnection::Callbacks {
  static RedisConnection* Of(const redisAsyncContext* context) {
    return static_cast<RedisConnection*>(context->data);
  }

  static void OnReply(redisAsyncContext* context, void* reply_pointer, void* /*unused*/) {
    RedisConnection* self = Of(context);
    const auto* reply = static_cast<const redisReply*>(reply_pointer);
    if (reply == nullptr) {
      self->listener_.OnAnswer(std::nullopt, {});
    } else if (reply->type == REDIS_REPLY_ERROR) {
      self->listener_.OnAnswer(std::nullopt, TextOf(*reply));
    } else if (reply->type == REDIS_REPLY_STRING) {
      const auto text = TextOf(*reply);
      self->listener_.OnAnswer(std::as_bytes(std::span(text.data(), text.size())), {});
    } else {
      self->listener_.OnAnswer(std::nullopt, {});  // nil, or the status of a SET
    }
  }

  static void OnHandshake(redisAsyncContext* context, void* reply_pointer, void* /*unused*/) {
    const auto* reply = static_cast<const redisReply*>(reply_pointer);
    if (reply == nullptr) return;  // the connection ends, and says so itself
    const bool refused = reply->type == REDIS_REPLY_ERROR;
    Of(context)->OnHandshakeReply(refused ? TextOf(*reply) : std::string_view());
  }

  static void OnConnect(const redisAsyncContext* context, int status) {
    if (status != REDIS_OK) Ended(context);
  }
  static void OnDisconnect(const redisAsyncContext* context, int /*status*/) { Ended(context); }

  // hiredis frees the context when this has returned.
  static void Ended(const redisAsyncContext* context) {
    RedisConnection* self = Of(context);
    if (self->context_ == nullptr) return;  // Close knows
    self->context_ = nullptr;
    const std::string reason = context->errstr != nullptr ? context->errstr : "";
    self->listener_.OnLost(reason.empty() ? "the server closed the connection" : reason);
  }

  static void AddRead(void* self) { static_cast<RedisConnection*>(self)->Watch(EPOLLIN, true); }
  static void DeleteRead(void* self) { static_cast<RedisConnection*>(self)->Watch(EPOLLIN, false); }
  static void AddWrite(void* self) { static_cast<RedisConnection*>(self)->Watch(EPOLLOUT, true); }
  static void DeleteWrite(void* self) {
    static_cast<RedisConnection*>(self)->Watch(EPOLLOUT, false);
  }
  static void CleanUp(void* self) { static_cast<RedisConnection*>(self)->Forget(); }

  // False when the connection is ending.
  static bool Send(redisAsyncContext* context, redisCallbackFn* answer,
                   std::initializer_list<std::string_view> words) {
    std::vector<const char*> arguments;
    std::vector<std::size_t> sizes;
    for (const std::string_view word : words) {
      arguments.push_back(word.data());
      sizes.push_back(word.size());
    }
    return redisAsyncCommandArgv(context, answer, nullptr, static_cast<int>(words.size()),
                                 arguments.data(), sizes.data()) == REDIS_OK;
  }
};

void RedisConnection::Connect() {
  redisAsyncContext* context = redisAsyncConnect(options_.host.c_str(), options_.port);
  if (context == nullptr || context->err != 0) {
    const std::string reason = context == nullptr ? "no memory" : context->errstr;
    if (context != nullptr) redisAsyncFree(context);
    listener_.OnLost(reason);
    return;
  }
  context_ = context;
  context->data = this;
  context->ev.data = this;
  context->ev.addRead = &Callbacks::AddRead;
  context->ev.delRead = &Callbacks::DeleteRead;
  context->ev.addWrite = &Callbacks::AddWrite;
  context->ev.delWrite = &Callbacks::DeleteWrite;
  context->ev.cleanup = &Callbacks::CleanUp;
  redisAsyncSetConnectCallback(context, &Callbacks::OnConnect);
  redisAsyncSetDisconnectCallback(context, &Callbacks::OnDisconnect);
  SendHandshake();
}

void RedisConnection::Close(const std::string& reason) {
  if (context_ == nullptr) return;
  redisAsyncFree(std::exchange(context_, nullptr));
  listener_.OnLost(reason);
}

bool RedisConnection::Get(std::string_view key) {
  return context_ != nullptr && Callbacks::Send(context_, &Callbacks::OnReply, {"GET", key});
}

bool RedisConnection::Set(std::string_view key, std::string_view value) {
  return context_ != nullptr && Callbacks::Send(context_, &Callbacks::OnReply, {"SET", key, value});
}

void RedisConnection::HandleEvents(std::uint32_t events) {
  if (context_ != nullptr && (events & ~static_cast<std::uint32_t>(EPOLLOUT)) != 0) {
    redisAsyncHandleRead(context_);
  }
  if (context_ != nullptr && (events & EPOLLOUT) != 0) redisAsyncHandleWrite(context_);
  if (!refusal_.empty()) Close(std::exchange(refusal_, {}));
}

void RedisConnection::SendHandshake() {
  refusal_.clear();
  handshake_replies_left_ = 1;
  if (!options_.password.empty()) {
    ++handshake_replies_left_;
    if (options_.user.empty()) {
      Callbacks::Send(context_, &Callbacks::OnHandshake, {"AUTH", options_.password});
    } else {
      Callbacks::Send(context_, &Callbacks::OnHandshake,
                      {"AUTH", options_.user, options_.password});
    }
  }
  if (options_.db != 0) {
    ++handshake_replies_left_;
    Callbacks::Send(context_, &Callbacks::OnHandshake, {"SELECT", std::to_string(options_.db)});
  }
  Callbacks::Send(context_, &Callbacks::OnHandshake, {"PING"});
}

void RedisConnection::OnHandshakeReply(std::string_view error) {
  if (!error.empty() && refusal_.empty()) refusal_ = "it answers: " + std::string(error);
  if (--handshake_replies_left_ == 0 && refusal_.empty()) listener_.OnReady();
}

void RedisConnection::Watch(std::uint32_t event, bool wanted) {
  if (context_ == nullptr) return;  // being freed
  const std::uint32_t events = wanted ? events_ | event : events_ & ~event;
  if (events == events_) return;
  epoll_event change{};
  change.events = events;
  change.data.ptr = this;
  // Registered stays registered, also for nothing, until Forget.
  const int operation = registered_ ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
  if (epoll_ctl(epoll_, operation, context_->c.fd, &change) == 0) registered_ = true;
  events_ = events;
}

void RedisConnection::Forget() {
  // The descriptor leaves the set when hiredis closes it, which is next.
  registered_ = false;
  events_ = 0;
}

}  // namespace fastserve
