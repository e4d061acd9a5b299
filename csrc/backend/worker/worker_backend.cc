#include "backend/worker/worker_backend.h"

#include <utility>

#include "backend/worker/supervised_worker.h"
#include "base/mutex.h"

namespace fastserve {

namespace {

// Two batches: the next one is there when the worker has answered the first.
constexpr int kDepth = 2;
// Of batches that are over at once, more: for one of them the processes need not wake each other.
constexpr int kQuickDepth = 8;

class WorkerInstance final : public BackendInstance {
 public:
  WorkerInstance(std::shared_ptr<SupervisedWorker> worker, int quick_depth)
      : worker_(std::move(worker)), quick_depth_(quick_depth) {}
  ~WorkerInstance() override { worker_->Stop(); }

  int depth() const override { return kDepth; }
  int quick_depth() const override { return quick_depth_; }
  bool never_blocks() const override { return true; }
  bool takes_requests() const override { return true; }
  bool ready() const override { return worker_->ready(); }
  void set_on_ready(const std::function<void()>& on_ready) override {
    worker_->set_on_ready(on_ready);
  }
  void Execute(Execution* execution, ExecutionObserver* observer) override {
    worker_->Execute(execution, observer);
  }
  void Stop() override { worker_->Stop(); }

 private:
  const std::shared_ptr<SupervisedWorker> worker_;
  const int quick_depth_;
};

// What waits for a dynamic batcher's turn makes its batch larger.
int QuickDepth(const ModelSpec& spec) {
  return spec.dynamic_batching.enabled || spec.decoupled ? kDepth : kQuickDepth;
}

// The plan of a model's workers, but for the instance.
WorkerPlan PlanOf(const WorkerBackendOptions& options, std::shared_ptr<const ModelSpec> spec,
                  const WorkerLimits& limits) {
  WorkerPlan plan;
  const WorkerSpec& worker = spec->worker;
  plan.command.interpreter = worker.interpreter.empty() ? options.interpreter : worker.interpreter;
  plan.command.script = options.script;
  plan.command.environment = options.environment;
  for (const auto& [name, value] : worker.environment)
    plan.command.environment.emplace_back(name).append("=").append(value);
  plan.limits = limits;
  plan.times = options.times;
  if (limits.initialize_limit_ns) plan.times.initialize_limit_ns = *limits.initialize_limit_ns;
  plan.launcher = options.launcher;
  plan.host = options.host;
  plan.clock = options.clock;
  plan.spec = std::move(spec);
  return plan;
}

std::string ModelPath(const WorkerBackendOptions& options, const ModelSpec& spec) {
  return options.model_path.empty() ? spec.path : options.model_path;
}

class WorkerModel final : public BackendModel {
 public:
  WorkerModel(WorkerPlan plan, std::string model_path)
      : plan_(std::move(plan)), model_path_(std::move(model_path)) {}

  Result<std::unique_ptr<BackendInstance>> CreateInstance(const std::string& name) override {
    WorkerPlan plan = plan_;
    plan.instance_name = name;
    InitializeOptions initialize;
    initialize.model_path = model_path_;
    initialize.instance_name = name;
    initialize.memory_limit_bytes = plan.limits.memory_limit_bytes;
    plan.initialize = InitializeJson(*plan.spec, initialize);
    auto worker = std::make_shared<SupervisedWorker>(std::move(plan), tally_);
    auto instance = std::make_unique<WorkerInstance>(worker, QuickDepth(*plan_.spec));
    FASTSERVE_RETURN_IF_ERROR(worker->Start());
    const MutexLock lock(mutex_);
    workers_.push_back(worker);
    return std::unique_ptr<BackendInstance>(std::move(instance));
  }

  Status Ready() const override {
    Status ready = tally_->Ready();
    if (ready.ok()) return ready;
    return Status::Unavailable("model '" + plan_.spec->name + "': " + ready.message());
  }

  bool readiness_is_asked() const override { return true; }

  // One instance speaks for the model.
  void CheckReady(const std::function<void(Status)>& done) override {
    std::shared_ptr<SupervisedWorker> asked;
    {
      const MutexLock lock(mutex_);
      for (const auto& weak : workers_) {
        const std::shared_ptr<SupervisedWorker> worker = weak.lock();
        if (worker != nullptr && (asked == nullptr || worker->ready())) asked = worker;
      }
    }
    if (asked == nullptr || !asked->ready()) return done(Ready());
    asked->CheckReady(done);
  }

  std::optional<WorkerCounts> worker_counts() const override { return tally_->counts(); }

 private:
  const WorkerPlan plan_;
  const std::string model_path_;
  const std::shared_ptr<WorkerTally> tally_ = std::make_shared<WorkerTally>();
  Mutex mutex_;
  std::vector<std::weak_ptr<SupervisedWorker>> workers_ GUARDED_BY(mutex_);
};

class WorkerBackend final : public Backend {
 public:
  explicit WorkerBackend(WorkerBackendOptions options) : options_(std::move(options)) {}

  std::string_view name() const override { return options_.name; }

  Result<ModelSignature> ReadSignature(const ModelSpec& spec) override {
    return Status::Unsupported("model '" + spec.name + "': the " + options_.name +
                               " backend takes its inputs and outputs from config.pbtxt or from "
                               "the model's auto_complete_config");
  }

  Result<std::string> AutoComplete(const ModelSpec& spec) override {
    FASTSERVE_ASSIGN_OR_RETURN(const WorkerLimits limits, ReadWorkerLimits(spec));
    WorkerPlan plan = PlanOf(options_, std::make_shared<const ModelSpec>(spec), limits);
    plan.instance_name = spec.name;
    InitializeOptions initialize;
    initialize.model_path = ModelPath(options_, spec);
    initialize.instance_name = spec.name;
    initialize.auto_complete = true;
    initialize.memory_limit_bytes = limits.memory_limit_bytes;
    plan.initialize = InitializeJson(spec, initialize);
    return SupervisedWorker::AutoComplete(plan);
  }

  Result<std::unique_ptr<BackendModel>> LoadModel(std::shared_ptr<const ModelSpec> spec) override {
    FASTSERVE_RETURN_IF_ERROR(CheckSpec(*spec));
    FASTSERVE_ASSIGN_OR_RETURN(const WorkerLimits limits, ReadWorkerLimits(*spec));
    std::string path = ModelPath(options_, *spec);
    return std::unique_ptr<BackendModel>(
        std::make_unique<WorkerModel>(PlanOf(options_, std::move(spec), limits), std::move(path)));
  }

 private:
  Status CheckSpec(const ModelSpec& spec) const {
    if (!spec.batch_inputs.empty() || !spec.batch_outputs.empty()) {
      return Status::InvalidArgument("model '" + spec.name + "': the " + options_.name +
                                     " backend is given requests, not batches; remove batch_input "
                                     "and batch_output");
    }
    const SequenceBatchingSpec& sequences = spec.sequence_batching;
    if (spec.decoupled && sequences.enabled &&
        (!sequences.iterative || !sequences.states.empty())) {
      return Status::InvalidArgument(
          "model '" + spec.name +
          "': a decoupled model with sequence_batching needs iterative_sequence, and has no state");
    }
    return Status::Ok();
  }

  const WorkerBackendOptions options_;
};

}  // namespace

std::unique_ptr<Backend> CreateWorkerBackend(WorkerBackendOptions options) {
  if (options.clock == nullptr) options.clock = &SystemClock();
  if (options.launcher == nullptr) options.launcher = std::make_shared<ProcessSpawner>();
  return std::make_unique<WorkerBackend>(std::move(options));
}

}  // namespace fastserve
