#include "http/connection.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "http/infer_target.h"
#include "http/response_head.h"
#include "memory/buffer.h"

namespace fastserve {
namespace {

std::string_view AsText(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::span<const std::byte> AsBytes(std::string_view text) { return std::as_bytes(std::span(text)); }

}  // namespace

HttpConnection::HttpConnection(std::shared_ptr<HttpShared> shared, HttpTransport* transport)
    : shared_(std::move(shared)),
      transport_(transport),
      scanner_(shared_->options.head),
      body_claim_(shared_->budget) {
  WaitForRequest();
}

std::span<std::byte> HttpConnection::ReadBuffer() {
  if (state_ == State::kBody) return {body_.data + body_received_, body_.size - body_received_};
  return {shared_->scratch.get(), shared_->options.scratch_bytes};
}

void HttpConnection::OnReceived(std::size_t size) {
  if (lost() || size == 0) return;
  const std::span<const std::byte> bytes(shared_->scratch.get(), size);
  switch (state_) {
    case State::kHead:
      return OnReceivedRequest(bytes);
    case State::kBody:
      return OnReceivedBody(size);
    case State::kExecuting:
      return KeepAhead(bytes);
    case State::kDelegated:
      return OnReceivedDelegated(bytes);
    case State::kDetached:
      SetDeadline(shared_->options.idle_timeout_ns);
      return transport_->Delegate(bytes);
    case State::kClosing:
      return;  // read so that the peer can read our last response (RFC 9112 9.6)
  }
}

void HttpConnection::OnReceivedRequest(std::span<const std::byte> bytes) {
  std::size_t used = 0;
  if (ahead_.empty() && !processing_ && pause_reasons_ == 0) used = Process(bytes);
  if (used < bytes.size() && state_ != State::kClosing) KeepAhead(bytes.subspan(used));
  ProcessAhead();
}

void HttpConnection::OnReceivedDelegated(std::span<const std::byte> bytes) {
  const std::size_t used = ForwardBody(bytes);
  if (used < bytes.size()) KeepAhead(bytes.subspan(used));
  ProcessAhead();
}

// What comes before its turn is kept; more of it is not read.
void HttpConnection::KeepAhead(std::span<const std::byte> bytes) {
  ahead_.append(AsText(bytes));
  if (state_ != State::kHead && state_ != State::kClosing) SetPaused(kPausedAhead, true);
}

void HttpConnection::ProcessAhead() {
  if (processing_) return;
  processing_ = true;
  while (!lost() && state_ == State::kHead && !ahead_.empty() &&
         (pause_reasons_ & kPausedWriting) == 0) {
    const std::size_t used = Process(AsBytes(ahead_));
    ahead_.erase(0, used);
    if (used == 0) break;
  }
  processing_ = false;
  if (!lost() && (ahead_.empty() || state_ == State::kHead)) SetPaused(kPausedAhead, false);
}

// Takes as many bytes as belong to the request that begins here. 0: its head is not complete.
std::size_t HttpConnection::Process(std::span<const std::byte> bytes) {
  const std::size_t head_size = scanner_.Scan(AsText(bytes));
  if (head_size > 0) return BeginRequest(bytes, head_size);
  if (!scanner_.error().ok()) {
    Refuse(scanner_.error().status, scanner_.error().text);
    return bytes.size();
  }
  if (!head_begun_) SetDeadline(shared_->options.head_timeout_ns);
  head_begun_ = true;
  return 0;
}

std::size_t HttpConnection::BeginRequest(std::span<const std::byte> bytes, std::size_t head_size) {
  scanner_.Reset();
  head_begun_ = false;
  HttpHead head;
  const HttpError error =
      ParseHttpHead(AsText(bytes.first(head_size)), shared_->options.head, &head);
  if (!error.ok()) {
    minor_version_ = 1;
    Refuse(error.status, error.text);
    return bytes.size();
  }
  keep_alive_ = head.keep_alive;
  minor_version_ = head.minor_version;
  deadline_ns_ = 0;
  InferTarget target;
  if (IsPlainInfer(head) && ParseInferTarget(head.target, &target)) {
    auto request = std::make_shared<InferRequest>();
    request->model_name = std::move(target.model_name);
    request->model_version = target.model_version;
    return head_size + BeginInfer(head, bytes.subspan(head_size), std::move(request));
  }
  BeginDelegated(head, bytes.first(head_size));
  if (state_ == State::kDetached) {  // all of it is aiohttp's
    if (!lost() && bytes.size() > head_size) transport_->Delegate(bytes.subspan(head_size));
    return bytes.size();
  }
  return head_size + ForwardBody(bytes.subspan(head_size));
}

std::size_t HttpConnection::BeginInfer(const HttpHead& head, std::span<const std::byte> rest,
                                       RequestPtr request) {
  const std::size_t limit = shared_->options.max_input_bytes;
  if (head.content_length > limit) {
    Refuse(400, "request body size of " + std::to_string(head.content_length) +
                    " bytes exceeds the maximum allowed input size of " + std::to_string(limit) +
                    " bytes. Use --http-max-input-size to increase the limit.");
    return rest.size();
  }
  std::optional<std::string_view> json_header;
  if (head.has_inference_header_length) json_header = head.inference_header_length;
  const Result<std::size_t> json_size = InferJsonSize(json_header, head.content_length);
  if (!json_size.ok()) {
    Refuse(HttpStatus(json_size.status().code()), json_size.status().message());
    return rest.size();
  }
  json_size_ = *json_size;
  const std::size_t size = head.content_length;
  const std::size_t taken = std::min(size, rest.size());
  if (!AllocateBody(size) || !ClaimBody(taken)) return rest.size();
  if (taken > 0) std::memcpy(body_.data, rest.data(), taken);
  CountCopiedBytes(taken);
  body_received_ = taken;
  request_ = std::move(request);
  if (taken == size) {
    StartInfer();
  } else {
    state_ = State::kBody;
    body_limit_ns_ = shared_->clock->NowNs() + shared_->options.body_timeout_ns +
                     static_cast<std::int64_t>(size) * 1'000'000'000 /
                         shared_->options.min_body_bytes_per_second;
    SetBodyDeadline();
  }
  return taken;
}

// The body is placed so that what follows its JSON, the first binary tensor, is aligned.
bool HttpConnection::AllocateBody(std::size_t size) {
  const std::size_t padding = (kBufferAlignment - json_size_ % kBufferAlignment) % kBufferAlignment;
  BufferPtr buffer = AllocateHostBuffer(size + padding);
  if (buffer == nullptr) {
    Refuse(503, "out of memory for a request of " + std::to_string(size) + " bytes");
    return false;
  }
  std::byte* data = buffer->data() + padding;
  body_ = BufferView(std::move(buffer), data, size);
  return true;
}

// The body's memory becomes resident as it is written, so what counts is what has arrived.
bool HttpConnection::ClaimBody(std::size_t size) {
  const Status status = body_claim_.Add(size, body_.size);
  if (!status.ok()) Refuse(HttpStatus(status.code()), status.message());
  return status.ok();
}

void HttpConnection::OnReceivedBody(std::size_t size) {
  if (!ClaimBody(size)) return;
  body_received_ += size;
  if (body_received_ == body_.size) return StartInfer();
  SetBodyDeadline();
}

void HttpConnection::StartInfer() {
  state_ = State::kExecuting;
  deadline_ns_ = 0;
  shared_->starter->Start(
      {request_, std::exchange(body_, {}), std::move(body_claim_), json_size_, shared_from_this()});
}

void HttpConnection::BeginDelegated(const HttpHead& head, std::span<const std::byte> head_bytes) {
  const bool framable = !head.has_upgrade && head.method != "CONNECT";
  state_ = framable ? State::kDelegated : State::kDetached;
  response_ended_ = false;
  framer_ = HttpBodyFramer::For(head);
  body_limit_ns_ = 0;
  if (!framable) {
    SetDeadline(shared_->options.idle_timeout_ns);
  } else if (!framer_.done()) {
    SetBodyDeadline();
  }
  transport_->Delegate(head_bytes);
}

// Passes the bytes of the delegated request's body on; returns how many these were.
std::size_t HttpConnection::ForwardBody(std::span<const std::byte> bytes) {
  if (lost() || framer_.done()) return 0;
  const std::size_t used = framer_.Consume(bytes);
  if (!framer_.error().ok()) {  // aiohttp reads the same bytes and ends the connection
    state_ = State::kDetached;
    transport_->Delegate(bytes);
    return bytes.size();
  }
  if (framer_.done()) {
    deadline_ns_ = 0;
  } else {
    SetBodyDeadline();
  }
  if (used > 0) transport_->Delegate(bytes.first(used));
  if (framer_.done() && response_ended_ && state_ == State::kDelegated) EndResponse(keep_alive_);
  return used;
}

void HttpConnection::OnDelegateEnded(bool keep_alive) {
  if (lost() || state_ != State::kDelegated) return;
  response_ended_ = true;
  keep_alive_ = keep_alive;
  if (!keep_alive) return;  // aiohttp closes the connection
  if (framer_.done()) EndResponse(true);
}

void HttpConnection::OnDelegatePaused(bool paused) {
  if (!lost()) SetPaused(kPausedDelegate, paused);
}

void HttpConnection::OnDelegateClosed() {
  if (lost() || state_ == State::kClosing) return;
  CloseAfterResponse();
}

void HttpConnection::OnReply(InferReply reply) {
  request_.reset();
  if (lost() || state_ != State::kExecuting) return;
  const bool keep_alive = keep_alive_ && !shared_->draining;
  SendReply(std::move(reply), keep_alive);
  if (!lost()) EndResponse(keep_alive);
}

void HttpConnection::SendReply(InferReply reply, bool keep_alive) {
  ResponseHead head;
  head.status = reply.status;
  head.content_length = reply.body.size();
  head.json_size = reply.json_size;
  head.keep_alive = keep_alive;
  head.minor_version = minor_version_;
  transport_->Write(BuildResponseHead(head), std::move(reply.body));
}

void HttpConnection::EndResponse(bool keep_alive) {
  if (!keep_alive || shared_->draining) return CloseAfterResponse();
  state_ = State::kHead;
  WaitForRequest();
  ProcessAhead();
}

void HttpConnection::Refuse(int status, std::string_view text) {
  SendReply(ErrorReply(status, text), /*keep_alive=*/false);
  CloseAfterResponse();
}

// Closing with unread bytes would make the kernel reset the connection and take the response from
// the peer.
void HttpConnection::CloseAfterResponse() {
  if (lost()) return;
  const bool request_complete =
      state_ == State::kExecuting || (state_ == State::kDelegated && framer_.done());
  state_ = State::kClosing;
  DropRequest();
  if (request_complete && ahead_.empty()) return transport_->Close();
  ahead_.clear();
  SetPaused(kPausedAhead, false);
  SetPaused(kPausedDelegate, false);
  SetDeadline(shared_->options.linger_ns);
  transport_->WriteEof();
}

void HttpConnection::OnEof() {
  if (lost()) return;
  CancelRequest();
  DropRequest();
  state_ = State::kClosing;
  deadline_ns_ = 0;
}

void HttpConnection::OnLost() {
  if (lost()) return;
  CancelRequest();
  DropRequest();
  state_ = State::kClosing;
  transport_ = nullptr;
  ahead_.clear();
}

void HttpConnection::DropRequest() {
  request_.reset();
  body_ = {};
  body_claim_.Release();
}

void HttpConnection::CancelRequest() {
  if (const RequestPtr request = std::exchange(request_, nullptr)) request->Cancel();
}

void HttpConnection::OnWritable(bool writable) {
  if (lost()) return;
  stall_deadline_ns_ = writable ? 0 : shared_->clock->NowNs() + shared_->options.stall_timeout_ns;
  stalled_bytes_ = writable ? 0 : transport_->UnsentBytes();
  SetPaused(kPausedWriting, !writable);
  if (writable) ProcessAhead();
}

void HttpConnection::SetPaused(PauseReason reason, bool paused) {
  const std::uint8_t before = pause_reasons_;
  pause_reasons_ = static_cast<std::uint8_t>(paused ? before | reason : before & ~reason);
  if (before == 0 && pause_reasons_ != 0) {
    transport_->PauseReading();
  } else if (before != 0 && pause_reasons_ == 0) {
    transport_->ResumeReading();
  }
}

void HttpConnection::SetDeadline(std::int64_t delay_ns) {
  deadline_ns_ = shared_->clock->NowNs() + delay_ns;
}

void HttpConnection::SetBodyDeadline() {
  SetDeadline(shared_->options.body_timeout_ns);
  if (body_limit_ns_ > 0) deadline_ns_ = std::min(deadline_ns_, body_limit_ns_);
}

void HttpConnection::WaitForRequest() { SetDeadline(shared_->options.idle_timeout_ns); }

// A slow reader is not a stalled one: what counts is whether it takes anything.
bool HttpConnection::Stalled(std::int64_t now_ns) {
  if (stall_deadline_ns_ == 0) return false;
  const std::size_t unsent = transport_->UnsentBytes();
  if (unsent < stalled_bytes_) stall_deadline_ns_ = now_ns + shared_->options.stall_timeout_ns;
  stalled_bytes_ = unsent;
  return now_ns >= stall_deadline_ns_;
}

void HttpConnection::OnTick(std::int64_t now_ns) {
  if (lost()) return;
  const bool late = deadline_ns_ > 0 && now_ns >= deadline_ns_;
  if (Stalled(now_ns)) return transport_->Abort();
  // While our side is not reading, the peer cannot be late.
  if (!late || (pause_reasons_ != 0 && state_ != State::kClosing)) return;
  deadline_ns_ = 0;
  if (idle()) {
    transport_->Close();
  } else if (state_ == State::kHead) {
    Refuse(408, "the request head took too long");
  } else if (state_ == State::kBody) {
    Refuse(408, "the request body took too long");
  } else {
    transport_->Abort();
  }
}

void HttpConnection::OnDrain() {
  if (lost() || !idle()) return;
  state_ = State::kClosing;
  transport_->Close();
}

}  // namespace fastserve
