// The client side of an in-memory HTTP/2 connection: what it sends are real bytes, and so are
// hand-made frames.
#pragma once

#include <nghttp2/nghttp2.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "grpc/http2_session.h"

namespace fastserve {

using HeaderList = std::vector<std::pair<std::string, std::string>>;

inline std::string RawFrame(std::uint8_t type, std::uint8_t flags, std::int32_t stream_id,
                            std::string_view payload) {
  const std::size_t size = payload.size();
  std::string frame = {static_cast<char>(size >> 16),
                       static_cast<char>(size >> 8),
                       static_cast<char>(size),
                       static_cast<char>(type),
                       static_cast<char>(flags),
                       static_cast<char>(stream_id >> 24),
                       static_cast<char>(stream_id >> 16),
                       static_cast<char>(stream_id >> 8),
                       static_cast<char>(stream_id)};
  return frame.append(payload);
}

inline std::string GrpcFrame(std::string_view message) {
  const std::size_t size = message.size();
  std::string frame = {0, static_cast<char>(size >> 24), static_cast<char>(size >> 16),
                       static_cast<char>(size >> 8), static_cast<char>(size)};
  return frame.append(message);
}

inline const std::string kInfer = "/inference.GRPCInferenceService/ModelInfer";
inline const std::string kStream = "/inference.GRPCInferenceService/ModelStreamInfer";

inline HeaderList GrpcHeaders(const std::string& path, const HeaderList& more = {}) {
  HeaderList headers = {{":method", "POST"},    {":scheme", "http"},
                        {":authority", "test"}, {":path", path},
                        {"te", "trailers"},     {"content-type", "application/grpc"}};
  headers.insert(headers.end(), more.begin(), more.end());
  return headers;
}

// One thread. Holds what arrived, per stream.
class H2Peer {
 public:
  struct Answer {
    HeaderList headers;  // of the response and its trailers, in order
    std::string body;
    bool ended = false;
    std::optional<std::uint32_t> closed;
    std::string header(const std::string& name) const {
      for (const auto& [key, value] : headers) {
        if (key == name) return value;
      }
      return "";
    }
  };

  explicit H2Peer(bool auto_window = true) {
    nghttp2_session_callbacks* callbacks = nullptr;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, OnHeader);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, OnData);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, OnFrame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, OnClose);
    nghttp2_option* option = nullptr;
    nghttp2_option_new(&option);
    nghttp2_option_set_no_auto_window_update(option, auto_window ? 0 : 1);
    nghttp2_session_client_new2(&session_, callbacks, this, option);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_submit_settings(session_, 0, nullptr, 0);
  }
  ~H2Peer() { nghttp2_session_del(session_); }
  H2Peer(const H2Peer&) = delete;
  H2Peer& operator=(const H2Peer&) = delete;

  // Starts a request whose body is `body`; without `end` the request stays open after it.
  std::int32_t Request(const HeaderList& headers, std::string body = "", bool end = true) {
    std::vector<nghttp2_nv> fields;
    for (const auto& [name, value] : headers) fields.push_back(StaticHeader(name, value));
    for (auto& field : fields) field.flags = NGHTTP2_NV_FLAG_NONE;
    nghttp2_data_provider provider{};
    provider.read_callback = ReadBody;
    const std::int32_t id =
        nghttp2_submit_request(session_, nullptr, fields.data(), fields.size(), &provider, nullptr);
    bodies_[id] = {std::move(body), end, 0};
    return id;
  }
  void Send(std::int32_t id, std::string_view more, bool end = false) {
    bodies_[id].bytes.append(more);
    bodies_[id].end = end;
    nghttp2_session_resume_data(session_, id);
  }
  void Reset(std::int32_t id) { nghttp2_submit_rst_stream(session_, 0, id, NGHTTP2_CANCEL); }
  void Ping() { nghttp2_submit_ping(session_, 0, nullptr); }

  // What the peer wants to send now.
  std::string TakeOutput() {
    std::string bytes;
    const std::uint8_t* data = nullptr;
    ssize_t size = 0;
    while ((size = nghttp2_session_mem_send(session_, &data)) > 0) {
      bytes.append(reinterpret_cast<const char*>(data), static_cast<std::size_t>(size));
    }
    return bytes;
  }
  void Feed(std::string_view bytes) {
    nghttp2_session_mem_recv(session_, reinterpret_cast<const std::uint8_t*>(bytes.data()),
                             bytes.size());
  }

  std::map<std::int32_t, Answer> answers;
  std::vector<std::pair<std::uint32_t, std::string>> goaways;  // code, debug data
  std::vector<std::int32_t> goaway_last_ids;
  int window_updates = 0;

 private:
  struct Body {
    std::string bytes;
    bool end = true;
    std::size_t sent = 0;
  };
  static H2Peer* Self(void* user) { return static_cast<H2Peer*>(user); }
  static ssize_t ReadBody(nghttp2_session*, std::int32_t id, std::uint8_t* room, std::size_t size,
                          std::uint32_t* flags, nghttp2_data_source*, void* user) {
    Body& body = Self(user)->bodies_[id];
    const std::size_t take = std::min(size, body.bytes.size() - body.sent);
    if (take == 0 && !body.end) return NGHTTP2_ERR_DEFERRED;
    std::copy_n(body.bytes.data() + body.sent, take, room);
    body.sent += take;
    if (body.sent == body.bytes.size() && body.end) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(take);
  }
  static int OnHeader(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name,
                      std::size_t name_size, const std::uint8_t* value, std::size_t value_size,
                      std::uint8_t, void* user) {
    Self(user)->answers[frame->hd.stream_id].headers.emplace_back(
        std::string(reinterpret_cast<const char*>(name), name_size),
        std::string(reinterpret_cast<const char*>(value), value_size));
    return 0;
  }
  static int OnData(nghttp2_session*, std::uint8_t, std::int32_t id, const std::uint8_t* data,
                    std::size_t size, void* user) {
    Self(user)->answers[id].body.append(reinterpret_cast<const char*>(data), size);
    return 0;
  }
  static int OnFrame(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    H2Peer* self = Self(user);
    const auto type = frame->hd.type;
    if ((type == NGHTTP2_HEADERS || type == NGHTTP2_DATA) &&
        (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
      self->answers[frame->hd.stream_id].ended = true;
    }
    if (type == NGHTTP2_WINDOW_UPDATE) ++self->window_updates;
    if (type == NGHTTP2_GOAWAY) {
      const auto& goaway = frame->goaway;
      self->goaways.emplace_back(
          goaway.error_code,
          std::string(reinterpret_cast<const char*>(goaway.opaque_data), goaway.opaque_data_len));
      self->goaway_last_ids.push_back(goaway.last_stream_id);
    }
    return 0;
  }
  static int OnClose(nghttp2_session*, std::int32_t id, std::uint32_t code, void* user) {
    Self(user)->answers[id].closed = code;
    return 0;
  }

  nghttp2_session* session_ = nullptr;
  std::map<std::int32_t, Body> bodies_;
};

inline std::span<const std::byte> AsBytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

inline std::string TakeOutput(Http2Session* session) {
  std::string bytes;
  for (;;) {
    WriteQueue queue;
    session->CollectOutput(&queue);
    if (queue.empty()) return bytes;
    while (!queue.empty()) {
      iovec segment{};
      queue.Gather({&segment, 1});
      bytes.append(static_cast<const char*>(segment.iov_base), segment.iov_len);
      queue.Consume(segment.iov_len);
    }
  }
}

// Carries bytes both ways until neither side has any.
inline void Exchange(H2Peer* peer, Http2Session* session, std::int64_t now_ns = 1) {
  for (;;) {
    const std::string request = peer->TakeOutput();
    if (!request.empty()) session->Receive(AsBytes(request), now_ns);
    const std::string response = TakeOutput(session);
    peer->Feed(response);
    if (request.empty() && response.empty()) return;
  }
}

}  // namespace fastserve
