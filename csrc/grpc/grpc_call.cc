#include "grpc/grpc_call.h"

#include <limits>
#include <utility>

namespace fastserve {

namespace {

std::array<nghttp2_nv, 3> ResponseHeaders(MessageEncoding encoding) {
  return {StaticHeader(":status", "200"), StaticHeader("content-type", "application/grpc"),
          StaticHeader("grpc-encoding", EncodingName(encoding))};
}

// The common headers, made once.
HeaderBlock HeadersFor(MessageEncoding encoding) {
  static const auto identity = ResponseHeaders(MessageEncoding::kIdentity);
  static const auto gzip = ResponseHeaders(MessageEncoding::kGzip);
  static const auto deflate = ResponseHeaders(MessageEncoding::kDeflate);
  switch (encoding) {
    case MessageEncoding::kGzip:
      return gzip;
    case MessageEncoding::kDeflate:
      return deflate;
    default:
      return HeaderBlock(identity).first(2);  // identity needs no grpc-encoding
  }
}

HeaderBlock OkTrailers() {
  static const std::array<nghttp2_nv, 1> trailers = {StaticHeader("grpc-status", "0")};
  return trailers;
}

HeaderBlock UnsupportedMediaType() {
  static const std::array<nghttp2_nv, 2> headers = {
      StaticHeader(":status", "415"), StaticHeader("accept-post", "application/grpc")};
  return headers;
}

HeaderBlock MethodNotAllowed() {
  static const std::array<nghttp2_nv, 2> headers = {StaticHeader(":status", "405"),
                                                    StaticHeader("allow", "POST")};
  return headers;
}

std::string MessagePrefix(bool compressed, std::size_t size) {
  return {static_cast<char>(compressed ? 1 : 0), static_cast<char>(size >> 24),
          static_cast<char>(size >> 16), static_cast<char>(size >> 8), static_cast<char>(size)};
}

std::int64_t DeadlineAfter(std::int64_t now_ns, std::int64_t timeout_ns) {
  constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
  return timeout_ns > kMax - now_ns ? kMax : now_ns + timeout_ns;
}

}  // namespace

GrpcCall::GrpcCall(const GrpcCallContext* context)
    : context_(context), deadline_([this] { OnDeadline(); }), trailers_{} {}

void GrpcCall::Start(Http2Session* session, GrpcCallOwner* owner) {
  session_ = session;
  owner_ = owner;
  method_ = nullptr;
  head_.Clear();
  has_message_ = false;
  headers_sent_ = false;
  finished_ = false;
  paused_ = false;
  unconsumed_bytes_ = 0;
}

void GrpcCall::OnHeader(std::string_view name, std::string_view value) {
  if (head_.list_bytes <= context_->max_header_list_bytes) head_.Add(name, value);
}

void GrpcCall::OnHeadersEnd() {
  if (head_.list_bytes > context_->max_header_list_bytes) {
    return Finish({GrpcStatusCode::kResourceExhausted,
                   "received metadata size exceeds limit (" +
                       std::to_string(context_->max_header_list_bytes) + " bytes)"});
  }
  if (!head_.is_post) return FinishHttp(MethodNotAllowed());
  if (head_.content_type != RequestHead::ContentType::kGrpc)
    return FinishHttp(UnsupportedMediaType());
  if (head_.encoding == MessageEncoding::kUnsupported) return FinishUnsupportedEncoding();
  method_ = context_->service->Find(head_.path);
  const GrpcStatus status = CheckHead();
  if (!status.ok()) return Finish(status);
  response_encoding_ = ResponseEncoding();
  reader_.Reset(context_->limits, head_.encoding);
  if (head_.timeout_ns) {
    context_->timeouts->Arm(&deadline_, DeadlineAfter(context_->clock->NowNs(), *head_.timeout_ns));
  }
}

GrpcStatus GrpcCall::CheckHead() {
  if (method_ == nullptr)
    return {GrpcStatusCode::kUnimplemented, "unknown method '" + head_.path + "'"};
  if (!head_.malformed.empty()) {
    return {GrpcStatusCode::kInternal, "malformed value of header '" + head_.malformed + "'"};
  }
  if (owner_->stalled()) {
    return {GrpcStatusCode::kResourceExhausted, "the connection does not drain its responses"};
  }
  return {};
}

MessageEncoding GrpcCall::ResponseEncoding() const {
  if (context_->response_compression == CompressionLevel::kNone) return MessageEncoding::kIdentity;
  if (head_.accepts_gzip) return MessageEncoding::kGzip;
  return head_.accepts_deflate ? MessageEncoding::kDeflate : MessageEncoding::kIdentity;
}

void GrpcCall::OnData(std::span<const std::byte> bytes) {
  const std::size_t size = bytes.size();
  GrpcStatus error;
  while (!finished_ && !bytes.empty()) {
    const MessageReader::Progress progress = reader_.Read(&bytes, &error);
    if (progress == MessageReader::Progress::kError) Finish(error);
    if (progress != MessageReader::Progress::kMessage) break;
    OnWholeMessage(reader_.TakeMessage());
  }
  if (!finished_) owner_->OnMissing(reader_.missing_bytes());
  if (paused_) {
    unconsumed_bytes_ += size;
  } else {
    session_->Consume(this, size);
  }
}

void GrpcCall::OnWholeMessage(BufferView message) {
  if (!method_->unary) return context_->service->OnMessage(this, std::move(message));
  if (has_message_) {
    return Finish(
        {GrpcStatusCode::kUnimplemented, "a unary call takes one request message, got more"});
  }
  // Its client may never end the request.
  ByteBudget* const budget = context_->limits.budget;
  if (budget != nullptr) {
    if (!budget->TryTake(message.size))
      return Finish({GrpcStatusCode::kUnavailable, budget->Refusal(message.size).message()});
    claimed_bytes_ = message.size;
  }
  has_message_ = true;
  message_ = std::move(message);
}

void GrpcCall::ReleaseClaim() {
  if (claimed_bytes_ > 0) context_->limits.budget->GiveBack(std::exchange(claimed_bytes_, 0));
}

void GrpcCall::OnRequestEnd() {
  if (finished_) return;
  if (reader_.mid_message()) {
    return Finish({GrpcStatusCode::kInternal, "the request ended in the middle of a message"});
  }
  if (!method_->unary) return context_->service->OnHalfClose(this);
  if (!has_message_) {
    return Finish(
        {GrpcStatusCode::kUnimplemented, "a unary call takes one request message, got none"});
  }
  ReleaseClaim();  // the engine counts the inputs
  context_->service->OnMessage(this, std::move(message_));
}

void GrpcCall::OnBodySent() {
  if (state_ != nullptr) state_->OnDrained();
}

void GrpcCall::OnClosed(std::uint32_t) {
  finished_ = true;
  End();
  owner_->ReleaseCall(this);
}

void GrpcCall::OnDeadline() { Finish({GrpcStatusCode::kDeadlineExceeded, "Deadline Exceeded"}); }

void GrpcCall::Send(WireMessage message) {
  if (finished_) return;
  SendHeaders();
  const bool compress = response_encoding_ != MessageEncoding::kIdentity;
  if (compress) {
    std::string bytes = Compress(response_encoding_, context_->response_compression, message);
    message.pieces.clear();
    message.pieces.push_back({std::move(bytes), {}});
  }
  std::string prefix = MessagePrefix(compress, message.size());
  session_->SendBody(this, std::move(prefix), std::move(message));
  owner_->OnCallOutput();
}

void GrpcCall::SendHeaders() {
  if (headers_sent_) return;
  headers_sent_ = true;
  session_->Respond(this, HeadersFor(response_encoding_));
}

void GrpcCall::Finish(const GrpcStatus& status) {
  if (finished_) return;
  finished_ = true;
  if (headers_sent_) {
    session_->SendTrailers(this, StatusTrailers(status, /*trailers_only=*/false));
  } else {
    session_->RespondAndEnd(this, StatusTrailers(status, /*trailers_only=*/true));
  }
  End();
  owner_->OnCallOutput();
}

HeaderBlock GrpcCall::StatusTrailers(const GrpcStatus& status, bool trailers_only) {
  if (status.ok() && !trailers_only) return OkTrailers();
  std::size_t count = 0;
  if (trailers_only) {
    for (const nghttp2_nv& header : HeadersFor(MessageEncoding::kIdentity))
      trailers_[count++] = header;
  }
  trailers_[count++] = StaticHeader("grpc-status", GrpcStatusText(status.code));
  if (!status.message.empty()) {
    // A header list that the peer would refuse helps nobody: long texts are cut.
    constexpr std::size_t kMaxMessageBytes = 4096;
    status_message_ = PercentEncode(std::string_view(status.message).substr(0, kMaxMessageBytes));
    trailers_[count++] = StaticHeader("grpc-message", status_message_);
  }
  return HeaderBlock(trailers_).first(count);
}

void GrpcCall::FinishHttp(HeaderBlock headers) {
  finished_ = true;
  session_->RespondAndEnd(this, headers);
  End();
  owner_->OnCallOutput();
}

void GrpcCall::FinishUnsupportedEncoding() {
  const GrpcStatus status{GrpcStatusCode::kUnimplemented,
                          "message encoding '" + head_.encoding_name + "' is not supported"};
  const std::size_t count = StatusTrailers(status, /*trailers_only=*/true).size();
  trailers_[count] = StaticHeader("grpc-accept-encoding", kAcceptedEncodings);
  FinishHttp(HeaderBlock(trailers_).first(count + 1));
}

void GrpcCall::PauseReading(bool paused) {
  paused_ = paused;
  if (paused || unconsumed_bytes_ == 0) return;
  session_->Consume(this, std::exchange(unconsumed_bytes_, 0));
  owner_->OnCallOutput();
}

void GrpcCall::End() {
  context_->timeouts->Disarm(&deadline_);
  PauseReading(false);
  owner_->OnMissing(0);
  ReleaseClaim();
  message_ = {};
  reader_.Reset(context_->limits, MessageEncoding::kIdentity);
  if (state_ == nullptr) return;
  const std::shared_ptr<CallState> state = std::move(state_);
  state_ = nullptr;
  state->OnCallClosed();
}

}  // namespace fastserve
