// What the scheduler costs per request: into the queue, out of it in a batch, through an echoing
// backend on the calling thread, and back as a response.
#include <benchmark/benchmark.h>

#include <memory>
#include <string>
#include <vector>

#include "concurrency/deadline_timer.h"
#include "scheduling/dynamic_batcher.h"

namespace fastserve {
namespace {

class EchoInstance final : public BackendInstance {
 public:
  void Execute(Execution* execution, ExecutionObserver* observer) override {
    execution->outputs = execution->inputs;
    observer->OnExecuted(execution, Status::Ok());
  }
};

class CountingSink final : public ResponseSink {
 public:
  void OnResponse(const RequestPtr& /*request*/, InferResponse response, bool /*final*/) override {
    benchmark::DoNotOptimize(response.outputs.data());
    ++count;
  }
  std::uint64_t count = 0;
};

std::shared_ptr<ModelSpec> EchoSpec(int max_batch_size) {
  auto spec = std::make_shared<ModelSpec>();
  spec->name = "echo";
  spec->max_batch_size = max_batch_size;
  TensorSpec tensor;
  tensor.name = "X";
  tensor.type = DataType::kFp32;
  tensor.dims.push_back(16);
  spec->inputs.push_back(tensor);
  spec->outputs.push_back(tensor);
  spec->dynamic_batching.enabled = true;
  return spec;
}

RequestPtr MakeRequest(const BufferPtr& buffer, const std::shared_ptr<ResponseSink>& sink) {
  auto request = std::make_shared<InferRequest>();
  request->sink = sink;
  Tensor tensor;
  tensor.name = "X";
  tensor.type = DataType::kFp32;
  tensor.shape.push_back(1);
  tensor.shape.push_back(16);
  tensor.data = BufferView(buffer);
  request->inputs.push_back(std::move(tensor));
  return request;
}

// range(0): requests per turn, all of which fit one batch; range(1): sizes and waits are tuned.
void BM_EnqueueAndRunLent(benchmark::State& state) {
  DeadlineTimer timer(SystemClock());
  DynamicBatcher::Options options;
  const auto spec = EchoSpec(static_cast<int>(state.range(0)));
  spec->dynamic_batching.self_tuning = state.range(1) != 0;
  options.spec = spec;
  options.clock = &SystemClock();
  options.timer = &timer;
  options.statistics = std::make_shared<ModelStatistics>();
  options.instances.push_back(std::make_unique<EchoInstance>());
  const auto batcher = DynamicBatcher::Create(std::move(options)).value();
  const auto sink = std::make_shared<CountingSink>();
  const BufferPtr buffer = AllocateHostBuffer(16 * sizeof(float));
  batcher->Enqueue(MakeRequest(buffer, sink), /*lend=*/false);
  while (!batcher->lendable()) {
  }
  for (auto _ : state) {
    for (std::int64_t i = 0; i < state.range(0); ++i) {
      batcher->Enqueue(MakeRequest(buffer, sink), /*lend=*/true);
    }
    while (batcher->pending_requests() != 0) batcher->RunLent();
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
  batcher->Stop();
}
BENCHMARK(BM_EnqueueAndRunLent)->ArgsProduct({{1, 8, 64}, {0, 1}});

// The queue alone, with range(0) requests waiting: one leaves, one arrives.
void BM_PolicyQueueTurn(benchmark::State& state) {
  PolicyQueue queue{DynamicBatchingSpec{}};
  const BufferPtr buffer = AllocateHostBuffer(16 * sizeof(float));
  for (std::int64_t i = 0; i < state.range(0); ++i) queue.Push(MakeRequest(buffer, nullptr));
  for (auto _ : state) queue.Push(queue.Remove(queue.front()));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_PolicyQueueTurn)->Arg(1)->Arg(10000);

// The same with five priority levels and a timeout for every request.
void BM_PolicyQueueTurnWithPriorities(benchmark::State& state) {
  DynamicBatchingSpec spec;
  spec.priority_levels = 5;
  spec.default_priority_level = 3;
  spec.default_queue_policy.default_timeout_us = 1'000'000'000;
  PolicyQueue queue(spec);
  const BufferPtr buffer = AllocateHostBuffer(16 * sizeof(float));
  auto push = [&queue, next = std::int64_t{0}](RequestPtr request) mutable {
    request->timestamps.queue_start = next;
    request->priority = static_cast<std::uint64_t>(next++ % 5 + 1);
    queue.Push(std::move(request));
  };
  for (std::int64_t i = 0; i < state.range(0); ++i) push(MakeRequest(buffer, nullptr));
  for (auto _ : state) push(queue.Remove(queue.front()));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_PolicyQueueTurnWithPriorities)->Arg(10000);

}  // namespace
}  // namespace fastserve
