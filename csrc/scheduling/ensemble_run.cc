#include "scheduling/ensemble_run.h"

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "inference/classification.h"
#include "scheduling/ensemble_members.h"
#include "scheduling/ensemble_scheduler.h"

namespace fastserve {

namespace {

std::span<const std::int64_t> WithoutBatch(const Shape& shape, bool batches) {
  const std::span<const std::int64_t> dims = shape;
  return batches && !dims.empty() ? dims.subspan(1) : dims;
}

// The shape written in the terms of `to` instead of `from`, behind the batch dimension.
void Reshape(const Shape& from, const Shape& to, bool batches, Shape* shape) {
  Shape mapped = MapReshape(from, to, WithoutBatch(*shape, batches));
  if (batches && !shape->empty()) mapped.insert(mapped.begin(), shape->front());
  *shape = std::move(mapped);
}

Shape FullDims(const Shape& dims, bool batches) {
  Shape full = dims;
  if (batches) full.insert(full.begin(), -1);
  return full;
}

// "FP32 [-1,4]"
std::string Describe(DataType type, const Shape& shape) {
  return std::string(DataTypeName(type)) + " " + ShapeToString(shape);
}

bool FitsDims(std::span<const std::int64_t> actual, const Shape& dims) {
  return std::ranges::equal(actual, dims, [](std::int64_t have, std::int64_t expected) {
    return expected == -1 || have == expected;
  });
}

// What is left of the client's queue timeout; the smallest one when nothing is.
std::uint64_t RemainingTimeoutUs(std::uint64_t timeout_us, std::int64_t waited_ns) {
  if (timeout_us == 0) return 0;
  const auto waited_us =
      static_cast<std::uint64_t>(std::max<std::int64_t>(waited_ns, 0) / kNsPerUs);
  return timeout_us > waited_us ? timeout_us - waited_us : 1;
}

// How many responses of a decoupled step may be on their way when the configuration does not say.
constexpr std::size_t kDefaultPasses = 64;

std::shared_ptr<EnsembleStream> MakeStream(const ModelSpec& spec, const RequestPtr& parent) {
  if (!spec.decoupled) return nullptr;
  const std::size_t limit = spec.ensemble.max_inflight_requests;
  return std::make_shared<EnsembleStream>(parent, limit == 0 ? kDefaultPasses : limit);
}

void AddSums(const InferRequest& request, const Clock& clock, ComputeSums* sums) {
  const RequestTimestamps& times = request.timestamps;
  if (times.compute_start == 0) return;  // it never ran
  if (times.compute_end == 0) {
    // A decoupled model computes until its last response.
    if (request.spec->decoupled) sums->infer_ns += clock.NowNs() - times.compute_start;
    return;
  }
  sums->input_ns += times.compute_input_end - times.compute_start;
  sums->infer_ns += times.compute_output_start - times.compute_input_end;
  sums->output_ns += times.compute_end - times.compute_output_start;
}

// So that an ensemble around this one adds up the same sums.
void SetTimestamps(const ComputeSums& sums, RequestTimestamps* times) {
  times->compute_input_end = times->compute_start + sums.input_ns;
  times->compute_output_start = times->compute_input_end + sums.infer_ns;
  times->compute_end = times->compute_output_start + sums.output_ns;
}

}  // namespace

// A request to a member, and what Submit needs to fit it to the member's version that gets it.
class EnsembleRun::StepRequest final : public InferRequest {
 public:
  // False: the step cannot run because an input that the member requires does not exist.
  bool FitTo(const ModelSpec& member) {
    for (const std::string& name : absent_inputs) {
      const TensorSpec* input = FindTensor(member.inputs, name);
      if (input != nullptr && !input->optional) return false;
    }
    const bool member_batches = member.max_batch_size > 0;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const TensorSpec* input = FindTensor(member.inputs, inputs[i].name);
      if (input == nullptr) continue;  // the member's own validation says so
      AdaptBatchDimension(input_batches[i], member_batches, input->dims, &inputs[i].shape);
    }
    return true;
  }

  std::size_t step = 0;
  std::vector<bool> input_batches;  // by input: its first dimension is a batch
  std::vector<std::string> absent_inputs;
};

EnsembleRun::EnsembleRun(std::shared_ptr<EnsembleScheduler> scheduler, RequestPtr parent)
    : scheduler_(std::move(scheduler)),
      graph_(scheduler_->graph()),
      stream_(MakeStream(*scheduler_->spec(), parent)),
      waiting_since_ns_(parent->timestamps.queue_start),
      parent_(std::move(parent)) {}

EnsembleRun::EnsembleRun(const EnsembleRun& base, RequestPtr parent, std::uint64_t pass_number)
    : scheduler_(base.scheduler_),
      graph_(base.graph_),
      stream_(base.stream_),
      pass_number_(pass_number),
      waiting_since_ns_(scheduler_->clock().NowNs()),
      parent_(std::move(parent)) {}

void EnsembleRun::Start() {
  {
    const MutexLock lock(mutex_);
    parent_->timestamps.compute_start = scheduler_->clock().NowNs();
    cancelled_ = !parent_->SetCancelHook(shared_from_this());
    SettleInputs();
  }
  Drive();
}

void EnsembleRun::SettleInputs() {
  const std::vector<bool> needed = graph_.StepsFor(parent_->outputs);
  steps_.resize(graph_.steps().size());
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    steps_[i].unsettled_inputs = graph_.steps()[i].inputs.size();
    steps_[i].needed = needed[i];
  }
  slots_.resize(graph_.tensors().size());
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    const EnsembleGraph::TensorNode& node = graph_.tensors()[i];
    slots_[i].readers = node.consumers.size() + (node.output != nullptr ? 1 : 0);
    if (node.input == nullptr) continue;
    const auto given = std::ranges::find(parent_->inputs, node.name, &Tensor::name);
    if (given != parent_->inputs.end()) {
      slots_[i].tensor = *given;
      slots_[i].source = scheduler_->spec();
      slots_[i].present = true;
      const bool batches = scheduler_->spec()->max_batch_size > 0;
      if (node.input->has_reshape)
        Reshape(node.input->dims, node.input->reshape, batches, &slots_[i].tensor.shape);
    }
    Settle(i);
  }
}

void EnsembleRun::Settle(std::size_t tensor) {
  for (const std::size_t step : graph_.tensors()[tensor].consumers) {
    if (--steps_[step].unsettled_inputs == 0 && steps_[step].needed) ready_.push_back(step);
  }
}

void EnsembleRun::Drive() {
  {
    const MutexLock lock(mutex_);
    if (driving_) return;
    driving_ = true;
  }
  for (;;) {
    StepRequestPtr next;
    std::shared_ptr<EnsembleRun> pass;
    {
      const MutexLock lock(mutex_);
      next = TakeReadyStep();
      if (next == nullptr && stream_ != nullptr) pass = TakePass();
      if (next == nullptr && pass == nullptr) {
        driving_ = false;
        if (running_ != 0 || finished_) return;
        finished_ = true;
      }
    }
    if (next != nullptr) {
      Submit(next);
    } else if (pass != nullptr) {
      pass->Drive();
    } else {
      return Finish();
    }
  }
}

EnsembleRun::StepRequestPtr EnsembleRun::TakeReadyStep() {
  if (cancelled_ && !ready_.empty()) {
    Fail(Status::Cancelled("request cancelled before all of its steps had run"),
         FailureReason::kCanceled);
  }
  if (!failure_.ok()) ready_.clear();
  if (ready_.empty()) return nullptr;
  const std::size_t step = ready_.front();
  ready_.pop_front();
  ++running_;
  StepRequestPtr request = MakeStepRequest(step);
  steps_[step].request = request;
  return request;
}

EnsembleRun::StepRequestPtr EnsembleRun::MakeStepRequest(std::size_t step) {
  const EnsembleGraph::Step& uses = graph_.steps()[step];
  auto request = std::make_shared<StepRequest>();
  request->step = step;
  request->model_name = uses.model_name;
  request->model_version = uses.model_version;
  request->id = parent_->id;
  request->parameters = parent_->parameters;
  request->priority = parent_->priority;
  request->sequence_id = parent_->sequence_id;
  request->sequence_start = parent_->sequence_start;
  request->sequence_end = parent_->sequence_end;
  request->parent = parent_;
  request->sink = shared_from_this();
  request->timestamps.request_start = scheduler_->clock().NowNs();
  request->timeout_us = RemainingTimeoutUs(parent_->timeout_us,
                                           request->timestamps.request_start - waiting_since_ns_);
  FillInputs(request.get());
  request->outputs.reserve(uses.outputs.size());
  for (const EnsembleGraph::Port& output : uses.outputs)
    request->outputs.push_back({output.member_name});
  return request;
}

void EnsembleRun::FillInputs(StepRequest* request) {
  const std::vector<EnsembleGraph::Port>& ports = graph_.steps()[request->step].inputs;
  request->inputs.reserve(ports.size());
  for (const EnsembleGraph::Port& port : ports) {
    Slot& slot = slots_[port.tensor];
    if (!slot.present) {
      request->absent_inputs.push_back(port.member_name);
      continue;
    }
    const Tensor& tensor = slot.tensor;
    request->inputs.push_back({port.member_name, tensor.type, tensor.shape, tensor.data});
    request->input_batches.push_back(slot.source->max_batch_size > 0);
    if (--slot.readers == 0) slot.tensor.data = {};
  }
}

void EnsembleRun::Submit(const StepRequestPtr& request) {
  const auto target = scheduler_->router().Find(request->model_name, request->model_version);
  if (!target.ok()) return request->Fail(target.status(), FailureReason::kRejected);
  const ModelSpec& member = *(*target)->spec();
  if (!request->FitTo(member)) return Skip(request->step);
  if (member.decoupled) {
    if (Status status = BeginStream(request); !status.ok())
      return request->Fail(std::move(status), FailureReason::kOther);
  }
  (*target)->Submit(request, Lender::Current());
}

Status EnsembleRun::BeginStream(const StepRequestPtr& request) {
  const std::string name = graph_.StepName(request->step);
  if (stream_ == nullptr)
    return Status::InvalidArgument(name + ": " + std::string(kDecoupledMember));
  if (stream_->Begin(request)) return Status::Ok();
  const auto& first = static_cast<const StepRequest&>(*stream_->source());
  return Status::Unsupported(graph_.StepName(first.step) + " and " + name +
                             " are both decoupled; only one step of a request may be");
}

bool EnsembleRun::IsDecoupledStep(const RequestPtr& request) const {
  return stream_ != nullptr && stream_->source() == request;
}

bool EnsembleRun::TensorsBesideAreSettled() {
  if (settled_beside_) return true;
  const RequestPtr source = stream_->source();
  if (source == nullptr || !failure_.ok() || !ready_.empty()) return false;
  const StepState& state = steps_[static_cast<const StepRequest&>(*source).step];
  settled_beside_ = running_ == (state.request == nullptr ? 0U : 1U);
  return settled_beside_;
}

std::shared_ptr<EnsembleRun> EnsembleRun::TakePass() {
  if (pass_number_ || !TensorsBesideAreSettled()) return nullptr;
  std::optional<EnsembleStream::Arrival> next = stream_->Next();
  if (!next) return nullptr;
  const RequestPtr source = stream_->source();
  const auto& step_request = static_cast<const StepRequest&>(*source);
  // make_shared needs a public constructor.
  std::shared_ptr<EnsembleRun> pass(new EnsembleRun(*this, parent_, next->number));
  const MutexLock lock(pass->mutex_);
  pass->slots_ = slots_;
  pass->steps_ = steps_;
  pass->steps_[step_request.step].request.reset();
  pass->StoreOutputs(step_request, &next->response);
  pass->cancelled_ = !stream_->Enter(next->number, pass);
  return pass;
}

void EnsembleRun::Skip(std::size_t step) {
  const MutexLock lock(mutex_);
  steps_[step].request.reset();
  --running_;
  for (const EnsembleGraph::Port& output : graph_.steps()[step].outputs) Settle(output.tensor);
}

void EnsembleRun::OnResponse(const RequestPtr& request, InferResponse response, bool final) {
  const auto& step_request = static_cast<const StepRequest&>(*request);
  const bool decoupled = IsDecoupledStep(request);
  if (!decoupled && !final) return;
  std::vector<RequestPtr> no_longer_needed;
  {
    const MutexLock lock(mutex_);
    // Before a failure counts: what came earlier is passed on.
    if (decoupled) (void)TensorsBesideAreSettled();
    if (final) EndStep(step_request);
    if (!response.status.ok()) {
      if (decoupled) stream_->Close();
      Fail(response.status, request->failure_reason);
      no_longer_needed = RunningSteps();
    } else if (decoupled) {
      stream_->Add(std::move(response));
    } else if (failure_.ok()) {
      StoreOutputs(step_request, &response);
    }
  }
  for (const RequestPtr& running : no_longer_needed) running->Cancel();
  if (decoupled && !final) stream_->AwaitReader();
  Drive();
}

void EnsembleRun::EndStep(const StepRequest& request) {
  steps_[request.step].request.reset();
  --running_;
  AddSums(request, scheduler_->clock(), &sums_);
}

void EnsembleRun::StoreOutputs(const StepRequest& request, InferResponse* response) {
  for (const EnsembleGraph::Port& port : graph_.steps()[request.step].outputs) {
    const auto found = std::ranges::find(response->outputs, port.member_name, &Tensor::name);
    if (found != response->outputs.end()) {
      Slot& slot = slots_[port.tensor];
      slot.tensor = std::move(*found);
      slot.source = request.spec;
      slot.present = true;
      if (slot.readers == 0) slot.tensor.data = {};
    }
    Settle(port.tensor);
  }
}

void EnsembleRun::Fail(Status status, FailureReason reason) {
  if (!failure_.ok()) return;
  failure_ = std::move(status);
  failure_reason_ = reason;
}

std::vector<RequestPtr> EnsembleRun::RunningSteps() {
  std::vector<RequestPtr> running;
  for (const StepState& step : steps_) {
    if (step.request != nullptr) running.push_back(step.request);
  }
  return running;
}

void EnsembleRun::OnCancel(const RequestPtr& /*parent*/) {
  std::vector<RequestPtr> running;
  {
    const MutexLock lock(mutex_);
    cancelled_ = true;
    running = RunningSteps();
  }
  for (const RequestPtr& request : running) request->Cancel();
  if (stream_ != nullptr && !pass_number_) stream_->CancelFrom(0);
}

bool EnsembleRun::EndsStream() const {
  return stream_ != nullptr && !pass_number_ && stream_->source() != nullptr;
}

void EnsembleRun::Finish() {
  if (pass_number_) {
    RequestPtr parent;
    return stream_->Finish(*pass_number_, TakeOutcome(&parent));
  }
  if (!EndsStream()) return Answer();
  stream_->End([self = shared_from_this()] { self->Answer(); });
}

EnsembleRun::Outcome EnsembleRun::TakeOutcome(RequestPtr* parent) {
  Outcome outcome;
  const MutexLock lock(mutex_);
  if (cancelled_ && EndsStream())
    Fail(Status::Cancelled("request cancelled while it was executed"), FailureReason::kCanceled);
  if (failure_.ok()) Fail(BuildResponse(&outcome.response), FailureReason::kOther);
  outcome.failure = failure_;
  outcome.reason = failure_reason_;
  outcome.sums = sums_;
  *parent = std::move(parent_);
  slots_.clear();
  return outcome;
}

void EnsembleRun::Answer() {
  RequestPtr parent;
  Outcome outcome = TakeOutcome(&parent);
  if (stream_ != nullptr) stream_->AddTo(&outcome);
  parent->SetCancelHook(nullptr);  // which held this run
  if (outcome.failure.ok()) {
    const Clock& clock = scheduler_->clock();
    SetTimestamps(outcome.sums, &parent->timestamps);
    scheduler_->statistics().RecordEnsemble(*parent, outcome.sums, clock.NowNs(), clock.WallMs());
    parent->Respond(std::move(outcome.response), /*final=*/true);
  } else {
    const std::string message =
        "in ensemble '" + scheduler_->spec()->name + "', " + outcome.failure.message();
    parent->Fail(Status(outcome.failure.code(), message), outcome.reason);
  }
  scheduler_->OnRunEnded();
}

Status EnsembleRun::BuildResponse(InferResponse* response) {
  const ModelSpec& spec = *scheduler_->spec();
  response->model_name = spec.name;
  response->model_version = spec.version;
  response->id = parent_->id;
  response->flags_only = EndsStream();
  if (response->flags_only) return Status::Ok();
  for (const TensorSpec& output : spec.outputs) {
    const auto requested = std::ranges::find(parent_->outputs, output.name, &RequestedOutput::name);
    const bool listed = requested != parent_->outputs.end();
    if (!listed && !parent_->outputs.empty()) continue;
    FASTSERVE_RETURN_IF_ERROR(AddOutput(output, listed ? &*requested : nullptr, response));
  }
  return Status::Ok();
}

// The ensemble's own labels, else those of the member that wrote the output.
const std::vector<std::string>& EnsembleRun::LabelsOf(const TensorSpec& output,
                                                      std::size_t tensor) const {
  const auto producer = graph_.tensors()[tensor].producer;
  if (!output.labels.empty() || !producer) return output.labels;
  const std::vector<EnsembleGraph::Port>& ports = graph_.steps()[*producer].outputs;
  const auto port = std::ranges::find(ports, tensor, &EnsembleGraph::Port::tensor);
  const TensorSpec* written = FindTensor(slots_[tensor].source->outputs, port->member_name);
  return written != nullptr ? written->labels : output.labels;
}

Status EnsembleRun::AddOutput(const TensorSpec& output, const RequestedOutput* requested,
                              InferResponse* response) {
  const std::size_t index = *graph_.FindTensorIndex(output.name);
  const Slot& slot = slots_[index];
  const std::string place = "output '" + output.name + "' ";
  if (!slot.present) {
    // As with any model, an output that is not there is left out, unless it was asked for by name.
    if (requested == nullptr) return Status::Ok();
    return Status::Internal(place + "does not exist: a step before it gave no output for it");
  }
  Tensor tensor{output.name, slot.tensor.type, slot.tensor.shape, slot.tensor.data};
  const bool batches = scheduler_->spec()->max_batch_size > 0;
  const Shape& inner = output.has_reshape ? output.reshape : output.dims;
  AdaptBatchDimension(slot.source->max_batch_size > 0, batches, inner, &tensor.shape);
  if (tensor.type != output.type || !FitsDims(WithoutBatch(tensor.shape, batches), inner)) {
    return Status::Internal(place + "is " + Describe(tensor.type, tensor.shape) + " in model '" +
                            slot.source->name + "', but the ensemble's configuration says " +
                            Describe(output.type, FullDims(inner, batches)));
  }
  if (output.has_reshape) Reshape(output.reshape, output.dims, batches, &tensor.shape);
  if (requested != nullptr && requested->classification_count != 0) {
    FASTSERVE_ASSIGN_OR_RETURN(tensor, Classify(tensor, requested->classification_count, batches,
                                                LabelsOf(output, index)));
  }
  response->outputs.push_back(std::move(tensor));
  return Status::Ok();
}

}  // namespace fastserve
