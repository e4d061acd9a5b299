#include "backend/worker/worker_life.h"

#include <poll.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <utility>

#include "backend/worker/wire.h"
#include "base/clock.h"
#include "protocol/input_tensor.h"
#include "protocol/json_writer.h"

namespace fastserve {

namespace {

// How long blocks that nobody needs wait for the next batch to be told with it.
constexpr std::int64_t kTendAfterNs = 200 * kNsPerMs;
constexpr std::int64_t kTrimWhenIdleNs = 11'000 * kNsPerMs;
// For a worker that has closed its channel to exit by itself.
constexpr int kExitGraceMs = 1000;
// More than a socket holds: what sends on is a child that the worker left behind.
constexpr int kMostAfterExit = 65536;

int PollTimeout(std::int64_t now_ns, std::int64_t until_ns) {
  if (until_ns < 0) return -1;
  const std::int64_t ms = (std::max<std::int64_t>(until_ns - now_ns, 0) + kNsPerMs - 1) / kNsPerMs;
  return static_cast<int>(std::min<std::int64_t>(ms, std::numeric_limits<int>::max()));
}

// The process is to run where this thread does (its host policy).
void ShareAffinity(int pid) {
  cpu_set_t cores;
  if (pid != 0 && sched_getaffinity(0, sizeof(cores), &cores) == 0)
    sched_setaffinity(pid, sizeof(cores), &cores);
}

WorkerSession::Options SessionOptions(const WorkerPlan& plan,
                                      std::shared_ptr<const Wakeup> wakeup) {
  WorkerSession::Options options;
  options.spec = plan.spec;
  options.instance_name = plan.instance_name;
  options.host = plan.host;
  options.wakeup = std::move(wakeup);
  options.clock = plan.clock;
  options.watches_executions = plan.limits.execution_timeout_ns != 0;
  return options;
}

class WakesOnLogSettings final : public LogSettingsListener {
 public:
  explicit WakesOnLogSettings(std::shared_ptr<const Wakeup> wakeup) : wakeup_(std::move(wakeup)) {}
  void OnLogSettings() override { wakeup_->Notify(); }

 private:
  const std::shared_ptr<const Wakeup> wakeup_;
};

// The worker has ended by itself: how, its process says.
Status Gone() { return Status::Unknown("has ended"); }

}  // namespace

Result<std::unique_ptr<WorkerLife>> WorkerLife::Start(const WorkerPlan& plan,
                                                      std::shared_ptr<const Wakeup> wakeup) {
  FASTSERVE_ASSIGN_OR_RETURN(LaunchedWorker worker, plan.launcher->Launch(plan.command));
  ShareAffinity(worker.process->pid());
  std::unique_ptr<WorkerLife> life(new WorkerLife(plan, std::move(worker), std::move(wakeup)));
  life->session_->Send(PacketKind::kInitialize, plan.initialize);
  return life;
}

WorkerLife::WorkerLife(const WorkerPlan& plan, LaunchedWorker worker,
                       std::shared_ptr<const Wakeup> wakeup)
    : plan_(plan),
      clock_(*plan.clock),
      wakeup_(std::move(wakeup)),
      worker_(std::move(worker)),
      session_(std::make_shared<WorkerSession>(SessionOptions(plan, wakeup_),
                                               std::move(worker_.channel))),
      started_ns_(clock_.NowNs()),
      output_(plan.instance_name),
      errors_(plan.instance_name),
      log_settings_(std::make_shared<WakesOnLogSettings>(wakeup_)),
      last_event_ns_(started_ns_) {
  AddLogSettingsListener(log_settings_);
}

WorkerLife::~WorkerLife() { session_->End(Status::Unavailable(Name() + " has ended")); }

std::string WorkerLife::Name() const {
  return "model '" + plan_.spec->name + "': the worker of instance '" + plan_.instance_name +
         "' (process " + std::to_string(worker_.process->pid()) + ")";
}

Status WorkerLife::Step(std::int64_t until_ns) {
  const Ready ready = Poll(NextDeadline(until_ns));
  FASTSERVE_RETURN_IF_ERROR(Receive(ready));
  FASTSERVE_RETURN_IF_ERROR(CheckTimeout());
  session_->Settle();
  Tend(!ready.anything);
  return session_->link().Health();
}

WorkerLife::Ready WorkerLife::Poll(std::int64_t until_ns) {
  Channel& channel = session_->link().channel();
  const auto wanted = static_cast<short>((session_->wants_packets() ? POLLIN : 0) |
                                         (channel.needs_flush() ? POLLOUT : 0));
  std::array<pollfd, 5> fds = {pollfd{wakeup_->fd(), POLLIN, 0}, pollfd{channel.fd(), wanted, 0},
                               pollfd{worker_.process->exit_fd(), POLLIN, 0},
                               pollfd{worker_.standard_output.get(), POLLIN, 0},
                               pollfd{worker_.standard_error.get(), POLLIN, 0}};
  Ready ready;
  if (poll(fds.data(), fds.size(), PollTimeout(clock_.NowNs(), until_ns)) <= 0) return ready;
  ready.anything = true;
  if (fds[0].revents != 0) wakeup_->Clear();
  if ((fds[1].revents & POLLOUT) != 0) channel.Flush();
  ready.channel = (fds[1].revents & ~POLLOUT) != 0;
  ready.exited = fds[2].revents != 0;
  // The end of a pipe is not the end of the worker, and is not to be polled again.
  if (fds[3].revents != 0 && !output_.Read(fds[3].fd)) worker_.standard_output.Reset();
  if (fds[4].revents != 0 && !errors_.Read(fds[4].fd)) worker_.standard_error.Reset();
  return ready;
}

std::int64_t WorkerLife::NextDeadline(std::int64_t until_ns) const {
  std::int64_t next = until_ns < 0 ? std::numeric_limits<std::int64_t>::max() : until_ns;
  const auto consider = [&next](std::optional<std::int64_t> at) {
    if (at) next = std::min(next, *at);
  };
  consider(session_->settle_at_ns());
  if (plan_.limits.execution_timeout_ns != 0) {
    for (const auto since : {session_->oldest_start_ns(), session_->quiet_since_ns()}) {
      if (since) consider(*since + plan_.limits.execution_timeout_ns);
    }
  }
  if (next_tend_ns_ != 0) consider(next_tend_ns_);
  return next == std::numeric_limits<std::int64_t>::max() ? -1 : next;
}

Status WorkerLife::Receive(const Ready& ready) {
  if (!ready.channel && !ready.exited) return Status::Ok();
  for (int received = 0; received < kMostAfterExit; ++received) {
    const Result<ReceiveOutcome> outcome = session_->Receive();
    if (!outcome.ok()) {
      return Status::Internal("was killed, as it broke the protocol of workers: " +
                              outcome.status().message());
    }
    if (*outcome == ReceiveOutcome::kEnd) return Gone();
    // After the exit all that was sent before is read.
    if (!ready.exited) return Status::Ok();
    if (*outcome == ReceiveOutcome::kNothing) break;
  }
  return Gone();
}

Status WorkerLife::CheckTimeout() const {
  if (plan_.limits.execution_timeout_ns == 0) return Status::Ok();
  const auto is_late = [this](std::optional<std::int64_t> since) {
    return since && clock_.NowNs() - *since >= plan_.limits.execution_timeout_ns;
  };
  const bool late = is_late(session_->oldest_start_ns());
  if (!late && !is_late(session_->quiet_since_ns())) return Status::Ok();
  std::string text("was killed, as ");
  text += late ? "an execution took" : "requests of past executions had no response for";
  text += " longer than ";
  AppendJsonDouble(static_cast<double>(plan_.limits.execution_timeout_ns) / 1e9, &text);
  text += " s (EXECUTION_TIMEOUT_SECONDS)";
  return Status::Unavailable(std::move(text));
}

void WorkerLife::Tend(bool idle) {
  const std::int64_t now_ns = clock_.NowNs();
  // INITIALIZE, whose level may be old by now, has been read.
  if (const int level = WorkerLogLevel(); session_->greeting() && level != log_level_) {
    log_level_ = level;
    session_->Send(PacketKind::kLogSettings, "{\"level\":" + std::to_string(level) + "}");
  }
  if (!idle) {
    last_event_ns_ = now_ns;
    next_tend_ns_ = now_ns + kTendAfterNs;
  }
  if (next_tend_ns_ == 0 || now_ns < next_tend_ns_) return;
  WorkerLink& link = session_->link();
  link.Tend();
  if (link.needs_tending()) {
    next_tend_ns_ = now_ns + kTendAfterNs;  // a response still holds a block
  } else {
    const std::int64_t trim_ns = last_event_ns_ + kTrimWhenIdleNs;
    next_tend_ns_ = now_ns < trim_ns ? trim_ns : 0;
  }
}

void WorkerLife::Finalize(std::int64_t limit_ns) {
  session_->Send(PacketKind::kFinalize, {});
  const std::int64_t until_ns = clock_.NowNs() + limit_ns;
  while (clock_.NowNs() < until_ns) {
    if (!Step(until_ns).ok()) return;
  }
}

void WorkerLife::AwaitExit() const {
  pollfd exited{worker_.process->exit_fd(), POLLIN, 0};
  if (exited.fd >= 0) poll(&exited, 1, kExitGraceMs);
}

Status WorkerLife::End(const Status& reason) {
  const bool by_itself = reason.code() == StatusCode::kUnknown;
  if (by_itself) AwaitExit();
  worker_.process->Kill();
  const std::string how = worker_.process->Bury();
  if (worker_.standard_output.valid()) output_.Read(worker_.standard_output.get());
  if (worker_.standard_error.valid()) errors_.Read(worker_.standard_error.get());
  output_.Finish();
  errors_.Finish();
  std::string text = Name() + " " + (by_itself ? how : reason.message());
  // The bytes are the model's own; a status is sent on as text.
  if (const std::string last = errors_.LastLines(); !last.empty())
    text += "; the end of its standard error:\n" + ReadableText(last);
  const Status status(by_itself ? StatusCode::kInternal : reason.code(), std::move(text));
  session_->End(status);
  return status;
}

}  // namespace fastserve
