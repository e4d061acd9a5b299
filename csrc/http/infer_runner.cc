#include "http/infer_runner.h"

#include <utility>

#include "protocol/raw_request.h"

namespace fastserve {
namespace {

// JSON of more bytes takes about a millisecond to parse.
constexpr std::size_t kLargeJsonBytes = 262144;

// Turns the engine's response into the reply's bytes, on the thread that completed the request.
class ReplySink : public ResponseSink {
 public:
  ReplySink(std::shared_ptr<CompletionQueue> queue, std::shared_ptr<ReplyTarget> target)
      : queue_(std::move(queue)), target_(std::move(target)) {}

  void OnResponse(const RequestPtr& request, InferResponse response, bool /*final*/) override {
    queue_->Push({std::move(target_), BuildReply(*request, response)});
  }

  std::string_view decoupled_refusal() const override {
    return "HTTP end point doesn't support models with decoupled transaction policy";
  }

 private:
  static InferReply BuildReply(const InferRequest& request, const InferResponse& response) {
    if (!response.status.ok()) return ErrorReply(response.status);
    InferReply reply;
    const Status status = BuildInferResponse(request, response, &reply.body, &reply.json_size);
    return status.ok() ? std::move(reply) : ErrorReply(status);
  }

  const std::shared_ptr<CompletionQueue> queue_;
  std::shared_ptr<ReplyTarget> target_;
};

}  // namespace

InferRunner::InferRunner(std::shared_ptr<Engine> engine, InferJsonLimits limits,
                         std::function<void()> schedule)
    : engine_(std::move(engine)),
      limits_(limits),
      schedule_(std::move(schedule)),
      queue_(std::make_shared<CompletionQueue>()) {}

InferRunner::~InferRunner() = default;

void InferRunner::Start(InferCall call) {
  started_.push_back(std::move(call));
  if (started_.size() == 1) schedule_();
}

Status InferRunner::Parse(const InferCall& call) const {
  InferRequest* const request = call.request.get();
  const bool raw = call.json_size == 0 && call.body.size > 0;
  if (!raw) return ParseInferRequest(call.body, call.json_size, limits_, request);
  FASTSERVE_ASSIGN_OR_RETURN(const auto spec,
                             engine_->FindModel(request->model_name, request->model_version));
  return ParseRawRequest(call.body, *spec, request);
}

void InferRunner::Submit(InferCall* call, Lender* lender) const {
  const Status status = Parse(*call);
  call->body_claim.Release();
  if (status.ok()) {
    engine_->Submit(call->request, lender);
  } else {
    call->request->Fail(status, FailureReason::kOther);
  }
}

void InferRunner::Parse(std::size_t json_bytes, std::function<void()> task) {
  if (json_bytes <= kLargeJsonBytes) {
    task();
  } else {
    parse_thread_.Post(std::move(task));
  }
}

void InferRunner::Run() {
  queue_->set_delivery_promised(true);
  running_.swap(started_);
  for (InferCall& call : running_) {
    call.request->timestamps.request_start = engine_->clock().NowNs();
    call.request->sink = std::make_shared<ReplySink>(queue_, std::move(call.target));
    if (call.json_size <= kLargeJsonBytes) {
      Submit(&call, &lender_);
    } else {
      const auto large = std::make_shared<InferCall>(std::move(call));
      parse_thread_.Post([this, large] { Submit(large.get(), nullptr); });
    }
  }
  running_.clear();
  lender_.Run();
  queue_->set_delivery_promised(false);
}

}  // namespace fastserve
