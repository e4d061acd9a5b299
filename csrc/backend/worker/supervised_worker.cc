#include "backend/worker/supervised_worker.h"

#include <poll.h>

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "protocol/json_writer.h"

namespace fastserve {

namespace {

constexpr std::int64_t kForever = -1;
// Deaths of starting workers in a row after which nobody waits for the next one: a single one may
// have come from outside.
constexpr int kDoubtfulStarts = 3;

// Lives as long as a request that was held.
class WakesOnCancel final : public CancelHook {
 public:
  explicit WakesOnCancel(std::shared_ptr<const Wakeup> wakeup) : wakeup_(std::move(wakeup)) {}
  void OnCancel(const RequestPtr& /*request*/) override { wakeup_->Notify(); }

 private:
  const std::shared_ptr<const Wakeup> wakeup_;
};

bool IsCancelled(const Execution& execution) {
  return std::ranges::all_of(execution.requests, [](const RequestPtr& request) {
    return request->sink != nullptr && request->abandoned();
  });
}

Status Stopping(const ModelSpec& spec) {
  return Status::Unavailable("model '" + spec.name + "' is being unloaded");
}

Status NotInitialized(std::int64_t limit_ns) {
  std::string seconds;
  AppendJsonDouble(static_cast<double>(limit_ns) / 1e9, &seconds);
  return Status::Internal("was killed, as it did not initialize within " + seconds +
                          " s (stub-timeout-seconds of --backend-config)");
}

}  // namespace

void WorkerTally::OnDeath(const Status& reason, bool was_ready) {
  deaths_.fetch_add(1, std::memory_order_relaxed);
  const MutexLock lock(mutex_);
  last_reason_ = reason;
  if (was_ready) ready_.fetch_sub(1, std::memory_order_relaxed);
}

Status WorkerTally::Ready() const {
  if (ready_.load(std::memory_order_relaxed) > 0) return Status::Ok();
  const MutexLock lock(mutex_);
  return Status::Unavailable(last_reason_.ok() ? "no worker is ready"
                                               : "no worker is ready: " + last_reason_.message());
}

SupervisedWorker::SupervisedWorker(WorkerPlan plan, std::shared_ptr<WorkerTally> tally)
    : plan_(std::move(plan)),
      clock_(*plan_.clock),
      tally_(std::move(tally)),
      wakeup_(std::make_shared<Wakeup>()),
      wakes_(std::make_shared<WakesOnCancel>(wakeup_)),
      backoff_(plan_.times) {}

Status SupervisedWorker::Start() {
  thread_ = WorkerThread("fs-worker", [self = shared_from_this()] { self->Run(); });
  const MutexLock lock(mutex_);
  while (!first_over_) started_.Wait(mutex_);
  return first_;
}

void SupervisedWorker::Stop() {
  stopping_.store(true, std::memory_order_release);
  wakeup_->Notify();
  thread_.JoinOrLetGo();
}

void SupervisedWorker::Execute(Execution* execution, ExecutionObserver* observer) {
  std::shared_ptr<WorkerSession> session;
  {
    const MutexLock lock(mutex_);
    if (phase_ == Phase::kReady) session = session_;
  }
  if (session != nullptr && session->Execute(execution, observer)) {
    if (plan_.limits.max_requests != 0 &&
        session->requests_taken() >= drain_at_.load(std::memory_order_relaxed))
      Drain(session);
    return;
  }
  {
    const MutexLock lock(mutex_);
    if (phase_ != Phase::kStopped) {
      HoldLocked(execution, observer);
      return;
    }
  }
  FailExecution(*plan_.spec, execution, observer, Stopping(*plan_.spec));
}

void SupervisedWorker::HoldLocked(Execution* execution, ExecutionObserver* observer) {
  for (const RequestPtr& request : execution->requests) {
    // False: cancelled already, which the worker's thread sees when it looks.
    if (request->sink != nullptr) (void)request->SetCancelHook(wakes_);
  }
  held_.push_back({execution, observer});
  wakeup_->Notify();
}

void SupervisedWorker::Drain(const std::shared_ptr<WorkerSession>& session) {
  const MutexLock lock(mutex_);
  if (phase_ != Phase::kReady || session_ != session) return;
  phase_ = Phase::kDraining;
  drain_until_ns_ = clock_.NowNs() + plan_.times.drain_limit_ns;
  wakeup_->Notify();
}

std::int64_t SupervisedWorker::TendDraining(std::int64_t until_ns) {
  if (stopping()) return until_ns;
  std::int64_t drain_until_ns = kForever;
  {
    const MutexLock lock(mutex_);
    if (phase_ == Phase::kDraining) drain_until_ns = drain_until_ns_;
  }
  if (drain_until_ns == kForever) return until_ns;
  FailCancelled();
  if (clock_.NowNs() >= drain_until_ns) GiveUpDraining();
  return drain_until_ns;
}

void SupervisedWorker::GiveUpDraining() {
  std::function<void()> on_ready;
  {
    const MutexLock lock(mutex_);
    overdue_ = true;
    drain_at_.store(2 * session_->requests_taken(), std::memory_order_relaxed);
    phase_ = Phase::kReady;
    on_ready = on_ready_;
  }
  LOG_WARNING("model '" + plan_.spec->name + "': instance '" + plan_.instance_name +
              "' is not replaced after MAX_REQUESTS_BEFORE_RESTART requests, but when it is idle: "
              "something has been open for too long");
  DispatchHeld();
  if (on_ready) on_ready();
}

void SupervisedWorker::CheckReady(const std::function<void(Status)>& done) {
  std::shared_ptr<WorkerSession> session;
  {
    const MutexLock lock(mutex_);
    if (session_ != nullptr && has_is_ready_) session = session_;
  }
  if (session != nullptr) return session->CheckReady(done);
  done(tally_->Ready());
}

bool SupervisedWorker::ready() const {
  const MutexLock lock(mutex_);
  return phase_ == Phase::kReady;
}

void SupervisedWorker::Run() {
  Result<std::unique_ptr<WorkerLife>> first = Begin(plan_, wakeup_, [this] { return !stopping(); });
  if (first.ok()) BecomeReady(**first);
  {
    const MutexLock lock(mutex_);
    first_over_ = true;
    first_ = first.status();
    started_.NotifyAll();
    if (!first.ok()) phase_ = Phase::kStopped;
  }
  if (!first.ok()) return;
  std::unique_ptr<WorkerLife> life = std::move(*first);
  while (life != nullptr) {
    const Outcome outcome = Serve(life.get());
    life.reset();
    if (outcome == Outcome::kStopped) break;
    life = Restart(/*at_once=*/outcome == Outcome::kRecycled);
    if (life != nullptr) BecomeReady(*life);
  }
  if (counts_as_ready_) tally_->OnLeave();
  {
    const MutexLock lock(mutex_);
    phase_ = Phase::kStopped;
  }
  FailHeld(Stopping(*plan_.spec));
}

Result<std::unique_ptr<WorkerLife>> SupervisedWorker::Begin(
    const WorkerPlan& plan, const std::shared_ptr<const Wakeup>& wakeup,
    const std::function<bool()>& goes_on, bool* died) {
  FASTSERVE_ASSIGN_OR_RETURN(std::unique_ptr<WorkerLife> life, WorkerLife::Start(plan, wakeup));
  const std::optional<WorkerGreeting>& greeting = life->session()->greeting();
  const std::int64_t limit_ns = plan.times.initialize_limit_ns;
  const std::int64_t until_ns = limit_ns == 0 ? kForever : life->started_ns() + limit_ns;
  while (!greeting) {
    if (!goes_on()) return Stopping(*plan.spec);
    if (limit_ns != 0 && plan.clock->NowNs() >= until_ns)
      return life->End(NotInitialized(limit_ns));
    if (const Status status = life->Step(until_ns); !status.ok() && !greeting) {
      if (died != nullptr) *died = status.code() == StatusCode::kUnknown;
      return life->End(status);
    }
  }
  if (greeting->error.empty()) return life;
  const std::string error = greeting->error;
  life->Finalize(plan.times.stop_grace_ns);
  return Status::Internal("model '" + plan.spec->name + "': instance '" + plan.instance_name +
                          "': " + error);
}

Result<std::string> SupervisedWorker::AutoComplete(const WorkerPlan& plan) {
  const auto wakeup = std::make_shared<Wakeup>();
  FASTSERVE_ASSIGN_OR_RETURN(const std::unique_ptr<WorkerLife> life,
                             Begin(plan, wakeup, [] { return true; }));
  std::string config = life->session()->greeting()->config;
  life->Finalize(plan.times.stop_grace_ns);
  if (config.empty())
    return Status::Internal("model '" + plan.spec->name +
                            "': the worker answered no configuration");
  return config;
}

void SupervisedWorker::BecomeReady(const WorkerLife& life) {
  if (!counts_as_ready_) tally_->OnReady();
  counts_as_ready_ = true;
  std::function<void()> on_ready;
  {
    const MutexLock lock(mutex_);
    phase_ = Phase::kReady;
    overdue_ = false;
    drain_at_.store(plan_.limits.max_requests, std::memory_order_relaxed);
    session_ = life.session();
    has_is_ready_ = life.session()->greeting()->has_is_ready;
    start_failure_ = Status::Ok();
    on_ready = on_ready_;
  }
  DispatchHeld();
  if (on_ready) on_ready();
}

void SupervisedWorker::set_on_ready(const std::function<void()>& on_ready) {
  const MutexLock lock(mutex_);
  on_ready_ = on_ready;
}

SupervisedWorker::Outcome SupervisedWorker::Serve(WorkerLife* life) {
  std::int64_t stop_at_ns = kForever;
  for (;;) {
    const bool is_idle = life->session()->idle();
    if (stopping()) {
      if (stop_at_ns == kForever) stop_at_ns = clock_.NowNs() + plan_.times.stop_grace_ns;
      if (is_idle || clock_.NowNs() >= stop_at_ns) break;
    } else if (is_idle && TakeForRecycling()) {
      life->Finalize(plan_.times.finalize_limit_ns);
      (void)life->End(Status::Unavailable("was replaced"));
      return Outcome::kRecycled;
    }
    if (const Status status = life->Step(TendDraining(stop_at_ns)); !status.ok()) {
      OnDeath(*life, life->End(status));
      return Outcome::kDied;
    }
    DispatchHeld();
  }
  {
    const MutexLock lock(mutex_);
    phase_ = Phase::kStopped;
    session_ = nullptr;
  }
  if (life->session()->idle()) life->Finalize(plan_.times.finalize_limit_ns);
  (void)life->End(Status::Unavailable("was stopped"));
  return Outcome::kStopped;
}

bool SupervisedWorker::TakeForRecycling() {
  const MutexLock lock(mutex_);
  // An execution may be on its way to the session: retired, it sends that back here.
  const bool wanted = phase_ == Phase::kDraining || (phase_ == Phase::kReady && overdue_);
  if (!wanted || !session_->Retire()) return false;
  phase_ = Phase::kStarting;
  session_ = nullptr;
  return true;
}

void SupervisedWorker::OnDeath(const WorkerLife& life, const Status& reason) {
  {
    const MutexLock lock(mutex_);
    phase_ = Phase::kStarting;
    session_ = nullptr;
  }
  tally_->OnDeath(reason, std::exchange(counts_as_ready_, false));
  backoff_.OnDeath(clock_.NowNs() - life.started_ns(), life.session()->answered());
  LOG_ERROR(reason.message());
}

std::unique_ptr<WorkerLife> SupervisedWorker::Restart(bool at_once) {
  for (int deaths = 0;;) {
    if (!std::exchange(at_once, false)) BackOff();
    if (stopping()) return nullptr;
    tally_->OnRestart();
    bool died = false;
    const auto goes_on = [this] {
      FailCancelled();
      return !stopping();
    };
    auto life = Begin(plan_, wakeup_, goes_on, &died);
    if (life.ok()) return std::move(*life);
    if (stopping()) return nullptr;
    tally_->OnDeath(life.status(), std::exchange(counts_as_ready_, false));
    LOG_ERROR(life.status().message());
    if (died && ++deaths < kDoubtfulStarts) continue;
    const MutexLock lock(mutex_);
    start_failure_ = life.status();
  }
}

void SupervisedWorker::BackOff() {
  const std::int64_t until_ns = clock_.NowNs() + backoff_.Take();
  while (!stopping()) {
    DispatchHeld();
    FailCancelled();
    const std::int64_t left_ns = until_ns - clock_.NowNs();
    if (left_ns <= 0) return;
    pollfd woken{wakeup_->fd(), POLLIN, 0};
    if (poll(&woken, 1, static_cast<int>((left_ns + kNsPerMs - 1) / kNsPerMs)) > 0)
      wakeup_->Clear();
  }
}

void SupervisedWorker::DispatchHeld() {
  std::vector<Held> held;
  Status failure;
  {
    const MutexLock lock(mutex_);
    failure = start_failure_;
    if (held_.empty() || (failure.ok() && phase_ != Phase::kReady)) return;
    held.swap(held_);
  }
  for (const Held& each : held) {
    if (failure.ok()) {
      Execute(each.execution, each.observer);
    } else {
      FailExecution(*plan_.spec, each.execution, each.observer,
                    Status::Unavailable(failure.message()));
    }
  }
}

void SupervisedWorker::FailCancelled() {
  std::vector<Held> cancelled;
  {
    const MutexLock lock(mutex_);
    const auto kept = std::stable_partition(
        held_.begin(), held_.end(), [](const Held& each) { return !IsCancelled(*each.execution); });
    cancelled.assign(kept, held_.end());
    held_.erase(kept, held_.end());
  }
  for (const Held& each : cancelled) {
    FailExecution(*plan_.spec, each.execution, each.observer,
                  Status::Cancelled("request cancelled while it waited for a worker of model '" +
                                    plan_.spec->name + "'"));
  }
}

void SupervisedWorker::FailHeld(const Status& reason) {
  std::vector<Held> held;
  {
    const MutexLock lock(mutex_);
    held.swap(held_);
  }
  for (const Held& each : held) FailExecution(*plan_.spec, each.execution, each.observer, reason);
}

}  // namespace fastserve
