// One sending thread of the load generator: an epoll loop that sends what is due and records what
// comes back.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/status.h"
#include "perf/connection_pool.h"
#include "perf/load_options.h"
#include "perf/load_stats.h"
#include "perf/send_schedule.h"

namespace fastserve::perf {

// Purpose: keeps `concurrency` requests in flight, or sends them at their intended times. Start and
// Stop from one thread; AddTo from any. Invariants: 1. sent = completed + failed + abandoned + in
// flight.
//                             2. After Stop nothing is in flight.
class LoadLoop : private ConnectionOwner {
 public:
  // `options` holds this thread's share of rate, concurrency and connections. The error log
  // outlives the loop.
  LoadLoop(LoadOptions options, const SocketAddress& address, ErrorLog& errors);
  ~LoadLoop() override;
  LoadLoop(const LoadLoop&) = delete;
  LoadLoop& operator=(const LoadLoop&) = delete;

  Status Start();
  // Sends nothing more; does not wait.
  void BeginStop(std::int64_t grace_ns);
  // Waits for requests in flight, at most the grace time of BeginStop; the rest is abandoned.
  void Join();
  // All of max_requests have ended, or the loop was stopped.
  bool finished() const { return finished_.load(std::memory_order_acquire); }
  void AddTo(LoadSnapshot* snapshot) const;

 private:
  void OnFinished(Exchange* exchange, const Status& status) override;

  Status Prepare();
  void Run();
  bool Done(std::int64_t now_ns) const;
  void HandleEvent(std::uint64_t token, std::uint32_t events);
  void AfterEvent(Connection* connection, const Status& status);
  void SendDue();
  // Requests are left to send; MaySend: and not too many are in flight.
  bool MayStart() const;
  bool MaySend() const;
  void SendOn(Connection* connection, std::int64_t intended_ns, std::int64_t now_ns);
  void FlushUsed();
  void Break(Connection* connection, const Status& status, bool blameless = false);
  void Record(Exchange* exchange, const Status& status);
  void Scan(std::int64_t now_ns);
  void GiveUp(Exchange* exchange, bool timed_out);
  void ArmTimer(std::int64_t now_ns);
  Exchange* NewExchange();
  void Release(Exchange* exchange);

  const LoadOptions options_;
  const SocketAddress address_;
  ErrorLog& errors_;
  LoadRecorder recorder_;

  // Used by the sending thread only.
  FileDescriptor epoll_;
  FileDescriptor timer_;
  FileDescriptor wake_;
  std::unique_ptr<ConnectionPool> pool_;
  SendSchedule schedule_;
  std::mt19937_64 random_;
  std::deque<Exchange> exchanges_;
  std::vector<Exchange*> idle_exchanges_;
  std::vector<Connection*> used_;  // submitted to since the last flush
  std::string scratch_;
  std::size_t next_request_ = 0;
  std::int64_t started_requests_ = 0;
  std::int64_t in_flight_ = 0;
  std::int64_t next_scan_ns_ = kNever;
  std::int64_t armed_ns_ = kNever;

  // Relaxed: a gauge, the first intended time not taken yet.
  std::atomic<std::int64_t> next_send_ns_{kNever};

  // Release on the stopping side pairs with acquire in the loop: the grace time is set before the
  // flag.
  std::atomic<bool> stopping_{false};
  std::atomic<std::int64_t> give_up_ns_{kNever};
  std::atomic<bool> finished_{false};
  std::atomic<std::int64_t> final_cpu_ns_{0};  // written before finished_
  std::thread thread_;
  std::thread::native_handle_type native_handle_{};
};

}  // namespace fastserve::perf
