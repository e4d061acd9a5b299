#include "backend/worker/inference_calls.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "backend/worker/answer.h"
#include "backend/worker/json_parameters.h"
#include "inference/call_chain.h"
#include "protocol/input_tensor.h"
#include "protocol/json_writer.h"

namespace fastserve {

namespace {

constexpr std::size_t kMostCalls = 65536;
// Of a decoupled call: what the model has not taken yet, before its sender is to wait. A worker
// tells what was taken before so much has come together (16 responses, 256 KiB).
constexpr std::size_t kMostUntaken = 64;
constexpr std::size_t kMostUntakenBytes = std::size_t{1} << 20;
constexpr std::size_t kMostNotifications = 4096;
constexpr std::size_t kFewNotifications = kMostNotifications / 2;

std::uint64_t NextNumber() {
  static std::atomic<std::uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;  // only has to be another one
}

// Names of the model's own making: as text that is sent on, they must be UTF-8.
Result<std::string> ReadName(PacketReader* reader) {
  const std::string_view text = reader->Text();
  if (!reader->ok()) return Broken("a BLS_REQUEST that ends within a text");
  if (!IsValidUtf8(text)) return Broken("a BLS_REQUEST with a text that is not UTF-8");
  return std::string(text);
}

// Nobody wants the answer of the call any more.
bool AllGone(const std::vector<RequestPtr>& callers) {
  return std::ranges::any_of(callers, [](const RequestPtr& each) { return each->cancelled(); }) &&
         std::ranges::all_of(callers, [](const RequestPtr& each) {
           return each->cancelled() || each->completed();
         });
}

// Leaves those that have a client; all, when there is none (a warm-up). On the session's thread.
std::vector<RequestPtr> WithClients(std::vector<RequestPtr> callers) {
  const auto has_none = [](const RequestPtr& each) { return each->sink == nullptr; };
  if (!std::ranges::all_of(callers, has_none)) std::erase_if(callers, has_none);
  return callers;
}

// The one whose chain a call for all of them continues; null for nobody's. While they hold their
// instance, everything that caused one of them waits for the call. Later each of them may go on
// without the others.
RequestPtr ChainOf(const std::vector<RequestPtr>& callers) {
  if (callers.empty()) return nullptr;
  const bool running = callers.front()->holds_instance.load(std::memory_order_relaxed);
  const auto found = std::ranges::find_if(
      callers, [running](const RequestPtr& each) { return IsNested(*each) == running; });
  return found == callers.end() ? callers.front() : *found;
}

Status ReadCorrelation(PacketReader* reader, InferRequest* request) {
  const std::uint8_t kind = reader->U8();
  if (kind > 1) return Broken("a correlation id of kind " + std::to_string(kind));
  if (kind == 0) {
    request->sequence_id = reader->U64();
    return Status::Ok();
  }
  FASTSERVE_ASSIGN_OR_RETURN(request->sequence_id, ReadName(reader));
  return Status::Ok();
}

Status ReadHead(PacketReader* reader, InferRequest* request, Status* refusal) {
  (void)reader->U64();  // the handle of a request that the server sent
  const std::uint32_t flags = reader->U32();
  request->sequence_start = (flags & kSequenceStart) != 0;
  request->sequence_end = (flags & kSequenceEnd) != 0;
  request->timeout_us = reader->U64();
  FASTSERVE_RETURN_IF_ERROR(ReadCorrelation(reader, request));
  FASTSERVE_ASSIGN_OR_RETURN(request->id, ReadName(reader));
  FASTSERVE_ASSIGN_OR_RETURN(const std::string parameters, ReadName(reader));
  FASTSERVE_RETURN_IF_ERROR(ReadName(reader).status());  // the trace
  Result<Parameters> parsed = ParseParameters(parameters);
  if (parsed.ok()) {
    request->parameters = std::move(*parsed);
  } else {
    *refusal = parsed.status();
  }
  const std::uint16_t count = reader->U16();
  for (std::uint16_t i = 0; i < count; ++i) {
    RequestedOutput& output = request->outputs.emplace_back();
    FASTSERVE_ASSIGN_OR_RETURN(output.name, ReadName(reader));
  }
  return Status::Ok();
}

}  // namespace

InferenceCalls::InferenceCalls(std::shared_ptr<WorkerLink> link,
                               std::shared_ptr<InferenceHost> host,
                               std::shared_ptr<const Wakeup> wakeup)
    : link_(std::move(link)),
      host_(std::move(host)),
      wakeup_(std::move(wakeup)),
      number_(NextNumber()) {}

// Sends the responses of one call back to the worker, and knows which of them the model has not
// taken. Thread safe.
class InferenceCalls::Sink final : public ResponseSink {
 public:
  Sink(std::shared_ptr<InferenceCalls> calls, std::uint64_t call, bool decoupled)
      : calls_(std::move(calls)), call_(call), decoupled_(decoupled) {}

  void OnResponse(const RequestPtr& /*request*/, InferResponse response, bool final) override {
    if (decoupled_ && !final) Count(response);  // first: it may be taken at once
    calls_->Respond(call_, decoupled_, response, final);
  }
  bool congested() const override {
    const MutexLock lock(mutex_);
    return untaken_.size() > kMostUntaken || untaken_bytes_ > kMostUntakenBytes;
  }
  // False when there are not so many.
  bool Take(std::uint32_t count) EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    if (count > untaken_.size()) return false;
    for (std::uint32_t i = 0; i < count; ++i) {
      untaken_bytes_ -= untaken_.front();
      untaken_.pop_front();
    }
    return true;
  }

 private:
  void Count(const InferResponse& response) EXCLUDES(mutex_) {
    std::size_t size = 0;
    for (const Tensor& output : response.outputs) size += PlacedSize(output.data.size);
    const MutexLock lock(mutex_);
    untaken_.push_back(size);
    untaken_bytes_ += size;
  }

  const std::shared_ptr<InferenceCalls> calls_;
  const std::uint64_t call_;
  const bool decoupled_;
  mutable Mutex mutex_;
  std::deque<std::size_t> untaken_ GUARDED_BY(mutex_);  // sizes
  std::size_t untaken_bytes_ GUARDED_BY(mutex_) = 0;
};

Result<InferenceCalls::Call> InferenceCalls::ReadCall(PacketReader* reader) {
  Call call;
  call.id = reader->U64();
  call.first_caller = reader->U64();
  call.caller_count = reader->U32();
  call.decoupled = reader->U8() != 0;
  call.request = std::make_shared<InferRequest>();
  FASTSERVE_ASSIGN_OR_RETURN(call.request->model_name, ReadName(reader));
  call.request->model_version = reader->I64();
  return call;
}

Status InferenceCalls::Start(std::string_view body, const FindRequests& find_requests) {
  PacketReader reader(body);
  FASTSERVE_ASSIGN_OR_RETURN(const Call call, ReadCall(&reader));
  const BlockRange range = reader.Range();
  Status refusal;
  FASTSERVE_RETURN_IF_ERROR(ReadHead(&reader, call.request.get(), &refusal));
  FASTSERVE_RETURN_IF_ERROR(ReadInputs(&reader, range, call.request.get()));
  if (!reader.ok() || !reader.at_end())
    return Broken("a BLS_REQUEST that ends within itself, or goes on behind its inputs");
  // Complete before others see it in calls_.
  const std::vector<RequestPtr> callers =
      WithClients(find_requests(call.first_caller, call.caller_count));
  call.request->caller = ChainOf(callers);
  auto sink = std::make_shared<Sink>(shared_from_this(), call.id, call.decoupled);
  call.request->sink = sink;
  {
    const MutexLock lock(mutex_);
    if (calls_.size() >= kMostCalls)
      return Broken("more than " + std::to_string(kMostCalls) + " BLS calls at once");
    if (!calls_.try_emplace(call.id, OpenCall{call.request, std::move(sink), callers}).second)
      return Broken("BLS call " + std::to_string(call.id) + " made twice");
  }
  // CancelCallsOf came before the call was in calls_, if it came.
  if (AllGone(callers)) call.request->Cancel();
  if (refusal.ok() && host_ == nullptr)
    refusal = Status::Unsupported("this server does not let models call models");
  if (refusal.ok()) {
    host_->Submit(call.request, call.decoupled);
  } else {
    call.request->Fail(std::move(refusal), FailureReason::kRejected);
  }
  return Status::Ok();
}

Status InferenceCalls::ReadInputs(PacketReader* reader, const BlockRange& range,
                                  InferRequest* request) {
  FASTSERVE_ASSIGN_OR_RETURN(const BufferPtr block, link_->TakeBlock(range));
  const std::uint16_t count = reader->U16();
  for (std::uint16_t i = 0; i < count; ++i) {
    WireTensor wire;
    FASTSERVE_ASSIGN_OR_RETURN(wire.tensor.name, ReadName(reader));
    wire.tensor.type = static_cast<DataType>(reader->U8());
    wire.tensor.shape = reader->Dims();
    wire.range.offset = reader->U64();
    wire.range.length = reader->U64();
    if (!reader->ok()) return Broken("a BLS_REQUEST that ends within an input");
    FASTSERVE_RETURN_IF_ERROR(CheckWireTensor(wire));
    BufferView bytes;
    if (wire.range.length != 0) {
      if (wire.range.offset > range.length || wire.range.length > range.length - wire.range.offset)
        return Broken("input '" + wire.tensor.name + "' of a BLS_REQUEST outside of its block");
      bytes = BufferView(block, block->data() + wire.range.offset, wire.range.length);
    }
    FASTSERVE_RETURN_IF_ERROR(SetData(std::move(bytes), &wire.tensor));
    request->inputs.push_back(std::move(wire.tensor));
  }
  return Status::Ok();
}

void InferenceCalls::Respond(std::uint64_t call, bool decoupled, const InferResponse& response,
                             bool final) {
  {
    const MutexLock lock(mutex_);
    if (final) calls_.erase(call);
    if (ended_) return;
  }
  std::string body;
  PacketWriter writer(&body);
  writer.U64(call);
  writer.U8(final ? 1 : 0);
  const bool nothing = decoupled && final && response.status.ok() && response.outputs.empty();
  if (nothing) {
    writer.Range({});
    writer.U8(static_cast<std::uint8_t>(Answer::Kind::kNothing));
  } else {
    WriteResponse(response, link_.get(), &writer);
  }
  link_->Send(PacketKind::kBlsResponse, body);
}

Status InferenceCalls::Cancel(std::string_view body) {
  PacketReader reader(body);
  const std::uint64_t call = reader.U64();
  if (!reader.ok() || !reader.at_end()) return Broken("a BLS_CANCEL that is not 8 bytes");
  RequestPtr request;
  {
    const MutexLock lock(mutex_);
    const auto found = calls_.find(call);
    if (found == calls_.end()) return Status::Ok();  // it ended meanwhile
    request = found->second.request;
  }
  request->Cancel();
  return Status::Ok();
}

Status InferenceCalls::Taken(std::string_view body) {
  PacketReader reader(body);
  const std::uint64_t call = reader.U64();
  const std::uint32_t count = reader.U32();
  if (!reader.ok() || !reader.at_end()) return Broken("a BLS_TAKEN that is not 12 bytes");
  OpenCall open;
  {
    const MutexLock lock(mutex_);
    const auto found = calls_.find(call);
    if (found == calls_.end()) return Status::Ok();  // it ended meanwhile
    open = found->second;
  }
  if (!open.sink->Take(count)) {
    return Broken("it took " + std::to_string(count) + " responses of BLS call " +
                  std::to_string(call) + ", which has not sent so many");
  }
  if (!open.sink->congested()) open.request->NotifyRoom();
  return Status::Ok();
}

void InferenceCalls::CancelCallsOf(const InferRequest& caller) {
  std::vector<RequestPtr> requests;
  {
    const MutexLock lock(mutex_);
    for (const auto& [id, open] : calls_) {
      const bool is_its = std::ranges::any_of(
          open.callers, [&caller](const RequestPtr& each) { return each.get() == &caller; });
      if (is_its && AllGone(open.callers)) requests.push_back(open.request);
    }
  }
  for (const RequestPtr& request : requests) request->Cancel();
}

std::string InferenceCalls::FromWorker(std::string_view member, std::string_view json,
                                       std::string_view loading) const {
  // The worker wrote `json`: of two members of one name the last counts, and that is ours.
  std::string text = "{\"";
  text.append(member).append("\":").append(json).append(R"(,"loading":)");
  AppendJsonString(loading, &text);
  return text.append(R"(,"worker":)").append(std::to_string(number_)).append("}");
}

Status InferenceCalls::Control(std::string_view body, std::string_view loading) {
  PacketReader reader(body);
  const std::uint64_t call = reader.U64();
  if (!reader.ok()) return Broken("a CALL without a number");
  // It becomes a text of Python's, on the one thread that answers the calls of all models.
  if (!IsValidUtf8(reader.rest())) return Broken("a CALL that is not UTF-8");
  {
    const MutexLock lock(mutex_);
    if (call == 0) {
      crowded_ |= ++notifications_ >= kMostNotifications;
    } else if (++controls_ > kMostCalls) {
      return Broken("more than " + std::to_string(kMostCalls) + " CALLs at once");
    }
    controlled_ = host_ != nullptr;
  }
  if (host_ == nullptr) {
    Return(call, R"({"error":[5,"this server does not let models control it"],"value":null})");
    return Status::Ok();
  }
  host_->Control(
      FromWorker("call", reader.rest(), loading),
      [calls = shared_from_this(), call](const std::string& json) { calls->Return(call, json); });
  return Status::Ok();
}

void InferenceCalls::Return(std::uint64_t call, std::string_view json) {
  {
    const MutexLock lock(mutex_);
    if (call == 0) {  // the worker does not wait for it
      if (--notifications_ <= kFewNotifications && std::exchange(crowded_, false))
        wakeup_->Notify();
      return;
    }
    --controls_;
    if (ended_) return;
  }
  std::string body;
  PacketWriter writer(&body);
  writer.U64(call);
  writer.Raw(json);
  link_->Send(PacketKind::kReturn, body);
}

void InferenceCalls::End() {
  std::unordered_map<std::uint64_t, OpenCall> open;
  bool controlled = false;
  {
    const MutexLock lock(mutex_);
    ended_ = true;
    open = calls_;
    controlled = std::exchange(controlled_, false);
  }
  for (const auto& [id, call] : open) call.request->Cancel();
  if (controlled)
    host_->Control(FromWorker("ended", "true", {}), [](const std::string& /*json*/) {});
}

bool InferenceCalls::empty() const {
  const MutexLock lock(mutex_);
  return calls_.empty() && controls_ == 0 && notifications_ == 0;
}

bool InferenceCalls::crowded() const {
  const MutexLock lock(mutex_);
  return crowded_;
}

}  // namespace fastserve
