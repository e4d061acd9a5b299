#include "grpc/http2_session.h"

#include <array>
#include <cstring>

#include "grpc/http2_callbacks.h"

namespace fastserve {

namespace {

uint8_t* NghttpBytes(const void* data) { return static_cast<uint8_t*>(const_cast<void*>(data)); }

}  // namespace

nghttp2_nv StaticHeader(std::string_view name, std::string_view value) {
  return {NghttpBytes(name.data()), NghttpBytes(value.data()), name.size(), value.size(),
          NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE};
}

Http2Session::Http2Session(const Http2Options& options, Http2Observer* observer)
    : options_(options),
      observer_(observer),
      resets_(options.reset_burst, options.resets_per_second),
      glitches_(options.glitch_burst, options.glitches_per_second) {
  nghttp2_session_server_new2(&session_, SessionCallbacks(), this, SessionOptions());
  const auto window = static_cast<std::uint32_t>(options_.stream_window_bytes);
  const std::array<nghttp2_settings_entry, 5> settings = {{
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, options_.max_concurrent_streams},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window},
      {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, options_.max_frame_bytes},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, options_.max_header_list_bytes},
      {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
  }};
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings.data(), settings.size());
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0,
                                        options_.connection_window_bytes);
}

Http2Session::~Http2Session() {
  while (streams_ != nullptr) CloseStream(streams_, NGHTTP2_CANCEL);
  nghttp2_session_del(session_);
}

void Http2Session::Receive(std::span<const std::byte> bytes, std::int64_t now_ns) {
  if (failed_) return;
  now_ns_ = now_ns;
  if (in_header_block_) header_block_bytes_ += bytes.size();
  const ssize_t result = nghttp2_session_mem_recv(
      session_, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  // A protocol error queues its own GOAWAY; what is returned here is an error it cannot go on from.
  if (result < 0) {
    Fail(result == NGHTTP2_ERR_FLOODED ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_PROTOCOL_ERROR,
         nghttp2_strerror(static_cast<int>(result)));
  } else if (in_header_block_ && header_block_bytes_ > kMaxHeaderBlockBytes) {
    Fail(NGHTTP2_ENHANCE_YOUR_CALM, "header_block_too_large");
  }
}

void Http2Session::CollectOutput(WriteQueue* queue) {
  output_ = queue;
  while (queue->size() < kOutputBytes) {
    const uint8_t* data = nullptr;
    const ssize_t size = nghttp2_session_mem_send(session_, &data);
    if (size < 0) failed_ = true;
    if (size <= 0) break;
    queue->AppendCopy(data, static_cast<std::size_t>(size));
  }
  output_ = nullptr;
}

void Http2Session::Respond(Http2Stream* stream, HeaderBlock headers) {
  stream->responding_ = true;
  const nghttp2_data_provider provider = BodyProvider(stream);
  nghttp2_submit_response(session_, stream->id_, headers.data(), headers.size(), &provider);
}

void Http2Session::RespondAndEnd(Http2Stream* stream, HeaderBlock headers) {
  stream->responding_ = true;
  nghttp2_submit_response(session_, stream->id_, headers.data(), headers.size(), nullptr);
}

void Http2Session::SendBody(Http2Stream* stream, std::string prefix, WireMessage message) {
  const std::size_t before = stream->body_.size();
  stream->body_.AppendMessage(std::move(prefix), std::move(message));
  unsent_bytes_ += stream->body_.size() - before;
  ResumeBody(stream);
}

void Http2Session::SendTrailers(Http2Stream* stream, HeaderBlock trailers) {
  stream->trailers_ = trailers;
  stream->has_trailers_ = true;
  ResumeBody(stream);
}

void Http2Session::ResumeBody(Http2Stream* stream) {
  if (!stream->waiting_for_body_) return;
  stream->waiting_for_body_ = false;
  nghttp2_session_resume_data(session_, stream->id_);
}

void Http2Session::Reset(Http2Stream* stream, std::uint32_t error_code) {
  nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, stream->id_, error_code);
}

void Http2Session::Consume(Http2Stream* stream, std::size_t bytes) {
  if (nghttp2_session_consume(session_, stream->id_, bytes) != 0) failed_ = true;
}

void Http2Session::Ping(std::uint64_t payload) {
  std::array<uint8_t, sizeof payload> opaque{};
  std::memcpy(opaque.data(), &payload, sizeof payload);
  nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, opaque.data());
}

void Http2Session::AnnounceShutdown() { nghttp2_submit_shutdown_notice(session_); }

void Http2Session::FinishShutdown() {
  nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE,
                        nghttp2_session_get_last_proc_stream_id(session_), NGHTTP2_NO_ERROR,
                        nullptr, 0);
}

void Http2Session::Fail(std::uint32_t error_code, std::string_view reason) {
  if (failed_) return;
  failed_ = true;
  nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE,
                        nghttp2_session_get_last_proc_stream_id(session_), error_code,
                        NghttpBytes(reason.data()), reason.size());
}

bool Http2Session::finished() const {
  return nghttp2_session_want_read(session_) == 0 && nghttp2_session_want_write(session_) == 0;
}

void Http2Session::CopyOutBodies() {
  for (Http2Stream* stream = streams_; stream != nullptr; stream = stream->next_)
    stream->body_.CopyOut();
}

Http2Stream* Http2Session::Find(std::int32_t stream_id) const {
  return static_cast<Http2Stream*>(nghttp2_session_get_stream_user_data(session_, stream_id));
}

void Http2Session::OpenStream(std::int32_t stream_id) {
  Http2Stream* stream = observer_->NewStream();
  stream->id_ = stream_id;
  stream->trailers_ = {};
  stream->responding_ = false;
  stream->has_trailers_ = false;
  stream->waiting_for_body_ = false;
  stream->request_ended_ = false;
  stream->previous_ = nullptr;
  stream->next_ = streams_;
  if (streams_ != nullptr) streams_->previous_ = stream;
  streams_ = stream;
  ++open_streams_;
  nghttp2_session_set_stream_user_data(session_, stream_id, stream);
}

void Http2Session::CloseStream(Http2Stream* stream, std::uint32_t error_code) {
  unsent_bytes_ -= stream->body_.size();
  stream->body_.Clear();
  nghttp2_session_set_stream_user_data(session_, stream->id_, nullptr);
  (stream->previous_ != nullptr ? stream->previous_->next_ : streams_) = stream->next_;
  if (stream->next_ != nullptr) stream->next_->previous_ = stream->previous_;
  --open_streams_;
  if (error_code == NGHTTP2_NO_ERROR) resets_.GiveBack(1);
  stream->OnClosed(error_code);
}

void Http2Session::OnFrame(const nghttp2_frame* frame) {
  constexpr std::int64_t kSettingsCost = 10;
  switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
    case NGHTTP2_DATA:
      OnStreamFrame(frame);
      break;
    case NGHTTP2_RST_STREAM:
      if (!resets_.Take(1, now_ns_)) Fail(NGHTTP2_ENHANCE_YOUR_CALM, "too_many_resets");
      break;
    case NGHTTP2_SETTINGS:
      if ((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0) break;
      greeted_ = true;
      SpendGlitch(kSettingsCost);
      break;
    case NGHTTP2_PRIORITY:
      SpendGlitch(1);
      break;
    case NGHTTP2_PING:
      if ((frame->hd.flags & NGHTTP2_FLAG_ACK) == 0) {
        observer_->OnPing();
      } else {
        std::uint64_t payload = 0;
        std::memcpy(&payload, frame->ping.opaque_data, sizeof payload);
        observer_->OnPingAck(payload);
      }
      break;
    default:
      break;
  }
}

void Http2Session::OnStreamFrame(const nghttp2_frame* frame) {
  const bool ends = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
  const bool headers = frame->hd.type == NGHTTP2_HEADERS;
  if (headers) in_header_block_ = false;
  if (!headers && frame->hd.length == 0 && !ends) SpendGlitch(1);
  Http2Stream* stream = Find(frame->hd.stream_id);
  if (stream == nullptr) return;
  if (ends) stream->request_ended_ = true;
  if (headers && frame->headers.cat == NGHTTP2_HCAT_REQUEST) stream->OnHeadersEnd();
  if (ends) stream->OnRequestEnd();
}

void Http2Session::OnFrameSent(const nghttp2_frame* frame) {
  if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return;
  observer_->OnResponseFrameSent();
  if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) return;
  // The answer is complete while the client still sends: it may stop. RFC 9113, section 8.1.
  Http2Stream* stream = Find(frame->hd.stream_id);
  if (stream != nullptr && !stream->request_ended_) Reset(stream, NGHTTP2_NO_ERROR);
}

void Http2Session::SpendGlitch(std::int64_t cost) {
  if (!glitches_.Take(cost, now_ns_)) Fail(NGHTTP2_ENHANCE_YOUR_CALM, "too_many_glitches");
}

}  // namespace fastserve
