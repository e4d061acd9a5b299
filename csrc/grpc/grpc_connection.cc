#include "grpc/grpc_connection.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/clock.h"

namespace fastserve {

namespace {

constexpr std::int64_t kPrefaceMs = 20'000;   // from accept to the first SETTINGS
constexpr std::int64_t kDrainPingMs = 1'000;  // for the answer to the PING after the first GOAWAY
constexpr std::int64_t kLingerMs = 1'000;
constexpr std::int64_t kStallCheckMs = 1'000;  // undrained for so long: tensors are copied out
// Pieces of large messages.
constexpr std::size_t kLeastStep = 256 << 10;
constexpr std::size_t kLargeStep = 1 << 20;
constexpr std::size_t kMostAtOnce = kLargeStep;
constexpr std::int64_t kLowWaterMs = 2;  // what else the peer sends waits so long at most
constexpr int kStallChecksBeforeClose = 60;
constexpr std::uint64_t kDrainPing = 0x6472'6169'6e21'2121;
constexpr std::uint64_t kKeepAlivePing = 0x616c'6976'653f'3f3f;

}  // namespace

GrpcConnection::GrpcConnection(int fd, const GrpcServerOptions& options, GrpcConnectionOwner* owner)
    : fd_(fd),
      options_(options),
      owner_(owner),
      session_(options.http2, this),
      keepalive_(options.keepalive, owner->call_context().clock->NowNs()),
      keepalive_timer_([this] { OnKeepAliveTimer(); }),
      age_timer_([this] { OnAgeTimer(); }),
      drain_timer_([this] { lingering_ ? Close() : FinishDrain(); }),
      stall_timer_([this] { OnStallTimer(); }),
      preface_timer_([this] { Close(); }),
      low_water_timer_([this] { SetLowWater(1); }) {
  owner_->call_context().timeouts->Arm(&keepalive_timer_, keepalive_.next_deadline_ns());
  ArmIn(&preface_timer_, kPrefaceMs);
  if (options_.max_connection_age_ms > 0) {
    // Spread by a tenth, so that clients that came together do not leave together.
    const std::int64_t spread = options_.max_connection_age_ms / 10;
    const std::int64_t jitter = spread > 0 ? Now() / 1000 % (2 * spread + 1) - spread : 0;
    ArmIn(&age_timer_, options_.max_connection_age_ms + jitter);
  }
  owner_->ScheduleFlush(this);
}

GrpcConnection::~GrpcConnection() {
  flush_scheduled = true;  // calls that end now must not put this connection on the list again
  close(fd_);
}

void GrpcConnection::ArmIn(Timeout* timeout, std::int64_t milliseconds) {
  owner_->call_context().timeouts->Arm(timeout, Now() + milliseconds * kNsPerMs);
}

void GrpcConnection::OnReadable(std::span<std::byte> buffer) {
  for (std::size_t left = kMostAtOnce; left >= buffer.size() && ReadOnce(buffer);)
    left -= buffer.size();
  if (closed_ || lingering_) return;
  // Nobody else waits for what comes.
  const bool alone =
      session_.open_streams() == 1 && session_.unsent_bytes() == 0 && output_.empty();
  const std::size_t step = alone ? std::min(missing_bytes_, kLargeStep) : 1;
  SetLowWater(step >= kLeastStep ? step : 1);
}

// A sender that has to wake this thread for each piece of a large message is slowed down by that.
void GrpcConnection::SetLowWater(std::size_t bytes) {
  if (bytes > 1) {
    ArmIn(&low_water_timer_, kLowWaterMs);
  } else if (low_water_timer_.armed()) {
    owner_->call_context().timeouts->Disarm(&low_water_timer_);
  }
  if (bytes == low_water_) return;
  low_water_ = bytes;
  const int value = static_cast<int>(bytes);
  setsockopt(fd_, SOL_SOCKET, SO_RCVLOWAT, &value, sizeof value);
}

bool GrpcConnection::ReadOnce(std::span<std::byte> buffer) {
  const ssize_t size = recv(fd_, buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (size <= 0) {
    Close();
    return false;
  }
  if (lingering_) return false;
  const std::int64_t now_ns = Now();
  keepalive_.OnReceived(now_ns);
  missing_bytes_ = 0;
  session_.Receive(buffer.first(static_cast<std::size_t>(size)), now_ns);
  if (session_.greeted() && preface_timer_.armed())
    owner_->call_context().timeouts->Disarm(&preface_timer_);
  owner_->ScheduleFlush(this);
  return missing_bytes_ >= kLeastStep && static_cast<std::size_t>(size) == buffer.size();
}

Http2Stream* GrpcConnection::NewStream() {
  GrpcCall* call = owner_->TakeCall();
  call->Start(&session_, this);
  return call;
}

void GrpcConnection::OnPing() {
  if (keepalive_.AllowPing(Now(), session_.open_streams() > 0)) return;
  session_.Fail(NGHTTP2_ENHANCE_YOUR_CALM, "too_many_pings");
}

void GrpcConnection::OnPingAck(std::uint64_t payload) {
  if (payload == kDrainPing && drain_ == DrainStep::kAnnounced) FinishDrain();
}

void GrpcConnection::Flush() {
  if (closed_ || lingering_) return;
  bool drained = false;
  for (;;) {
    if (output_.empty()) session_.CollectOutput(&output_);
    const bool last = output_.size() < Http2Session::kOutputBytes;
    if (!WriteQueued()) break;
    if (last) {
      drained = true;
      break;
    }
  }
  if (!closed_) AfterFlush(drained);
}

// Returns true when the whole queue is written.
bool GrpcConnection::WriteQueued() {
  constexpr std::size_t kMaxSegments = 64;
  while (!output_.empty()) {
    std::array<iovec, kMaxSegments> segments;
    msghdr message{};
    message.msg_iov = segments.data();
    message.msg_iovlen = output_.Gather(segments);
    const ssize_t sent = sendmsg(fd_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) {
      if (errno != EAGAIN) Close();
      return false;
    }
    sent_bytes_ += static_cast<std::uint64_t>(sent);
    output_.Consume(static_cast<std::size_t>(sent));
  }
  return true;
}

void GrpcConnection::AfterFlush(bool drained) {
  if (watching_writable_ == drained) {
    watching_writable_ = !drained;
    owner_->WatchWritable(this, watching_writable_);
  }
  // Between the two GOAWAYs calls may be on their way to us, also when none is open.
  const bool finished = session_.finished() && drain_ != DrainStep::kAnnounced;
  if (session_.failed() || (drained && finished)) return drained ? StartLinger() : Close();
  const bool waiting = !output_.empty() || session_.unsent_bytes() > 0;
  if (!waiting) {
    stalled_ = false;
    if (stall_timer_.armed()) owner_->call_context().timeouts->Disarm(&stall_timer_);
  } else if (!stall_timer_.armed()) {
    idle_stall_checks_ = 0;
    sent_at_stall_check_ = sent_bytes_;
    ArmIn(&stall_timer_, kStallCheckMs);
  }
}

// Closing a socket with unread bytes would make the kernel throw away our last frames: the peer may
// close first.
void GrpcConnection::StartLinger() {
  lingering_ = true;
  shutdown(fd_, SHUT_WR);
  ArmIn(&drain_timer_, kLingerMs);
}

void GrpcConnection::Close() {
  closed_ = true;
  owner_->ScheduleFlush(this);
}

void GrpcConnection::Drain() {
  if (drain_ != DrainStep::kNone || closed_) return;
  drain_ = DrainStep::kAnnounced;
  session_.AnnounceShutdown();
  session_.Ping(kDrainPing);
  ArmIn(&drain_timer_, kDrainPingMs);
  owner_->ScheduleFlush(this);
}

void GrpcConnection::FinishDrain() {
  if (drain_ != DrainStep::kAnnounced) return;
  drain_ = DrainStep::kFinished;
  session_.FinishShutdown();
  owner_->ScheduleFlush(this);
}

void GrpcConnection::OnKeepAliveTimer() {
  switch (keepalive_.Check(Now(), session_.open_streams() > 0)) {
    case KeepAlive::Action::kClose:
      return Close();
    case KeepAlive::Action::kSendPing:
      session_.Ping(kKeepAlivePing);
      owner_->ScheduleFlush(this);
      break;
    case KeepAlive::Action::kNone:
      break;
  }
  owner_->call_context().timeouts->Arm(&keepalive_timer_, keepalive_.next_deadline_ns());
}

void GrpcConnection::OnAgeTimer() {
  if (aged_) return Close();
  aged_ = true;
  Drain();
  if (options_.max_connection_age_grace_ms > 0)
    ArmIn(&age_timer_, options_.max_connection_age_grace_ms);
}

// Runs each second while responses wait for the peer. The first time they are copied out, so that
// no batch's buffer waits; a peer that takes nothing while much waits gets no new calls, and is
// given up after a minute.
void GrpcConnection::OnStallTimer() {
  const bool progress = sent_bytes_ != sent_at_stall_check_;
  sent_at_stall_check_ = sent_bytes_;
  session_.CopyOutBodies();
  output_.CopyOut();
  stalled_ = !progress && session_.unsent_bytes() > options_.stalled_bytes;
  const bool stuck = !progress && (stalled_ || !output_.empty());
  idle_stall_checks_ = stuck ? idle_stall_checks_ + 1 : 0;
  if (idle_stall_checks_ >= kStallChecksBeforeClose) return Close();
  ArmIn(&stall_timer_, kStallCheckMs);
}

}  // namespace fastserve
