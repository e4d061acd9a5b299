#include "backend/repeat/repeat_run.h"

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"

namespace fastserve {

namespace {

// Responses without a delay between them that one request may send before the others have a turn.
constexpr int kTurnResponses = 64;

// The elements of a tensor of four-byte integers.
template <typename T>
std::vector<T> ReadElements(const InferRequest& request, std::string_view name) {
  for (const Tensor& input : request.inputs) {
    if (input.name != name) continue;
    std::vector<T> values(input.data.size / sizeof(T));
    if (!values.empty()) std::memcpy(values.data(), input.data.data, values.size() * sizeof(T));
    return values;
  }
  return {};
}

template <typename T>
Tensor OneElement(std::string_view name, DataType type, T value) {
  const BufferPtr buffer = AllocateHostBuffer(sizeof(value));
  if (buffer) std::memcpy(buffer->data(), &value, sizeof(value));
  return {std::string(name), type, {1}, buffer ? BufferView(buffer) : BufferView()};
}

Status Unloading() { return Status::Unavailable("the model is being unloaded"); }

}  // namespace

// One request and how far it is. The thread's, once it is scheduled.
class Repeat final : public RoomHook,
                     public CancelHook,
                     public std::enable_shared_from_this<Repeat> {
 public:
  Repeat(std::weak_ptr<RepeatSchedule> schedule, RequestPtr request)
      : schedule_(std::move(schedule)),
        request_(std::move(request)),
        values_(ReadElements<std::int32_t>(*request_, "IN")),
        delays_ms_(ReadElements<std::uint32_t>(*request_, "DELAY")) {}

  Status Check() const {
    if (values_.size() == delays_ms_.size()) return Status::Ok();
    return Status::InvalidArgument("model '" + request_->model_name + "': IN has " +
                                   std::to_string(values_.size()) + " elements and DELAY has " +
                                   std::to_string(delays_ms_.size()) + "; they must be as many");
  }

  InferRequest& request() { return *request_; }
  bool done() const { return next_ == values_.size(); }
  std::int64_t delay_ns() const { return done() ? 0 : delays_ms_[next_] * kNsPerMs; }

  void SendNext() {
    InferResponse response = Head();
    response.outputs.push_back(OneElement("OUT", DataType::kInt32, values_[next_]));
    response.outputs.push_back(
        OneElement("IDX", DataType::kUint32, static_cast<std::uint32_t>(next_)));
    ++next_;
    request_->Respond(std::move(response), /*final=*/false);
  }
  void SendEnd() {
    InferResponse response = Head();
    response.flags_only = true;
    request_->Respond(std::move(response), /*final=*/true);
  }

  bool WaitsForRoom() { return request_->congested() && request_->WaitForRoom(shared_from_this()); }
  void OnRoom(const RequestPtr& /*request*/) override { Hurry(); }
  void OnCancel(const RequestPtr& /*request*/) override { Hurry(); }

 private:
  void Hurry() {
    if (const auto schedule = schedule_.lock()) schedule->Schedule(shared_from_this(), 0);
  }
  InferResponse Head() const {
    InferResponse response;
    response.model_name = request_->model_name;
    response.model_version = request_->spec->version;
    response.id = request_->id;
    return response;
  }

  const std::weak_ptr<RepeatSchedule> schedule_;
  const RequestPtr request_;
  const std::vector<std::int32_t> values_;
  const std::vector<std::uint32_t> delays_ms_;
  std::size_t next_ = 0;
};

bool RepeatSchedule::Accept(const RepeatPtr& repeat) {
  const MutexLock lock(mutex_);
  return !stopped_ && active_.insert(repeat).second;
}

void RepeatSchedule::Schedule(const RepeatPtr& repeat, std::int64_t delay_ns) {
  {
    const MutexLock lock(mutex_);
    if (stopped_) return;
    due_.emplace(SystemClock().NowNs() + delay_ns, repeat);
  }
  changed_.NotifyOne();
}

bool RepeatSchedule::End(const RepeatPtr& repeat) {
  const MutexLock lock(mutex_);
  return active_.erase(repeat) != 0;
}

RepeatPtr RepeatSchedule::Next() {
  const MutexLock lock(mutex_);
  while (!stopped_) {
    if (due_.empty()) {
      changed_.Wait(mutex_);
      continue;
    }
    const std::int64_t left_ns = due_.begin()->first - SystemClock().NowNs();
    if (left_ns <= 0) return due_.extract(due_.begin()).mapped();
    changed_.WaitFor(mutex_, left_ns);
  }
  return nullptr;
}

void RepeatSchedule::Stop() {
  {
    const MutexLock lock(mutex_);
    stopped_ = true;
  }
  changed_.NotifyAll();
}

void RepeatSchedule::FailActive() {
  std::set<RepeatPtr> left;
  {
    const MutexLock lock(mutex_);
    left.swap(active_);
    due_.clear();
  }
  for (const RepeatPtr& repeat : left) repeat->request().Fail(Unloading(), FailureReason::kBackend);
}

namespace {

// Sends what is due now, up to a turn.
void Continue(const RepeatPtr& repeat, RepeatSchedule* schedule) {
  for (int sent = 0;; ++sent) {
    InferRequest& request = repeat->request();
    if (request.cancelled()) {
      if (!schedule->End(repeat)) return;
      return request.Fail(Status::Cancelled("request cancelled while it was executed"),
                          FailureReason::kCanceled);
    }
    if (repeat->done()) {
      if (schedule->End(repeat)) repeat->SendEnd();
      return;
    }
    if (sent > 0 && (repeat->delay_ns() > 0 || sent == kTurnResponses))
      return schedule->Schedule(repeat, repeat->delay_ns());
    if (repeat->WaitsForRoom()) return;
    repeat->SendNext();
  }
}

}  // namespace

RepeatRun::RepeatRun()
    : schedule_(std::make_shared<RepeatSchedule>()), thread_("fs-repeat", [schedule = schedule_] {
        while (const RepeatPtr repeat = schedule->Next()) Continue(repeat, schedule.get());
      }) {}

void RepeatRun::Start(const RequestPtr& request) {
  const auto repeat = std::make_shared<Repeat>(schedule_, request);
  if (Status status = repeat->Check(); !status.ok())
    return request->Fail(std::move(status), FailureReason::kBackend);
  if (!schedule_->Accept(repeat)) return request->Fail(Unloading(), FailureReason::kBackend);
  const bool cancelled = !request->SetCancelHook(repeat);
  schedule_->Schedule(repeat, cancelled ? 0 : repeat->delay_ns());
}

void RepeatRun::Stop() {
  schedule_->Stop();
  thread_.JoinOrLetGo();
  schedule_->FailActive();
}

}  // namespace fastserve
