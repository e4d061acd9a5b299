#include "backend/worker/worker_session.h"

#include <algorithm>
#include <utility>

#include "backend/worker/json_parameters.h"
#include "backend/worker/state_rows.h"
#include "base/log.h"
#include "concurrency/delivery_scope.h"
#include "protocol/input_tensor.h"

namespace fastserve {

namespace {

constexpr std::int64_t kReadyLimitNs = 5'000'000'000;
constexpr int kMostPackets = 64;         // before the owner looks at the rest of the world again
constexpr std::uint32_t kFinalFlag = 1;  // of RESPONSE
constexpr std::uint32_t kRescheduledFlag = 2;

void EndExecution(const RunningExecution& running) {
  for (const RequestPtr& request : running.execution->requests)
    request->holds_instance.store(false, std::memory_order_relaxed);
}

}  // namespace

WorkerSession::WorkerSession(Options options, UniqueFd socket)
    : options_(std::move(options)),
      spec_(*options_.spec),
      clock_(*options_.clock),
      link_(std::make_shared<WorkerLink>(std::move(socket), options_.wakeup, options_.clock)),
      calls_(std::make_shared<InferenceCalls>(link_, options_.host, options_.wakeup)),
      held_(std::make_shared<HeldRequests>(link_, options_.clock)) {}

bool WorkerSession::Execute(Execution* execution, ExecutionObserver* observer) {
  Status status;
  ArenaBlockPtr block;
  Result<BatchInputs> batch = BatchInputs::Of(spec_, *execution);
  if (batch.ok()) {
    if (const std::size_t size = batch->byte_size(); size != 0) {
      Result<ArenaBlockPtr> lent = link_->Lend(size);
      if (lent.ok()) {
        block = std::move(*lent);
        CopyInputs(*batch, *block);
      } else {
        status = lent.status();
      }
    }
  } else {
    status = batch.status();
  }
  const MutexLock lock(mutex_);
  if (ended_) return false;
  if (!status.ok()) {
    refused_.push_back({execution, observer, std::move(status)});
    options_.wakeup->Notify();
    return true;
  }
  requests_taken_.fetch_add(execution->requests.size(), std::memory_order_relaxed);
  const RunningExecution running = table_.Add(execution, observer, clock_.NowNs(), spec_);
  SendLocked(*batch, block.get(), running);
  if (options_.watches_executions && table_.running() == 1) options_.wakeup->Notify();
  return true;
}

void WorkerSession::SendLocked(const BatchInputs& batch, const ArenaBlock* block,
                               const RunningExecution& running) {
  buffer_.clear();
  PacketWriter writer(&buffer_);
  WriteExecute(batch, running.id, running.first_handle, block, &writer);
  // Before the packet: its answer may come on another thread, which then waits for this one.
  for (const RequestPtr& request : running.execution->requests)
    request->holds_instance.store(true, std::memory_order_relaxed);
  link_->Send(PacketKind::kExecute, buffer_);
  WatchLocked(running);
}

void WorkerSession::WatchLocked(const RunningExecution& running) {
  const std::vector<RequestPtr>& requests = running.execution->requests;
  std::vector<std::uint64_t> cancelled;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    if (requests[i]->sink == nullptr) continue;
    if (!requests[i]->SetCancelHook(shared_from_this()))
      cancelled.push_back(running.first_handle + i);
  }
  if (!cancelled.empty()) SendCancelLocked(cancelled);
}

void WorkerSession::SendCancelLocked(const std::vector<std::uint64_t>& handles) {
  std::string body;
  PacketWriter writer(&body);
  for (const std::uint64_t handle : handles) writer.U64(handle);
  link_->Send(PacketKind::kCancel, body);
}

void WorkerSession::OnCancel(const RequestPtr& request) {
  {
    const MutexLock lock(mutex_);
    if (ended_) return;
    const std::vector<std::uint64_t> handles = table_.HandlesOf(*request);
    if (handles.empty()) return;
    SendCancelLocked(handles);
  }
  calls_->CancelCallsOf(*request);
}

void WorkerSession::CheckReady(const std::function<void(Status)>& done) {
  {
    const MutexLock lock(mutex_);
    if (!ended_) {
      const std::uint64_t token = ++last_token_;
      ready_checks_[token] = {clock_.NowNs() + kReadyLimitNs, done};
      std::string body;
      PacketWriter(&body).U64(token);
      link_->Send(PacketKind::kCheckReady, body);
      options_.wakeup->Notify();  // for the deadline
      return;
    }
  }
  done(Status::Unavailable("the worker of model '" + spec_.name + "' has ended"));
}

bool WorkerSession::idle() const {
  {
    const MutexLock lock(mutex_);
    if (!table_.empty() || !refused_.empty()) return false;
  }
  return calls_->empty();
}

bool WorkerSession::Retire() {
  const MutexLock lock(mutex_);
  if (!table_.empty() || !refused_.empty()) return false;
  ended_ = true;
  return true;
}

std::optional<std::int64_t> WorkerSession::oldest_start_ns() const {
  const MutexLock lock(mutex_);
  std::optional<std::int64_t> start = table_.oldest_start_ns();
  if (!start || !spec_.decoupled) return start;
  const RunningExecution& oldest = *table_.oldest();
  for (std::size_t i = 0; i < oldest.execution->requests.size(); ++i)
    start = std::max(*start, held_->HeldUntil(oldest.first_handle + i));
  return start;
}

std::optional<std::int64_t> WorkerSession::quiet_since_ns() const {
  const MutexLock lock(mutex_);
  const std::optional<std::int64_t> since = table_.quiet_since_ns();
  if (!since) return since;
  const HeldRequests::Waits waits = held_->waits();
  return waits.now >= table_.left_open() ? clock_.NowNs() : std::max(*since, waits.until_ns);
}

Result<ReceiveOutcome> WorkerSession::Receive() {
  DeliveryScope delivery;
  ReceiveOutcome outcome = ReceiveOutcome::kPacket;
  for (int i = 0; i < kMostPackets; ++i) {
    WorkerPacket packet;
    FASTSERVE_ASSIGN_OR_RETURN(outcome, link_->Receive(&packet));
    if (outcome != ReceiveOutcome::kPacket) break;
    FASTSERVE_RETURN_IF_ERROR(Handle(packet));
    // Of a stream, more is likely to have come; the next answer of a batch is not.
    if (packet.kind != PacketKind::kResponse && packet.kind != PacketKind::kLog) break;
  }
  const MutexLock lock(mutex_);
  delivery.set_may_linger(table_.running() < 2);
  return outcome;
}

Status WorkerSession::Handle(const WorkerPacket& packet) {
  switch (packet.kind) {
    case PacketKind::kInitialized:
      return OnInitialized(packet.body);
    case PacketKind::kResponses:
      return OnResponses(packet.body);
    case PacketKind::kResponse:
      return OnResponse(packet.body);
    case PacketKind::kExecuted:
      return OnExecuted(packet.body);
    case PacketKind::kReady:
      return OnReady(packet.body);
    case PacketKind::kLog:
      return OnLog(packet.body);
    case PacketKind::kBlsRequest:
      return calls_->Start(packet.body, [this](std::uint64_t first, std::uint32_t count) {
        const MutexLock lock(mutex_);
        return table_.Requests(first, count);
      });
    case PacketKind::kBlsCancel:
      return calls_->Cancel(packet.body);
    case PacketKind::kBlsTaken:
      return calls_->Taken(packet.body);
    case PacketKind::kCall:
      return calls_->Control(packet.body, greeting_ ? std::string_view() : spec_.name);
    default:
      return Broken("a packet of kind " + std::to_string(static_cast<int>(packet.kind)) +
                    ", which is not the worker's to send");
  }
}

Status WorkerSession::OnInitialized(std::string_view body) {
  if (greeting_) return Broken("INITIALIZED a second time");
  PacketReader reader(body);
  WorkerGreeting greeting;
  greeting.has_is_ready = reader.U8() != 0;
  greeting.error = reader.Text();
  greeting.config = reader.Text();
  if (!reader.ok() || !reader.at_end()) return Broken("an INITIALIZED of another length");
  if (!IsValidUtf8(greeting.error) || !IsValidUtf8(greeting.config))
    return Broken("an INITIALIZED that is not UTF-8");
  greeting_ = std::move(greeting);
  return Status::Ok();
}

Status WorkerSession::OnResponses(std::string_view body) {
  PacketReader reader(body);
  do {
    FASTSERVE_RETURN_IF_ERROR(OnBatchAnswered(&reader));
  } while (!reader.at_end());
  return Status::Ok();
}

Status WorkerSession::OnBatchAnswered(PacketReader* reader) {
  const std::uint64_t id = reader->U64();
  const std::uint32_t count = reader->U32();
  RunningExecution running;
  {
    const MutexLock lock(mutex_);
    if (const RunningExecution* found = table_.Find(id)) running = *found;
  }
  if (running.execution == nullptr || spec_.decoupled) {
    return Broken("responses to execution " + std::to_string(id) +
                  ", which is not running or is decoupled");
  }
  if (count != running.execution->requests.size()) {
    return Broken(std::to_string(count) + " responses to an execution of " +
                  std::to_string(running.execution->requests.size()) + " requests");
  }
  FASTSERVE_ASSIGN_OR_RETURN(const AnswerBlock block, ReadAnswerBlock(reader, link_.get()));
  std::vector<Answer> answers;
  answers.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    FASTSERVE_ASSIGN_OR_RETURN(Answer answer, ReadAnswer(reader, *link_, block));
    answers.push_back(std::move(answer));
  }
  {
    const MutexLock lock(mutex_);
    table_.End(id, clock_.NowNs());
  }
  answered_ = true;
  Finish(running, std::move(answers));
  return Status::Ok();
}

void WorkerSession::Finish(const RunningExecution& running, std::vector<Answer> answers) {
  EndExecution(running);
  Execution& execution = *running.execution;
  execution.outputs.clear();
  execution.rescheduled.clear();
  Status status;
  if (spec_.sequence_batching.enabled) status = CollectStates(spec_, &execution, &answers);
  execution.responses.clear();
  execution.responses.reserve(answers.size());
  for (std::size_t i = 0; i < answers.size(); ++i) {
    Answer& answer = answers[i];
    if (answer.kind == Answer::Kind::kNothing && spec_.sequence_batching.enabled) {
      // A row without a request is answered with nothing, too.
      if (execution.requests[i]->sink == nullptr) {
        execution.responses.emplace_back();
        continue;
      }
      execution.rescheduled.resize(answers.size(), false);
      execution.rescheduled[i] = true;
    } else if (answer.kind == Answer::Kind::kNothing) {
      answer.status = Status::Internal("model '" + spec_.name + "' gave request '" +
                                       execution.requests[i]->id + "' no response");
    }
    execution.responses.push_back(ToResponse(spec_, *execution.requests[i], std::move(answer)));
  }
  running.observer->OnExecuted(&execution, std::move(status));
}

Status WorkerSession::OnResponse(std::string_view body) {
  PacketReader reader(body);
  const std::uint64_t handle = reader.U64();
  const std::uint32_t flags = reader.U32();
  RequestPtr request;
  {
    const MutexLock lock(mutex_);
    request = table_.Open(handle);
    if (options_.watches_executions) table_.Responded(clock_.NowNs());
  }
  if (request == nullptr)
    return Broken("a response to request " + std::to_string(handle) + ", which is not open");
  FASTSERVE_ASSIGN_OR_RETURN(const AnswerBlock block, ReadAnswerBlock(&reader, link_.get()));
  FASTSERVE_ASSIGN_OR_RETURN(Answer answer, ReadAnswer(&reader, *link_, block));
  if (!reader.at_end()) return Broken("a RESPONSE that goes on behind its response");
  const bool rescheduled = flags == kRescheduledFlag && answer.kind == Answer::Kind::kNothing;
  if (flags > kFinalFlag && !rescheduled)
    return Broken("a RESPONSE with flags " + std::to_string(flags));
  answered_ = true;
  const bool final = flags != 0;
  if (final) CloseRequest(handle);
  if (rescheduled) {
    if (!TakesAgain(handle)) RefuseReschedule(request);
    return Status::Ok();
  }
  Deliver(request, std::move(answer), final);
  if (!final && request->sink != nullptr) held_->Consider(handle, request);
  return Status::Ok();
}

void WorkerSession::CloseRequest(std::uint64_t handle) {
  const std::int64_t held_until_ns = held_->Forget(handle);
  const MutexLock lock(mutex_);
  table_.Close(handle, held_until_ns);
}

// True: the request goes back to the scheduler with the end of its execution.
bool WorkerSession::TakesAgain(std::uint64_t handle) {
  if (!spec_.sequence_batching.iterative) return false;
  const MutexLock lock(mutex_);
  return table_.Reschedule(handle);
}

// Only an iterative sequence has a place to wait for its next turn.
void WorkerSession::RefuseReschedule(const RequestPtr& request) const {
  if (request->sink == nullptr) return;
  request->Fail(Status::Unsupported("model '" + spec_.name +
                                    "' reschedules a request: a decoupled model needs "
                                    "sequence_batching with iterative_sequence for it, and can "
                                    "do it only before its execute returns"),
                FailureReason::kBackend);
}

void WorkerSession::Deliver(const RequestPtr& request, Answer answer, bool final) const {
  if (request->sink == nullptr) return;  // a warm-up: nobody listens
  const bool is_response = answer.kind != Answer::Kind::kNothing;
  if (is_response && request->timestamps.first_response == 0)
    request->timestamps.first_response = clock_.NowNs();
  if (!final) {
    if (is_response && !request->abandoned())
      request->Respond(ToResponse(spec_, *request, std::move(answer)), /*final=*/false);
    return;
  }
  if (request->abandoned()) {
    return request->Fail(Status::Cancelled("request cancelled while it was executed"),
                         FailureReason::kCanceled);
  }
  InferResponse response = ToResponse(spec_, *request, std::move(answer));
  response.flags_only = !is_response;
  if (!response.status.ok())
    return request->Fail(std::move(response.status), FailureReason::kOther);
  request->Respond(std::move(response), /*final=*/true);
}

Status WorkerSession::OnExecuted(std::string_view body) {
  PacketReader reader(body);
  const std::uint64_t id = reader.U64();
  const bool failed = reader.U8() != 0;
  const std::uint8_t code = failed ? reader.U8() : 0;
  const std::string_view message = failed ? reader.Text() : std::string_view();
  if (!reader.ok() || !reader.at_end() || code > 7)
    return Broken("an EXECUTED that ends within itself, goes on, or has a code above 7");
  RunningExecution running;
  {
    const MutexLock lock(mutex_);
    if (const RunningExecution* found = table_.Find(id)) running = *found;
    if (running.execution == nullptr || !spec_.decoupled) {
      return Broken("EXECUTED for execution " + std::to_string(id) +
                    ", which is not running or not decoupled");
    }
    table_.End(id, clock_.NowNs());
  }
  // Else a response says more: a coroutine has only begun.
  answered_ = answered_ || failed;
  EndExecution(running);
  Status status;
  running.execution->rescheduled = std::move(running.rescheduled);
  if (failed) {
    running.execution->rescheduled.clear();
    status = Status(static_cast<StatusCode>(code + 1),
                    IsValidUtf8(message) ? std::string(message) : "the error's text is not UTF-8");
    FailOpen(running, status);
  }
  running.observer->OnExecuted(running.execution, std::move(status));
  return Status::Ok();
}

void WorkerSession::FailOpen(const RunningExecution& running, const Status& status) {
  for (std::size_t i = 0; i < running.execution->requests.size(); ++i) {
    RequestPtr request;
    {
      const MutexLock lock(mutex_);
      request = table_.Open(running.first_handle + i);
    }
    CloseRequest(running.first_handle + i);
    if (request != nullptr && request->sink != nullptr)
      request->Fail(status, FailureReason::kBackend);
  }
}

Status WorkerSession::OnReady(std::string_view body) {
  PacketReader reader(body);
  const std::uint64_t token = reader.U64();
  const bool ready = reader.U8() != 0;
  const std::string_view error = reader.Text();
  if (!reader.ok() || !reader.at_end()) return Broken("a READY that ends within itself");
  ReadyCheck check;
  {
    const MutexLock lock(mutex_);
    const auto found = ready_checks_.find(token);
    if (found == ready_checks_.end()) return Status::Ok();  // too late
    check = std::move(found->second);
    ready_checks_.erase(found);
  }
  check.done(ready ? Status::Ok()
                   : Status::Unavailable("model '" + spec_.name + "' says that it is not ready" +
                                         (error.empty() ? "" : ": " + ReadableText(error))));
  return Status::Ok();
}

Status WorkerSession::OnLog(std::string_view body) const {
  PacketReader reader(body);
  const std::uint8_t level = reader.U8();
  const std::string_view message = reader.Text();
  if (!reader.ok() || !reader.at_end() || level > static_cast<int>(LogLevel::kVerbose))
    return Broken("a LOG that ends within itself, or of level " + std::to_string(level));
  if (LogEnabled(static_cast<LogLevel>(level))) {
    LogLine(static_cast<LogLevel>(level), "model.py", 0,
            options_.instance_name + ": " + std::string(message));
  }
  return Status::Ok();
}

std::optional<std::int64_t> WorkerSession::settle_at_ns() const {
  const MutexLock lock(mutex_);
  if (!refused_.empty()) return clock_.NowNs();
  std::optional<std::int64_t> first;
  for (const auto& [token, check] : ready_checks_)
    first = std::min(first.value_or(check.deadline_ns), check.deadline_ns);
  return first;
}

void WorkerSession::Settle() {
  std::vector<Refused> refused;
  std::vector<ReadyCheck> late;
  {
    const MutexLock lock(mutex_);
    refused.swap(refused_);
    const std::int64_t now_ns = clock_.NowNs();
    for (auto at = ready_checks_.begin(); at != ready_checks_.end();) {
      if (at->second.deadline_ns > now_ns) {
        ++at;
        continue;
      }
      late.push_back(std::move(at->second));
      at = ready_checks_.erase(at);
    }
  }
  for (const Refused& each : refused)
    FailExecution(spec_, each.execution, each.observer, each.status);
  for (const ReadyCheck& check : late) {
    check.done(Status::Unavailable("is_ready of model '" + spec_.name +
                                   "' did not answer within 5 seconds"));
  }
}

void WorkerSession::End(const Status& reason) {
  std::deque<RunningExecution> running;
  std::vector<RequestPtr> open;
  std::map<std::uint64_t, ReadyCheck> checks;
  {
    const MutexLock lock(mutex_);
    ended_ = true;
    running = table_.TakeRunning();
    open = table_.TakeOpen();
    checks.swap(ready_checks_);
  }
  calls_->End();
  Settle();
  DeliveryScope delivery;
  for (const RequestPtr& request : open) {
    if (request->sink != nullptr) request->Fail(reason, FailureReason::kBackend);
  }
  for (const RunningExecution& each : running) {
    EndExecution(each);
    each.observer->OnExecuted(each.execution, reason);
  }
  for (const auto& [token, check] : checks) check.done(reason);
}

}  // namespace fastserve
