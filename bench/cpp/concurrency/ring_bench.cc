// What the hand-over of one request costs: the ingress ring and the event count behind it.
#include <benchmark/benchmark.h>

#include <memory>

#include "concurrency/bounded_ring.h"
#include "concurrency/event_count.h"

namespace fastserve {
namespace {

constexpr std::size_t kCapacity = 1024;

void BM_RingPushAndPop(benchmark::State& state) {
  static BoundedRing<std::shared_ptr<int>> ring(kCapacity);
  auto value = std::make_shared<int>(1);
  for (auto _ : state) {
    benchmark::DoNotOptimize(ring.TryPush(std::move(value)));
    benchmark::DoNotOptimize(ring.TryPop(&value));
  }
}
BENCHMARK(BM_RingPushAndPop)->Threads(1)->Threads(2);

void BM_RingPopWhenEmpty(benchmark::State& state) {
  BoundedRing<std::shared_ptr<int>> ring(kCapacity);
  std::shared_ptr<int> value;
  for (auto _ : state) benchmark::DoNotOptimize(ring.TryPop(&value));
}
BENCHMARK(BM_RingPopWhenEmpty);

void BM_NotifyNobody(benchmark::State& state) {
  static EventCount event;
  for (auto _ : state) event.NotifyOne();
}
BENCHMARK(BM_NotifyNobody)->Threads(1)->Threads(2);

void BM_PrepareAndCancelWait(benchmark::State& state) {
  EventCount event;
  for (auto _ : state) {
    benchmark::DoNotOptimize(event.PrepareWait());
    event.CancelWait();
  }
}
BENCHMARK(BM_PrepareAndCancelWait);

}  // namespace
}  // namespace fastserve
