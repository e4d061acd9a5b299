#include "grpc/http2_callbacks.h"

#include <algorithm>

// Both limits came with security fixes of nghttp2; an older library lacks them, then these resolve
// to null and our own budgets (Http2Options) stand alone.
extern "C" {
__attribute__((weak)) void nghttp2_option_set_stream_reset_rate_limit(nghttp2_option* option,
                                                                      uint64_t burst,
                                                                      uint64_t rate);
}

namespace fastserve {

// Friend of Http2Session: each function finds the session and the stream and passes the event on.
struct Http2Callbacks {
  static Http2Session* Session(void* user_data) { return static_cast<Http2Session*>(user_data); }

  static int OnBeginHeaders(nghttp2_session*, const nghttp2_frame* frame, void* user_data) {
    Http2Session* session = Session(user_data);
    session->in_header_block_ = true;
    session->header_block_bytes_ = 0;
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) session->OpenStream(frame->hd.stream_id);
    return 0;
  }

  static int OnHeader(nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name,
                      size_t name_size, const uint8_t* value, size_t value_size, uint8_t,
                      void* user_data) {
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;  // request trailers: gRPC has none
    Http2Stream* stream = Session(user_data)->Find(frame->hd.stream_id);
    if (stream != nullptr) {
      stream->OnHeader({reinterpret_cast<const char*>(name), name_size},
                       {reinterpret_cast<const char*>(value), value_size});
    }
    return 0;
  }

  static int OnFrame(nghttp2_session*, const nghttp2_frame* frame, void* user_data) {
    Session(user_data)->OnFrame(frame);
    return 0;
  }

  static int OnInvalidFrame(nghttp2_session*, const nghttp2_frame*, int, void* user_data) {
    Session(user_data)->SpendGlitch(1);
    return 0;
  }

  static int OnData(nghttp2_session* raw, uint8_t, int32_t stream_id, const uint8_t* data,
                    size_t size, void* user_data) {
    Http2Stream* stream = Session(user_data)->Find(stream_id);
    if (stream == nullptr)
      return nghttp2_session_consume_connection(raw, size) == 0 ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
    stream->OnData({reinterpret_cast<const std::byte*>(data), size});
    return 0;
  }

  static int OnStreamClose(nghttp2_session*, int32_t stream_id, uint32_t error_code,
                           void* user_data) {
    Http2Session* session = Session(user_data);
    Http2Stream* stream = session->Find(stream_id);
    if (stream != nullptr) session->CloseStream(stream, error_code);
    return 0;
  }

  static int OnFrameSent(nghttp2_session*, const nghttp2_frame* frame, void* user_data) {
    Session(user_data)->OnFrameSent(frame);
    return 0;
  }

  // How much of a stream's body goes into the next DATA frame; with the last of it, the trailers
  // are submitted.
  static ssize_t ReadBody(nghttp2_session* raw, int32_t stream_id, uint8_t*, size_t room,
                          uint32_t* flags, nghttp2_data_source* source, void*) {
    auto* stream = static_cast<Http2Stream*>(source->ptr);
    const std::size_t size = std::min(room, stream->body_.size());
    const bool last = size == stream->body_.size() && stream->has_trailers_;
    if (size == 0 && !last) {
      stream->waiting_for_body_ = true;
      return NGHTTP2_ERR_DEFERRED;
    }
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (last) {
      *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
      nghttp2_submit_trailer(raw, stream_id, stream->trailers_.data(), stream->trailers_.size());
    }
    return static_cast<ssize_t>(size);
  }

  static int SendData(nghttp2_session*, nghttp2_frame* frame, const uint8_t* header, size_t size,
                      nghttp2_data_source* source, void* user_data) {
    constexpr std::size_t kFrameHeaderBytes = 9;
    Http2Session* session = Session(user_data);
    auto* stream = static_cast<Http2Stream*>(source->ptr);
    session->output_->AppendCopy(header, kFrameHeaderBytes);
    stream->body_.MoveTo(session->output_, size);
    session->unsent_bytes_ -= size;
    if (stream->body_.empty()) stream->OnBodySent();
    return 0;
  }

  // As large a DATA frame as windows and the peer's SETTINGS_MAX_FRAME_SIZE allow.
  static ssize_t DataFrameSize(nghttp2_session*, uint8_t, int32_t, int32_t connection_window,
                               int32_t stream_window, uint32_t max_frame_size, void*) {
    constexpr std::int64_t kMaxDataBytes = 256 * 1024;
    const std::int64_t window = std::min(connection_window, stream_window);
    return static_cast<ssize_t>(
        std::min({window, static_cast<std::int64_t>(max_frame_size), kMaxDataBytes}));
  }
};

const nghttp2_session_callbacks* SessionCallbacks() {
  static const nghttp2_session_callbacks* const callbacks = [] {
    nghttp2_session_callbacks* made = nullptr;
    nghttp2_session_callbacks_new(&made);
    nghttp2_session_callbacks_set_on_begin_headers_callback(made, Http2Callbacks::OnBeginHeaders);
    nghttp2_session_callbacks_set_on_header_callback(made, Http2Callbacks::OnHeader);
    nghttp2_session_callbacks_set_on_frame_recv_callback(made, Http2Callbacks::OnFrame);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(made,
                                                                 Http2Callbacks::OnInvalidFrame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(made, Http2Callbacks::OnData);
    nghttp2_session_callbacks_set_on_stream_close_callback(made, Http2Callbacks::OnStreamClose);
    nghttp2_session_callbacks_set_on_frame_send_callback(made, Http2Callbacks::OnFrameSent);
    nghttp2_session_callbacks_set_send_data_callback(made, Http2Callbacks::SendData);
    nghttp2_session_callbacks_set_data_source_read_length_callback(made,
                                                                   Http2Callbacks::DataFrameSize);
    return made;
  }();
  return callbacks;
}

const nghttp2_option* SessionOptions() {
  static const nghttp2_option* const options = [] {
    nghttp2_option* made = nullptr;
    nghttp2_option_new(&made);
    nghttp2_option_set_no_auto_window_update(made, 1);
    nghttp2_option_set_no_closed_streams(made, 1);
    if (&nghttp2_option_set_stream_reset_rate_limit != nullptr) {
      // The library would stop a client after 1,000 cancellations; our own budget decides.
      nghttp2_option_set_stream_reset_rate_limit(made, UINT64_MAX / 2, 1);
    }
    return made;
  }();
  return options;
}

nghttp2_data_provider BodyProvider(Http2Stream* stream) {
  nghttp2_data_provider provider{};
  provider.source.ptr = stream;
  provider.read_callback = Http2Callbacks::ReadBody;
  return provider;
}

}  // namespace fastserve
