// gRPC unary calls over an nghttp2 client session.
#include "perf/grpc_connection.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

namespace fastserve::perf {

namespace {

constexpr std::size_t kPrefixBytes = 5;         // compressed flag and length before a gRPC message
constexpr std::int32_t kWindowBytes = 1 << 30;  // the server never waits for our window
constexpr std::size_t kOutputBytes = 256 * 1024;  // serialised ahead of the socket
constexpr std::uint32_t kMaxFrameBytes = 256 * 1024;
constexpr std::size_t kFrameHeaderBytes = 9;
constexpr std::size_t kTailBytes = 16 * 1024;  // shorter parts are copied

std::array<char, kPrefixBytes> MessagePrefix(std::size_t size) {
  std::array<char, kPrefixBytes> prefix{};
  for (std::size_t i = 1; i < kPrefixBytes; ++i)
    prefix[i] = static_cast<char>(size >> (8 * (kPrefixBytes - 1 - i)));
  return prefix;
}

std::string_view View(const std::uint8_t* bytes, std::size_t size) {
  return {reinterpret_cast<const char*>(bytes), size};
}

}  // namespace

// nghttp2's C callbacks; user data is the connection, stream user data the exchange (null after
// Abandon).
struct SessionCallbacks {
  static Exchange* ExchangeOf(nghttp2_session* session, std::int32_t stream_id) {
    return static_cast<Exchange*>(nghttp2_session_get_stream_user_data(session, stream_id));
  }

  static int OnHeader(nghttp2_session* session, const nghttp2_frame* frame,
                      const std::uint8_t* name, std::size_t name_size, const std::uint8_t* value,
                      std::size_t value_size, std::uint8_t flags, void* user) {
    Exchange* exchange = ExchangeOf(session, frame->hd.stream_id);
    if (exchange == nullptr) return 0;
    static_cast<GrpcConnection*>(user)->OnHeader(exchange, View(name, name_size),
                                                 View(value, value_size));
    return 0;
  }

  static int OnData(nghttp2_session* session, std::uint8_t flags, std::int32_t stream_id,
                    const std::uint8_t* data, std::size_t size, void* user) {
    if (Exchange* exchange = ExchangeOf(session, stream_id))
      exchange->body.Append(View(data, size));
    return 0;
  }

  static int OnStreamClose(nghttp2_session* session, std::int32_t stream_id, std::uint32_t error,
                           void* user) {
    if (Exchange* exchange = ExchangeOf(session, stream_id)) {
      static_cast<GrpcConnection*>(user)->OnStreamClosed(exchange, error);
    }
    return 0;
  }

  static int OnFrame(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
    if (frame->hd.type == NGHTTP2_GOAWAY) static_cast<GrpcConnection*>(user)->ended_ = true;
    // The server has answered and does not want the rest of the request: its answer is complete.
    const bool ends = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    const Exchange* exchange = ends ? ExchangeOf(session, frame->hd.stream_id) : nullptr;
    if (exchange != nullptr && exchange->written_ns == 0) {
      nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
    }
    return 0;
  }

  // How much of prefix and message goes into the next DATA frame.
  static ssize_t ReadMessage(nghttp2_session* session, std::int32_t stream_id, std::uint8_t*,
                             std::size_t room, std::uint32_t* flags, nghttp2_data_source*, void*) {
    const Exchange* exchange = ExchangeOf(session, stream_id);
    if (exchange == nullptr) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    const std::size_t left = kPrefixBytes + exchange->request->bytes.size() - exchange->written;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (left <= room) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(std::min(left, room));
  }

  // The frame of ReadMessage: its header and the prefix are copied, a large part of the message
  // goes to the socket from where it lies.
  static int SendData(nghttp2_session* session, nghttp2_frame* frame, const std::uint8_t* header,
                      std::size_t size, nghttp2_data_source*, void* user) {
    auto* self = static_cast<GrpcConnection*>(user);
    if (!self->tail_.empty()) return NGHTTP2_ERR_WOULDBLOCK;
    Exchange* exchange = ExchangeOf(session, frame->hd.stream_id);
    if (exchange == nullptr) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    const std::string& message = exchange->request->bytes;
    const std::size_t end = exchange->written + size;
    self->output_.append(View(header, kFrameHeaderBytes));
    if (exchange->written < kPrefixBytes) {  // a frame has always room for the prefix
      const auto prefix = MessagePrefix(message.size());
      self->output_.append(prefix.data(), prefix.size());
      exchange->written = kPrefixBytes;
    }
    const std::string_view part =
        std::string_view(message).substr(exchange->written - kPrefixBytes, end - exchange->written);
    if (part.size() < kTailBytes) {
      self->output_.append(part);
    } else {
      self->tail_ = part;
    }
    exchange->written = end;
    if (end == kPrefixBytes + message.size()) exchange->written_ns = MonotonicNs();
    return 0;
  }

  static ssize_t DataFrameSize(nghttp2_session*, std::uint8_t, std::int32_t,
                               std::int32_t connection_window, std::int32_t stream_window,
                               std::uint32_t max_frame_size, void*) {
    const std::int64_t window = std::min(connection_window, stream_window);
    return static_cast<ssize_t>(std::min(
        {window, static_cast<std::int64_t>(max_frame_size), std::int64_t{kMaxFrameBytes}}));
  }

  static const nghttp2_session_callbacks* Get() {
    static const nghttp2_session_callbacks* const callbacks = [] {
      nghttp2_session_callbacks* made = nullptr;
      nghttp2_session_callbacks_new(&made);
      nghttp2_session_callbacks_set_on_header_callback(made, &OnHeader);
      nghttp2_session_callbacks_set_on_data_chunk_recv_callback(made, &OnData);
      nghttp2_session_callbacks_set_on_stream_close_callback(made, &OnStreamClose);
      nghttp2_session_callbacks_set_on_frame_recv_callback(made, &OnFrame);
      nghttp2_session_callbacks_set_send_data_callback(made, &SendData);
      nghttp2_session_callbacks_set_data_source_read_length_callback(made, &DataFrameSize);
      return made;
    }();
    return callbacks;
  }
};

GrpcConnection::GrpcConnection(FileDescriptor fd, const LoadOptions& options,
                               ConnectionOwner& owner)
    : Connection(std::move(fd), owner), authority_(options.host + ":" + options.port) {
  const bool closed_loop = options.arrival == Arrival::kClosedLoop;
  const int connections = std::max(1, options.connections);
  // A closed loop spreads its requests evenly; an open loop fills what the server allows.
  room_per_connection_ =
      closed_loop ? static_cast<std::size_t>((options.concurrency + connections - 1) / connections)
                  : static_cast<std::size_t>(options.concurrency);
  AddHeader(":method", "POST");
  AddHeader(":scheme", "http");
  AddHeader(":path", options.grpc_path);
  AddHeader(":authority", authority_);
  AddHeader("te", "trailers");
  AddHeader("content-type", "application/grpc");
  AddHeader("user-agent", "fastserve-perf");
  for (const auto& [name, value] : options.grpc_metadata) AddHeader(name, value);
  nghttp2_session_client_new(&session_, SessionCallbacks::Get(), this);
}

GrpcConnection::~GrpcConnection() { nghttp2_session_del(session_); }

void GrpcConnection::AddHeader(std::string_view name, std::string_view value) {
  // nghttp2 reads but never writes these bytes, and both outlive the connection.
  const auto bytes = [](std::string_view text) {
    return reinterpret_cast<std::uint8_t*>(const_cast<char*>(text.data()));
  };
  constexpr std::uint8_t kNoCopy = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE;
  headers_.push_back({bytes(name), bytes(value), name.size(), value.size(), kNoCopy});
}

bool GrpcConnection::HasRoom() const {
  if (!connected() || ended_ || in_flight_.size() >= room_per_connection_) return false;
  return in_flight_.size() <
         nghttp2_session_get_remote_settings(session_, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
}

Status GrpcConnection::OnConnected() {
  const std::array<nghttp2_settings_entry, 3> settings{{
      {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
      {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, kMaxFrameBytes},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kWindowBytes},
  }};
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings.data(), settings.size());
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, kWindowBytes);
  return Flush();
}

void GrpcConnection::Submit(Exchange* exchange) {
  exchange->connection = this;
  const std::optional<std::string>& expected = exchange->request->expected;
  exchange->body.Reset(expected ? &*expected : nullptr, exchange->keep_bytes, kPrefixBytes);
  in_flight_.push_back(exchange);
  const nghttp2_data_provider provider{{}, &SessionCallbacks::ReadMessage};
  exchange->stream_id = nghttp2_submit_request(session_, nullptr, headers_.data(), headers_.size(),
                                               &provider, exchange);
  if (exchange->stream_id >= 0) return;
  // Out of stream ids (after a thousand million requests): a new connection has them.
  ended_ = true;
  Remove(exchange);
  owner().OnFinished(exchange, Status::Unavailable("this connection cannot carry another request"));
}

Status GrpcConnection::Abandon(Exchange* exchange) {
  nghttp2_session_set_stream_user_data(session_, exchange->stream_id, nullptr);
  nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, exchange->stream_id, NGHTTP2_CANCEL);
  Remove(exchange);
  return Flush();
}

Exchange* GrpcConnection::TakeUnfinished() {
  if (in_flight_.empty()) return nullptr;
  Exchange* exchange = in_flight_.back();
  in_flight_.pop_back();
  nghttp2_session_set_stream_user_data(session_, exchange->stream_id, nullptr);
  return exchange;
}

void GrpcConnection::Remove(Exchange* exchange) {
  const auto found = std::find(in_flight_.begin(), in_flight_.end(), exchange);
  *found = in_flight_.back();
  in_flight_.pop_back();
}

Status GrpcConnection::CollectOutput() {
  while (output_.size() < kOutputBytes && tail_.empty()) {
    const std::uint8_t* bytes = nullptr;
    const ssize_t size = nghttp2_session_mem_send(session_, &bytes);
    if (size < 0)
      return Status::Unavailable(std::string("HTTP/2: ") +
                                 nghttp2_strerror(static_cast<int>(size)));
    if (size == 0) break;
    output_.append(std::exchange(tail_, {}));  // these bytes come behind it
    output_.append(View(bytes, static_cast<std::size_t>(size)));
  }
  return Status::Ok();
}

Status GrpcConnection::Flush() {
  while (!wants_write()) {
    if (output_sent_ == output_.size() && tail_.empty()) {
      output_.clear();
      output_sent_ = 0;
      FASTSERVE_RETURN_IF_ERROR(CollectOutput());
      if (output_.empty()) break;
    }
    FASTSERVE_ASSIGN_OR_RETURN(
        std::size_t sent, Send(std::string_view(output_).substr(output_sent_), !tail_.empty()));
    output_sent_ += sent;
    if (output_sent_ < output_.size()) continue;
    FASTSERVE_ASSIGN_OR_RETURN(sent, Send(tail_));
    tail_.remove_prefix(sent);
  }
  return Status::Ok();
}

Status GrpcConnection::OnBytes(std::string_view bytes) {
  const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  const ssize_t used = nghttp2_session_mem_recv(session_, data, bytes.size());
  if (used < 0)
    return Status::Unavailable(std::string("HTTP/2: ") + nghttp2_strerror(static_cast<int>(used)));
  const bool over =
      nghttp2_session_want_read(session_) == 0 && nghttp2_session_want_write(session_) == 0;
  if (over) ended_ = true;
  return Flush();
}

Status GrpcConnection::OnEnd() {
  if (!in_flight_.empty())
    return Status::Unavailable("the server closed the connection before answering");
  ended_ = true;
  return Status::Ok();
}

void GrpcConnection::OnHeader(Exchange* exchange, std::string_view name, std::string_view value) {
  if (exchange->first_byte_ns == 0) exchange->first_byte_ns = MonotonicNs();
  if (name == "grpc-status") {
    std::from_chars(value.data(), value.data() + value.size(), exchange->grpc_status);
  } else if (name == "grpc-message") {
    exchange->grpc_message = value;
  } else if (name == ":status") {
    std::from_chars(value.data(), value.data() + value.size(), exchange->http_status);
  }
}

void GrpcConnection::OnStreamClosed(Exchange* exchange, std::uint32_t http2_error) {
  Remove(exchange);
  const bool answered = exchange->grpc_status >= 0 || exchange->http_status >= 300;
  if (answered || http2_error == NGHTTP2_NO_ERROR) {
    owner().OnFinished(exchange, Status::Ok());
    return;
  }
  owner().OnFinished(exchange, Status::Unavailable(std::string("the server reset the stream: ") +
                                                   nghttp2_http2_strerror(http2_error)));
}

}  // namespace fastserve::perf
