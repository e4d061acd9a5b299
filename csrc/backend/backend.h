// The interface between the scheduler and what runs a model. One folder per backend; all pass
// tests/cpp/backend's contract suite.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "inference/model_spec.h"
#include "inference/request.h"
#include "inference/tensor.h"

namespace fastserve {

// One batch on its way through a backend. Owned by the scheduler; alive until done() was called.
// `inputs` are assembled: for a batching model the first dimension is the batch, rows in the order
// of `requests`; a ragged input (TensorSpec::allow_ragged_batch) has one dimension, the elements of
// all requests; the batch inputs of the specification follow. The backend appends to `outputs`
// tensors whose first dimension is the same batch (when the model batches), named as in the
// specification; the scheduler splits them. Outputs of ModelSpec::batch_outputs may have any shape:
// only their elements count. Outputs not in `requested_outputs` need not be computed.
struct Execution {
  std::vector<RequestPtr> requests;
  std::vector<Tensor> inputs;
  std::vector<std::string> requested_outputs;  // the union over the requests; empty: all
  std::int64_t batch_size = 0;  // sum of first dimensions; 1 when the model does not batch
  std::vector<Tensor> outputs;
  // A backend of an `iterative_sequence` model that wants requests again sets this, one entry per
  // request: those that are true get no answer now and come back, before what follows them in their
  // sequence. Empty: none.
  std::vector<bool> rescheduled;
  // Of an instance that takes_requests(), instead of inputs and outputs: one answer per request,
  // whose status may be that request's error. Empty when the model is decoupled: the backend then
  // answers the requests itself, as often as it likes, also after OnExecuted; when a request is
  // congested() it waits for room (InferRequest::WaitForRoom).
  std::vector<InferResponse> responses;
  // Clock::NowNs() set by the backend where it knows better than the scheduler; 0 otherwise.
  std::int64_t compute_input_end_ns = 0;
  std::int64_t compute_output_start_ns = 0;
};

// Told once per execution. Any thread; `status` not OK fails every request of the batch (reason
// BACKEND), of a decoupled model those that have had no final response: its backend answers none
// of them any more.
class ExecutionObserver {
 public:
  virtual ~ExecutionObserver() = default;
  virtual void OnExecuted(Execution* execution, Status status) = 0;
};

// One instance of a loaded model. With a depth of 1, Execute is called by one thread at a time.
class BackendInstance {
 public:
  virtual ~BackendInstance() = default;
  // 1: synchronous, OnExecuted is called inside Execute. 2: asynchronous.
  virtual int depth() const { return 1; }
  // At most depth() executions, or so many while each is over within kQuickNs of being handed over.
  static constexpr std::int64_t kQuickNs = 1'000'000;
  virtual int quick_depth() const { return depth(); }
  // True: Execute only hands the batch on, so that any thread may call it, and OnExecuted is called
  // on a thread of the instance's, never inside Execute.
  virtual bool never_blocks() const { return false; }
  // Of an instance that never_blocks(). False: what it is given waits until it can execute again,
  // or fails. A scheduler that has others gives it nothing. Thread safe, never blocks.
  virtual bool ready() const { return true; }
  // Called on the instance's thread when it has become ready again. Set before the first Execute.
  virtual void set_on_ready(const std::function<void()>& /*on_ready*/) {}
  // Before the destructor, of an instance that never_blocks(): what runs ends soon, if need be as
  // failed, and what Execute is given from now on fails. Blocks until nothing runs, except on the
  // instance's own thread. Idempotent.
  virtual void Stop() {}
  // True: reads the tensors of `Execution::requests` and fills `responses`; nothing is assembled or
  // split. But the batches of a model with sequence batching are always assembled; a row without a
  // request then has one without a sink, whose answer nobody reads. Its states go to `outputs`.
  virtual bool takes_requests() const { return false; }
  virtual void Execute(Execution* execution, ExecutionObserver* observer) = 0;
};

// What has become of the worker processes of a model since it was loaded.
struct WorkerCounts {
  std::uint64_t deaths = 0;    // that nobody asked for
  std::uint64_t restarts = 0;  // after a death, or to recycle
};

// A loaded model; makes instances. Thread safe. Destroyed after its instances.
class BackendModel {
 public:
  virtual ~BackendModel() = default;
  // Blocks (may load weights). `name` is the instance's, e.g. "resnet_0".
  virtual Result<std::unique_ptr<BackendInstance>> CreateInstance(const std::string& name) = 0;
  // No execution comes any more: requests that the backend still answers itself (decoupled) are
  // failed, and none is answered after the return. Blocks. Idempotent.
  virtual void Stop() {}
  // Not OK, with the reason, while no instance can execute. Does not block.
  virtual Status Ready() const { return Status::Ok(); }
  // True: only CheckReady knows.
  virtual bool readiness_is_asked() const { return false; }
  // Asks the model itself as well, where it can be asked, for at most five seconds. `done` is
  // called once, on any thread, maybe inside the call.
  virtual void CheckReady(const std::function<void(Status)>& done) { done(Ready()); }
  // Null for a model without worker processes.
  virtual std::optional<WorkerCounts> worker_counts() const { return std::nullopt; }
};

// A tensor as the model file itself declares it: full shape with the batch dimension, -1 where
// variable or symbolic.
struct TensorSignature {
  std::string name;
  DataType type = DataType::kInvalid;
  Shape shape;
  std::vector<std::string>
      dim_names;  // symbolic names, empty string where fixed; may be empty altogether
};
struct ModelSignature {
  std::vector<TensorSignature> inputs;
  std::vector<TensorSignature> outputs;
};

// A kind of model runner, created once per engine. Thread safe.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view name() const = 0;
  // What the file declares, for auto-completion. Blocks. Errors: Unsupported when the backend
  // cannot tell.
  virtual Result<ModelSignature> ReadSignature(const ModelSpec& spec) = 0;
  // The configuration (JSON) as the model itself completes it. Blocks. Errors: Unsupported when
  // models of this backend cannot.
  virtual Result<std::string> AutoComplete(const ModelSpec& spec) {
    return Status::Unsupported("model '" + spec.name + "': its backend completes no configuration");
  }
  // Blocks. Errors name the file and what is wrong with it.
  virtual Result<std::unique_ptr<BackendModel>> LoadModel(
      std::shared_ptr<const ModelSpec> spec) = 0;
};

}  // namespace fastserve
