// One accepted socket: reads into its HTTP/2 session, writes what the session has to say, keeps the
// connection's timers.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "grpc/grpc_call.h"
#include "grpc/grpc_options.h"
#include "grpc/http2_session.h"
#include "grpc/keepalive.h"
#include "grpc/timeout_heap.h"

namespace fastserve {

class GrpcConnection;

// The I/O thread, seen from its connections.
class GrpcConnectionOwner {
 public:
  virtual ~GrpcConnectionOwner() = default;
  // Output waits, or the connection is to be closed: Flush is called at the end of the turn.
  virtual void ScheduleFlush(GrpcConnection* connection) = 0;
  virtual void WatchWritable(GrpcConnection* connection, bool watch) = 0;
  virtual GrpcCall* TakeCall() = 0;
  virtual void GiveBackCall(GrpcCall* call) = 0;
  virtual const GrpcCallContext& call_context() const = 0;
};

// Belongs to one I/O thread. Invariant: never destroyed inside its own calls; `closed()` tells the
// owner to do it.
class GrpcConnection final : public Http2Observer, public GrpcCallOwner {
 public:
  // Takes the descriptor.
  GrpcConnection(int fd, const GrpcServerOptions& options, GrpcConnectionOwner* owner);
  ~GrpcConnection() override;

  // Reads what fits into `buffer`, of a large message as often as that is full, and feeds the
  // session.
  void OnReadable(std::span<std::byte> buffer);
  // Writes until the socket is full or nothing is left.
  void Flush();
  // Two-step GOAWAY; closes when the open calls have ended.
  void Drain();
  // Stops at once.
  void Close();

  int fd() const { return fd_; }
  bool closed() const { return closed_; }
  std::size_t open_calls() const { return session_.open_streams(); }

  // Used by the owner: in its list of connections to flush.
  bool flush_scheduled = false;
  std::size_t index = 0;

  Http2Stream* NewStream() override;
  void OnPing() override;
  void OnPingAck(std::uint64_t payload) override;
  void OnResponseFrameSent() override { keepalive_.OnResponseFrameSent(); }
  void OnCallOutput() override { owner_->ScheduleFlush(this); }
  void ReleaseCall(GrpcCall* call) override { owner_->GiveBackCall(call); }
  void OnMissing(std::size_t bytes) override { missing_bytes_ = bytes; }
  bool stalled() const override { return stalled_; }

 private:
  enum class DrainStep : std::uint8_t { kNone, kAnnounced, kFinished };

  std::int64_t Now() const { return owner_->call_context().clock->NowNs(); }
  void ArmIn(Timeout* timeout, std::int64_t milliseconds);
  // False: nothing came, or the connection is over.
  bool ReadOnce(std::span<std::byte> buffer);
  // epoll tells of the socket when it holds so much.
  void SetLowWater(std::size_t bytes);
  bool WriteQueued();
  void AfterFlush(bool drained);
  void StartLinger();
  void FinishDrain();
  void OnKeepAliveTimer();
  void OnAgeTimer();
  void OnStallTimer();

  int fd_;
  const GrpcServerOptions& options_;
  GrpcConnectionOwner* const owner_;
  Http2Session session_;
  WriteQueue output_;
  KeepAlive keepalive_;
  DrainStep drain_ = DrainStep::kNone;
  bool closed_ = false;
  bool lingering_ = false;  // all is written, the peer's last bytes are thrown away
  bool watching_writable_ = false;
  bool stalled_ = false;
  bool aged_ = false;
  std::size_t missing_bytes_ = 0;  // of the message that was read last
  std::size_t low_water_ = 1;
  std::uint64_t sent_bytes_ = 0;
  std::uint64_t sent_at_stall_check_ = 0;
  int idle_stall_checks_ = 0;
  Timeout keepalive_timer_;
  Timeout age_timer_;
  Timeout drain_timer_;
  Timeout stall_timer_;
  Timeout preface_timer_;
  Timeout low_water_timer_;
};

}  // namespace fastserve
