#include "http/generate_call.h"

#include <utility>

#include "protocol/generate_json.h"

namespace fastserve {

namespace {

Status NotOneResponse() {
  return Status::InvalidArgument(
      "generate expects model to produce exactly 1 response, use generate stream for model that "
      "generates various number of responses");
}

// A successful response, or why it cannot be written.
Status ToJson(const InferResponse& response, std::string* json) {
  return response.status.ok() ? AppendGenerateResponse(response, json) : response.status;
}

}  // namespace

void GenerateCall::Submit(Engine* engine, const BufferView& body, ByteClaim* claim,
                          const InferJsonLimits& limits) {
  const RequestPtr request = std::exchange(unsent_, nullptr);
  request->timestamps.request_start = engine->clock().NowNs();
  request->sink = shared_from_this();
  const auto spec = engine->FindModel(request->model_name, request->model_version);
  Status status =
      spec.ok() ? ParseGenerateRequest(body, limits, **spec, request.get()) : spec.status();
  claim->Release();
  if (!status.ok()) return request->Fail(std::move(status), FailureReason::kOther);
  engine->Submit(request);
}

void GenerateCall::OnResponse(const RequestPtr& request, InferResponse response, bool final) {
  if (form_ == Form::kEvents) return AddEvent(*request, response, final);
  AddOnly(request.get(), response, final);
}

void GenerateCall::AddEvent(const InferRequest& request, const InferResponse& response,
                            bool final) {
  if (response.flags_only) return Publish({}, final);
  std::string text = "data: ";
  const Status status = ToJson(response, &text);
  const bool first = responses_++ == 0;
  if (!status.ok()) {
    // Without an execution there is no stream: the error is answered as everywhere else.
    const bool executed = request.timestamps.compute_start != 0;
    text = (executed ? "data: " : "") + ErrorJson(status.message());
    if (first) {
      const MutexLock lock(mutex_);
      FailLocked(status, executed);
    }
    if (!executed) return Publish(std::move(text), final);
  }
  Publish(text + "\n\n", final);
}

void GenerateCall::AddOnly(InferRequest* request, const InferResponse& response, bool final) {
  if (!response.flags_only) {
    ++responses_;
    Status status = responses_ == 1 ? ToJson(response, &only_) : NotOneResponse();
    if (!status.ok() && failure_.ok()) failure_ = std::move(status);
  }
  if (!final) {
    if (!failure_.ok()) request->Cancel();
    return;
  }
  if (responses_ == 0) failure_ = NotOneResponse();
  if (failure_.ok()) return Publish(std::move(only_), final);
  {
    const MutexLock lock(mutex_);
    FailLocked(failure_, /*events=*/false);
  }
  Publish(ErrorJson(failure_.message()), final);
}

void GenerateCall::FailLocked(const Status& status, bool events) {
  chunk_.status = HttpStatus(status.code());
  chunk_.events = events;
}

void GenerateCall::Publish(std::string text, bool final) {
  std::shared_ptr<ReplyTarget> target;
  {
    const MutexLock lock(mutex_);
    if (chunk_.text.empty()) {
      chunk_.text = std::move(text);
    } else {
      chunk_.text += text;
    }
    chunk_.ended = final;
    waiting_bytes_.store(chunk_.text.size(), std::memory_order_relaxed);
    if (ReadyLocked()) target.swap(target_);
  }
  if (target != nullptr) queue_->Push({std::move(target), {}});
}

void GenerateCall::Await(std::shared_ptr<ReplyTarget> target) {
  {
    const MutexLock lock(mutex_);
    if (!ReadyLocked()) {
      target_ = std::move(target);
      return;
    }
  }
  queue_->Push({std::move(target), {}});
}

GenerateCall::Chunk GenerateCall::Take() {
  Chunk chunk;
  {
    const MutexLock lock(mutex_);
    chunk = {chunk_.status, chunk_.events, chunk_.ended, std::exchange(chunk_.text, {})};
    waiting_bytes_.store(0, std::memory_order_relaxed);
  }
  if (chunk.text.size() > kWindowBytes) {
    if (const RequestPtr request = request_.lock()) request->NotifyRoom();
  }
  return chunk;
}

void GenerateCall::Cancel() {
  std::shared_ptr<ReplyTarget> target;
  {
    const MutexLock lock(mutex_);
    target.swap(target_);
  }
  if (const RequestPtr request = request_.lock()) request->Cancel();
}

}  // namespace fastserve
