// What a hit in the response cache costs inside the engine, against executing the tiny model; and
// what the parts cost: the hash of a request, a search, an insertion.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "backend/onnxruntime/onnxruntime_backend.h"
#include "cache/local_cache.h"
#include "engine/engine.h"

namespace fastserve {
namespace {

constexpr std::int64_t kColumns = 16;
constexpr std::uint64_t kCacheBytes = 64 << 20;

std::string EnvironmentOr(const char* name, const char* fallback) {
  const char* value = std::getenv(name);
  return value == nullptr ? fallback : value;
}

template <typename T>
T ValueOrExit(Result<T> result) {
  if (!result.ok()) {
    std::fprintf(stderr, "%s\n", result.status().message().c_str());
    std::_Exit(1);
  }
  return std::move(result).value();
}

class CountingSink final : public ResponseSink {
 public:
  void OnResponse(const RequestPtr& /*request*/, InferResponse response, bool /*final*/) override {
    if (!response.status.ok()) std::_Exit(1);
    ++count;
  }
  std::atomic<std::uint64_t> count{0};
};

std::shared_ptr<const ModelSpec> TinySpec(bool cached) {
  auto spec = std::make_shared<ModelSpec>();
  spec->name = "tiny";
  spec->backend = "onnxruntime";
  spec->path = EnvironmentOr("FASTSERVE_TEST_MODELS", FASTSERVE_TEST_MODELS) + "/tiny.onnx";
  spec->max_batch_size = 64;
  spec->dynamic_batching.enabled = true;
  spec->response_cache = cached;
  TensorSpec tensor;
  tensor.type = DataType::kFp32;
  tensor.dims.push_back(kColumns);
  tensor.name = "INPUT0";
  spec->inputs = {tensor};
  tensor.name = "OUTPUT0";
  spec->outputs = {tensor};
  return spec;
}

RequestPtr MakeRequest(const BufferPtr& buffer, std::shared_ptr<ResponseSink> sink) {
  auto request = std::make_shared<InferRequest>();
  request->model_name = "tiny";
  request->sink = std::move(sink);
  Tensor tensor;
  tensor.name = "INPUT0";
  tensor.type = DataType::kFp32;
  tensor.shape.push_back(1);
  tensor.shape.push_back(static_cast<std::int64_t>(buffer->size() / sizeof(float)));
  tensor.data = BufferView(buffer);
  request->inputs.push_back(std::move(tensor));
  return request;
}

BufferPtr Zeros(std::size_t floats) {
  BufferPtr buffer = AllocateHostBuffer(floats * sizeof(float));
  std::memset(buffer->data(), 0, buffer->size());
  return buffer;
}

std::unique_ptr<Engine> TinyEngine(bool cached) {
  EngineOptions options;
  options.cache.kind = CacheKind::kLocal;
  options.cache.local_bytes = kCacheBytes;
  auto engine = ValueOrExit(Engine::Create(options));
  OnnxRuntimeOptions onnxruntime;
  onnxruntime.library_path =
      EnvironmentOr("FASTSERVE_TEST_ORT_LIBRARY", FASTSERVE_TEST_ORT_LIBRARY);
  engine->RegisterBackend(ValueOrExit(CreateOnnxRuntimeBackend(onnxruntime)));
  (void)engine->Publish("tiny", {ValueOrExit(engine->LoadModel(TinySpec(cached)))});
  return engine;
}

// range(0) 0: the model is not cached; 1: every request is a hit; 2: every request is a miss, which
// is looked up and inserted.
void BM_EngineRequest(benchmark::State& state) {
  const auto engine = TinyEngine(state.range(0) != 0);
  const auto sink = std::make_shared<CountingSink>();
  const BufferPtr buffer = Zeros(kColumns);
  // Measured once, the model is cheap enough to be run by the thread that submits.
  engine->Submit(MakeRequest(buffer, sink));
  engine->WaitIdle(-1);
  std::uint64_t sent = 1;
  for (auto _ : state) {
    BufferPtr input = buffer;
    if (state.range(0) == 2) {
      input = Zeros(kColumns);
      std::memcpy(input->data(), &sent, sizeof(sent));
    }
    Lender lender;
    engine->Submit(MakeRequest(input, sink), &lender);
    lender.Run();
    ++sent;
    while (sink->count.load() != sent) {
    }
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_EngineRequest)->ArgName("executed,hit,miss")->Arg(0)->Arg(1)->Arg(2);

// range(0): floats in the input. 150528 are an image of 224 x 224.
void BM_KeyInProcess(benchmark::State& state) {
  const RequestPtr request = MakeRequest(Zeros(static_cast<std::size_t>(state.range(0))), nullptr);
  const CacheScope scope{1, "tiny", 1, ""};
  for (auto _ : state) benchmark::DoNotOptimize(KeyInProcess({1, 2}, scope, *request));
  state.SetBytesProcessed(state.iterations() * state.range(0) * 4);
}
BENCHMARK(BM_KeyInProcess)->Arg(16)->Arg(150'528);

void BM_KeyAcrossServers(benchmark::State& state) {
  const RequestPtr request = MakeRequest(Zeros(static_cast<std::size_t>(state.range(0))), nullptr);
  const CacheScope scope{1, "tiny", 1, "fingerprint"};
  for (auto _ : state) benchmark::DoNotOptimize(KeyAcrossServers(scope, *request));
  state.SetBytesProcessed(state.iterations() * state.range(0) * 4);
}
BENCHMARK(BM_KeyAcrossServers)->Arg(16)->Arg(150'528);

// All threads search one cache; its entries are spread over the shards.
void BM_LocalCacheFind(benchmark::State& state) {
  static LocalCache cache(kCacheBytes);
  constexpr std::uint64_t kEntries = 1024;
  InferResponse response;
  response.outputs.push_back({"OUTPUT0", DataType::kFp32, {1, kColumns}, BufferView(Zeros(16))});
  if (state.thread_index() == 0) {
    for (std::uint64_t i = 0; i < kEntries; ++i) cache.Insert({{i, i, 0, 0}}, response);
  }
  std::uint64_t i = static_cast<std::uint64_t>(state.thread_index()) * 7;
  for (auto _ : state) {
    ++i;
    benchmark::DoNotOptimize(cache.Find({{i % kEntries, i % kEntries, 0, 0}}));
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_LocalCacheFind)->Threads(1)->Threads(2)->UseRealTime();

// A full cache: each insertion evicts.
void BM_LocalCacheInsert(benchmark::State& state) {
  LocalCache cache(1 << 20);
  InferResponse response;
  response.outputs.push_back({"OUTPUT0", DataType::kFp32, {1, kColumns}, BufferView(Zeros(16))});
  std::uint64_t i = 0;
  for (auto _ : state) {
    ++i;
    cache.Insert({{i, i, 0, 0}}, response);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_LocalCacheInsert);

}  // namespace
}  // namespace fastserve
