// One request on its way through an ensemble.
//
//   Start -> ready steps -> member requests -> responses -> tensors -> ready steps ... -> answer
//
// Nothing waits: the response of a step makes the steps ready that needed its tensors, and whoever
// brought it submits them. The last response answers the request.
//
// Behind a decoupled step the request branches: each of its responses goes through the steps behind
// it in a run of its own, a pass, and EnsembleStream sends what they make.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "inference/request.h"
#include "scheduling/ensemble_graph.h"
#include "scheduling/ensemble_stream.h"
#include "scheduling/model_statistics.h"
#include "scheduling/request_router.h"

namespace fastserve {

class EnsembleScheduler;  // ensemble_scheduler.h

// Kept alive by the requests of its running steps, whose sink it is, and by the parent's cancel
// hook or the stream. Thread safe. Invariants: 1. the parent is completed exactly once, when no
// step of it or of its passes runs any more, so no view into its inputs is used afterwards; 2. a
// step runs at most once, after every step it reads from, and those behind a decoupled step in its
// passes only; 3. one thread at a time submits steps and starts passes, so a step that ends inside
// its own submission does not recurse; 4. tensors pass as views: no byte is copied; 5. passes start
// when every step that is not behind the decoupled one has ended: what they read besides its
// response is settled.
class EnsembleRun final : public ResponseSink,
                          public CancelHook,
                          public std::enable_shared_from_this<EnsembleRun> {
 public:
  EnsembleRun(std::shared_ptr<EnsembleScheduler> scheduler, RequestPtr parent);

  // Submits the first steps. May complete the parent before it returns.
  void Start() EXCLUDES(mutex_);
  // The end of one step, or a response of the decoupled one.
  void OnResponse(const RequestPtr& request, InferResponse response, bool final) override
      EXCLUDES(mutex_);
  // Of the decoupled step's sink.
  bool congested() const override { return stream_ != nullptr && stream_->congested(); }
  // The parent was cancelled: waiting steps leave their queues, no further one starts.
  void OnCancel(const RequestPtr& parent) override EXCLUDES(mutex_);

 private:
  class StepRequest;
  using StepRequestPtr = std::shared_ptr<StepRequest>;
  using Outcome = EnsembleStream::Outcome;
  // An ensemble tensor during this run. Settled: it has its value, or never will have one.
  struct Slot {
    Tensor tensor;
    // The model that wrote it: says whether the first dimension is the batch, and has the labels.
    std::shared_ptr<const ModelSpec> source;
    bool present = false;
    std::size_t readers = 0;  // uses to come; the last one takes the bytes away from the run
  };
  struct StepState {
    std::size_t unsettled_inputs = 0;
    bool needed = false;
    RequestPtr request;  // while the step runs
  };

  // A pass of that number.
  EnsembleRun(const EnsembleRun& base, RequestPtr parent, std::uint64_t pass_number);

  void SettleInputs() REQUIRES(mutex_);
  // Sets the step's inputs from the slots.
  void FillInputs(StepRequest* request) REQUIRES(mutex_);
  void Settle(std::size_t tensor) REQUIRES(mutex_);
  // Submits ready steps and starts passes until there are none, unless another call does so now;
  // finishes when nothing runs any more.
  void Drive() EXCLUDES(mutex_);
  // Null when there is nothing to submit.
  StepRequestPtr TakeReadyStep() REQUIRES(mutex_);
  StepRequestPtr MakeStepRequest(std::size_t step) REQUIRES(mutex_);
  void Submit(const StepRequestPtr& request) EXCLUDES(mutex_);
  Status BeginStream(const StepRequestPtr& request);
  bool IsDecoupledStep(const RequestPtr& request) const;
  // Latches: from then on responses of the decoupled step make passes.
  bool TensorsBesideAreSettled() REQUIRES(mutex_);
  // Null when there is nothing to pass on, or not yet.
  std::shared_ptr<EnsembleRun> TakePass() REQUIRES(mutex_);
  // The step does not run; nor will the tensors it writes exist.
  void Skip(std::size_t step) EXCLUDES(mutex_);
  void EndStep(const StepRequest& request) REQUIRES(mutex_);
  void StoreOutputs(const StepRequest& request, InferResponse* response) REQUIRES(mutex_);
  void Fail(Status status, FailureReason reason) REQUIRES(mutex_);
  std::vector<RequestPtr> RunningSteps() REQUIRES(mutex_);
  // No step runs and none will: only this thread touches the run now.
  void Finish() EXCLUDES(mutex_);
  // Completes the parent.
  void Answer() EXCLUDES(mutex_);
  // Lets go of the parent and the tensors.
  Outcome TakeOutcome(RequestPtr* parent) EXCLUDES(mutex_);
  // The request was answered by passes: what is left to say is that there are no more.
  bool EndsStream() const;
  Status BuildResponse(InferResponse* response) REQUIRES(mutex_);
  Status AddOutput(const TensorSpec& output, const RequestedOutput* requested,
                   InferResponse* response) REQUIRES(mutex_);
  const std::vector<std::string>& LabelsOf(const TensorSpec& output, std::size_t tensor) const
      REQUIRES(mutex_);

  const std::shared_ptr<EnsembleScheduler> scheduler_;
  const EnsembleGraph& graph_;                      // the scheduler's
  const std::shared_ptr<EnsembleStream> stream_;    // null unless the ensemble is decoupled
  const std::optional<std::uint64_t> pass_number_;  // of a pass

  // From when the client's timeout counts: a stream may last longer, each pass has all of it.
  const std::int64_t waiting_since_ns_;

  Mutex mutex_;
  RequestPtr parent_ GUARDED_BY(mutex_);
  std::vector<Slot> slots_ GUARDED_BY(mutex_);       // by ensemble tensor
  std::vector<StepState> steps_ GUARDED_BY(mutex_);  // by step
  std::deque<std::size_t> ready_ GUARDED_BY(mutex_);
  std::size_t running_ GUARDED_BY(mutex_) = 0;
  bool driving_ GUARDED_BY(mutex_) = false;
  bool finished_ GUARDED_BY(mutex_) = false;
  bool settled_beside_ GUARDED_BY(mutex_) = false;
  bool cancelled_ GUARDED_BY(mutex_) = false;
  Status failure_ GUARDED_BY(mutex_);  // the first one
  FailureReason failure_reason_ GUARDED_BY(mutex_) = FailureReason::kOther;
  ComputeSums sums_ GUARDED_BY(mutex_);
};

}  // namespace fastserve
