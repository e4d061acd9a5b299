// Canned gRPC replies over nghttp2 server sessions, one epoll thread.
#include "perf/canned_grpc_server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace fastserve::perf {

namespace {

constexpr std::int32_t kServerWindowBytes = 1 << 30;
constexpr std::size_t kReadBytes = 64 * 1024;

nghttp2_nv Header(std::string_view name, std::string_view value) {
  const auto bytes = [](std::string_view text) {
    return reinterpret_cast<std::uint8_t*>(const_cast<char*>(text.data()));
  };
  return {bytes(name), bytes(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE};
}

}  // namespace

// One connection.
class CannedGrpcServer::Session {
 public:
  Session(FileDescriptor fd, const std::map<std::string, CannedReply>& replies)
      : fd_(std::move(fd)), replies_(replies) {
    nghttp2_session_callbacks* callbacks = nullptr;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, &OnHeader);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, &OnFrame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, &OnStreamClose);
    nghttp2_session_server_new(&session_, callbacks, this);
    nghttp2_session_callbacks_del(callbacks);
    const std::array<nghttp2_settings_entry, 2> settings{
        {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1000},
         {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kServerWindowBytes}}};
    nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings.data(), settings.size());
    nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, kServerWindowBytes);
  }
  ~Session() { nghttp2_session_del(session_); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  int fd() const { return fd_.get(); }

  // False when the connection is over.
  bool Read() {
    std::array<std::uint8_t, kReadBytes> bytes;
    const ssize_t size = recv(fd(), bytes.data(), bytes.size(), 0);
    if (size <= 0) return size < 0 && errno == EAGAIN;
    return nghttp2_session_mem_recv(session_, bytes.data(), static_cast<std::size_t>(size)) >= 0;
  }

  bool Write() {
    while (true) {
      if (sent_ == output_.size()) Collect();
      if (output_.empty()) return true;
      const ssize_t size = send(fd(), output_.data() + sent_, output_.size() - sent_, MSG_NOSIGNAL);
      if (size < 0) return errno == EAGAIN;
      sent_ += static_cast<std::size_t>(size);
    }
  }
  bool blocked() const { return sent_ < output_.size(); }

 private:
  // What is left to send of a reply.
  struct Call {
    const CannedReply* reply = nullptr;
    std::string frame;  // length prefix and message
    std::size_t sent = 0;
  };

  void Collect() {
    output_.clear();
    sent_ = 0;
    const std::uint8_t* bytes = nullptr;
    while (output_.size() < kReadBytes) {
      const ssize_t size = nghttp2_session_mem_send(session_, &bytes);
      if (size <= 0) break;
      output_.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
    }
  }

  static int OnHeader(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name,
                      std::size_t name_size, const std::uint8_t* value, std::size_t value_size,
                      std::uint8_t, void* user) {
    if (std::string_view(reinterpret_cast<const char*>(name), name_size) != ":path") return 0;
    auto* self = static_cast<Session*>(user);
    const std::string path(reinterpret_cast<const char*>(value), value_size);
    const auto found = self->replies_.find(path);
    static const CannedReply kUnknown{
        .message = {}, .grpc_status = 12, .grpc_message = "no such method"};
    self->calls_[frame->hd.stream_id].reply =
        found == self->replies_.end() ? &kUnknown : &found->second;
    return 0;
  }

  static int OnFrame(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0)
      static_cast<Session*>(user)->Answer(frame->hd.stream_id);
    return 0;
  }

  static int OnStreamClose(nghttp2_session*, std::int32_t stream_id, std::uint32_t, void* user) {
    static_cast<Session*>(user)->calls_.erase(stream_id);
    return 0;
  }

  void Answer(std::int32_t stream_id) {
    const auto found = calls_.find(stream_id);
    if (found == calls_.end() || found->second.reply->never) return;
    Call& call = found->second;
    if (call.reply->reset) {
      nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, stream_id, NGHTTP2_INTERNAL_ERROR);
      return;
    }
    const std::string status = std::to_string(call.reply->grpc_status);
    if (call.reply->grpc_status != 0) {  // trailers-only
      const std::array headers{Header(":status", "200"), Header("content-type", "application/grpc"),
                               Header("grpc-status", status),
                               Header("grpc-message", call.reply->grpc_message)};
      nghttp2_submit_response(session_, stream_id, headers.data(), headers.size(), nullptr);
      return;
    }
    const std::size_t size = call.reply->message.size();
    for (const int shift : {32, 24, 16, 8, 0})
      call.frame.push_back(static_cast<char>(size >> shift));
    call.frame += call.reply->message;
    const std::array headers{Header(":status", "200"), Header("content-type", "application/grpc")};
    const nghttp2_data_provider provider{{.ptr = &call}, &ReadReply};
    nghttp2_submit_response(session_, stream_id, headers.data(), headers.size(), &provider);
  }

  static ssize_t ReadReply(nghttp2_session* session, std::int32_t stream_id, std::uint8_t* to,
                           std::size_t room, std::uint32_t* flags, nghttp2_data_source* source,
                           void*) {
    Call* call = static_cast<Call*>(source->ptr);
    const std::size_t size = std::min(room, call->frame.size() - call->sent);
    std::memcpy(to, call->frame.data() + call->sent, size);
    call->sent += size;
    if (call->sent == call->frame.size()) {
      *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
      const nghttp2_nv trailer = Header("grpc-status", "0");
      nghttp2_submit_trailer(session, stream_id, &trailer, 1);
    }
    return static_cast<ssize_t>(size);
  }

  FileDescriptor fd_;
  const std::map<std::string, CannedReply>& replies_;
  nghttp2_session* session_ = nullptr;
  std::map<std::int32_t, Call> calls_;
  std::string output_;
  std::size_t sent_ = 0;
};

Result<std::unique_ptr<CannedGrpcServer>> CannedGrpcServer::Start(
    std::map<std::string, CannedReply> replies, int port) {
  std::unique_ptr<CannedGrpcServer> server(new CannedGrpcServer);
  server->replies_ = std::move(replies);
  server->listener_ =
      FileDescriptor(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int listener = server->listener_.get();
  const int one = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (bind(listener, generic, length) != 0 || listen(listener, SOMAXCONN) != 0 ||
      getsockname(listener, generic, &length) != 0) {
    return Status::Unavailable("cannot listen on port " + std::to_string(port) + ": " +
                               ErrnoText(errno));
  }
  server->port_ = ntohs(address.sin_port);
  server->epoll_ = FileDescriptor(epoll_create1(EPOLL_CLOEXEC));
  server->stop_ = FileDescriptor(eventfd(0, EFD_CLOEXEC));
  for (const int fd : {listener, server->stop_.get()}) {
    epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
    epoll_ctl(server->epoll_.get(), EPOLL_CTL_ADD, fd, &event);
  }
  server->thread_ = std::thread([self = server.get()] { self->Run(); });
  return server;
}

CannedGrpcServer::~CannedGrpcServer() {
  const std::uint64_t one = 1;
  if (stop_.valid()) {
    [[maybe_unused]] const ssize_t written = write(stop_.get(), &one, sizeof one);
  }
  if (thread_.joinable()) thread_.join();
}

void CannedGrpcServer::Accept() {
  while (true) {
    FileDescriptor fd(accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd.valid()) return;
    const int one = 1;
    setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    epoll_event event{.events = EPOLLIN, .data = {.fd = fd.get()}};
    epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd.get(), &event);
    const int key = fd.get();
    sessions_[key] = std::make_unique<Session>(std::move(fd), replies_);
  }
}

void CannedGrpcServer::Run() {
  std::array<epoll_event, 64> events{};
  while (true) {
    const int count = epoll_wait(epoll_.get(), events.data(), events.size(), -1);
    for (int i = 0; i < count; ++i) {
      const int fd = events[i].data.fd;
      if (fd == stop_.get()) return;
      if (fd == listener_.get()) {
        Accept();
        continue;
      }
      // A connection closed here may still report events while a forked child holds its descriptor.
      const auto found = sessions_.find(fd);
      if (found == sessions_.end()) continue;
      Session& session = *found->second;
      const bool alive = ((events[i].events & EPOLLIN) == 0 || session.Read()) && session.Write();
      if (!alive) {
        epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
        sessions_.erase(found);
        continue;
      }
      epoll_event event{.events = EPOLLIN | (session.blocked() ? std::uint32_t{EPOLLOUT} : 0),
                        .data = {.fd = fd}};
      if ((events[i].events & EPOLLOUT) != 0 || session.blocked())
        epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
    }
  }
}

}  // namespace fastserve::perf
