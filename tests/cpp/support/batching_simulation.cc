#include "support/batching_simulation.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>
#include <map>
#include <random>
#include <sstream>
#include <utility>

#include "base/clock.h"
#include "scheduling/dynamic_batcher.h"
#include "support/fake_clock.h"
#include "support/requests.h"

namespace fastserve {

namespace {

// From an answer to the caller's next request, on average: the network, the front ends, the client.
constexpr double kReturnNs = 200'000;
// How late a timer calls back on a machine with other work: its thread has to be woken.
constexpr std::int64_t kTimerLagNs = 20'000;
constexpr std::size_t kCallers = 32;

// What happens when, in order; at the same time in the order of scheduling.
class Agenda {
 public:
  explicit Agenda(FakeClock* clock) : clock_(*clock) {}

  void At(std::int64_t ns, std::function<void()> action) {
    actions_.emplace(std::max(ns, clock_.NowNs()), std::move(action));
  }
  // Moves the clock to the next action and runs it; false when there is none.
  bool Step() {
    if (actions_.empty()) return false;
    auto next = actions_.extract(actions_.begin());
    clock_.Advance(next.key() - clock_.NowNs());
    next.mapped()();
    return true;
  }

 private:
  FakeClock& clock_;
  std::multimap<std::int64_t, std::function<void()>> actions_;
};

class SimulatedTimer final : public DeadlineTimer {
 public:
  SimulatedTimer(const Clock& clock, Agenda* agenda) : DeadlineTimer(clock), agenda_(*agenda) {}
  TimerId Schedule(std::int64_t deadline_ns, std::function<void()> callback) override {
    agenda_.At(deadline_ns + kTimerLagNs, std::move(callback));
    return {deadline_ns, ++sequence_};
  }

 private:
  Agenda& agenda_;
  std::uint64_t sequence_ = 0;
};

// Echoes after the time that a batch of this size takes.
class SimulatedInstance final : public BackendInstance {
 public:
  SimulatedInstance(const MeasuredCost* cost, const Clock* clock, Agenda* agenda, int* running)
      : cost_(*cost), clock_(*clock), agenda_(*agenda), running_(*running) {}

  void Execute(Execution* execution, ExecutionObserver* observer) override {
    const std::int64_t cost_ns = cost_.CostNs(execution->batch_size, running_ > 0);
    ++running_;
    agenda_.At(clock_.NowNs() + cost_ns, [this, execution, observer] {
      --running_;
      execution->outputs = execution->inputs;
      observer->OnExecuted(execution, Status::Ok());
    });
  }

 private:
  const MeasuredCost& cost_;
  const Clock& clock_;
  Agenda& agenda_;
  int& running_;
};

class Simulation final : public ResponseSink {
 public:
  // The caller keeps it alive as `self`: it is its requests' sink.
  explicit Simulation(const SimulationOptions& options)
      : options_(options), random_(options.seed), agenda_(&clock_), timer_(clock_, &agenda_) {}

  SimulationResult Run(const std::shared_ptr<Simulation>& self) {
    self_ = self;
    StartBatcher();
    if (options_.callers == 0) {
      ScheduleArrival();
    } else {
      for (std::size_t i = 0; i < options_.callers; ++i)
        agenda_.At(AfterReturn(), [this] { Send(); });
    }
    while (ended_ < options_.requests && agenda_.Step()) batcher_->RunLent();
    const SimulationResult result = Summarize();
    while (agenda_.Step()) batcher_->RunLent();
    batcher_->Stop();
    self_.reset();
    return result;
  }

  void OnResponse(const RequestPtr& request, InferResponse /*response*/, bool /*final*/) override {
    ++ended_;
    if (ended_ == options_.requests / 5) counted_from_ns_ = clock_.NowNs();
    if (ended_ > options_.requests / 5 && ended_ <= options_.requests) {
      latencies_ns_.push_back(clock_.NowNs() - request->timestamps.queue_start);
      counted_until_ns_ = clock_.NowNs();
    }
    if (options_.callers != 0) agenda_.At(AfterReturn(), [this] { Send(); });
  }

 private:
  void StartBatcher() {
    const std::shared_ptr<ModelSpec> spec =
        MakeSpec("simulated", static_cast<int>(options_.cost.max_batch_size()));
    spec->dynamic_batching = options_.batching;
    spec->dynamic_batching.enabled = true;
    DynamicBatcher::Options batcher;
    batcher.spec = spec;
    batcher.clock = &clock_;
    batcher.timer = &timer_;
    batcher.statistics = statistics_;
    batcher.own_threads = false;
    for (std::size_t i = 0; i < options_.instances; ++i) {
      batcher.instances.push_back(
          std::make_unique<SimulatedInstance>(&options_.cost, &clock_, &agenda_, &running_));
    }
    batcher_ = DynamicBatcher::Create(std::move(batcher)).value();
  }
  // Uniform in 0 .. 1, the same with every standard library.
  double Uniform() { return (static_cast<double>(random_() >> 11) + 0.5) * 0x1p-53; }
  std::int64_t AfterReturn() {
    return clock_.NowNs() + static_cast<std::int64_t>(kReturnNs * (0.5 + Uniform()));
  }
  void ScheduleArrival() {
    const double gap_ns =
        -std::log(Uniform()) * 1e9 * options_.rows_per_request / options_.rows_per_second;
    agenda_.At(clock_.NowNs() + static_cast<std::int64_t>(gap_ns), [this] {
      Send();
      if (sent_ < options_.requests) ScheduleArrival();
    });
  }
  void Send() {
    if (sent_ >= options_.requests + options_.callers) return;
    ++sent_;
    RequestPtr request = MakeRequest("", self_, 0, options_.rows_per_request, 1);
    batcher_->Enqueue(request, /*lend=*/true);
  }
  SimulationResult Summarize() {
    SimulationResult result;
    std::sort(latencies_ns_.begin(), latencies_ns_.end());
    const std::size_t count = latencies_ns_.size();
    const auto span_ns = static_cast<double>(counted_until_ns_ - counted_from_ns_);
    result.rows_per_second = static_cast<double>(count) * options_.rows_per_request * 1e9 / span_ns;
    result.p99_us = static_cast<double>(latencies_ns_[count * 99 / 100]) / kNsPerUs;
    double sum_ns = 0;
    for (const std::int64_t latency_ns : latencies_ns_) sum_ns += static_cast<double>(latency_ns);
    result.mean_us = sum_ns / static_cast<double>(count) / kNsPerUs;
    const StatisticsSnapshot numbers = statistics_->Snapshot();
    result.mean_batch_size =
        static_cast<double>(numbers.inference_count) /
        static_cast<double>(std::max<std::uint64_t>(numbers.execution_count, 1));
    return result;
  }

  const SimulationOptions options_;
  std::mt19937_64 random_;
  FakeClock clock_;
  Agenda agenda_;
  SimulatedTimer timer_;
  const std::shared_ptr<ModelStatistics> statistics_ = std::make_shared<ModelStatistics>();
  int running_ = 0;
  std::shared_ptr<DynamicBatcher> batcher_;
  std::shared_ptr<Simulation> self_;
  std::size_t sent_ = 0;
  std::size_t ended_ = 0;
  std::int64_t counted_from_ns_ = 0;
  std::int64_t counted_until_ns_ = 0;
  std::vector<std::int64_t> latencies_ns_;
};

}  // namespace

std::int64_t MeasuredCost::CostNs(std::int64_t batch_size, bool shared) const {
  const auto at = [shared](const Point& point) {
    return shared ? point.shared_us : point.alone_us;
  };
  const auto size = static_cast<double>(batch_size);
  double cost_us = at(points.back()) * size / points.back().batch_size;
  for (std::size_t i = 0; i < points.size(); ++i) {
    if (size > points[i].batch_size) continue;
    const Point& upper = points[i];
    const Point& lower = points[i == 0 ? 0 : i - 1];
    const double width = upper.batch_size - lower.batch_size;
    const double part = width == 0 ? 0 : (size - lower.batch_size) / width;
    cost_us = at(lower) + part * (at(upper) - at(lower));
    break;
  }
  return static_cast<std::int64_t>(cost_us * static_cast<double>(kNsPerUs));
}

std::vector<MeasuredCost> ReadMeasuredCosts(const std::string& path) {
  std::vector<MeasuredCost> curves;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string model;
    MeasuredCost::Point point;
    if (!(words >> model >> point.batch_size >> point.alone_us >> point.shared_us)) continue;
    if (curves.empty() || curves.back().model != model) curves.emplace_back().model = model;
    curves.back().points.push_back(point);
  }
  return curves;
}

SimulationResult Simulate(const SimulationOptions& options) {
  const auto simulation = std::make_shared<Simulation>(options);
  return simulation->Run(simulation);
}

std::vector<HandTuned> HandTunedSettings(const MeasuredCost& cost) {
  const double row_us =
      static_cast<double>(cost.CostNs(1, /*shared=*/false)) / static_cast<double>(kNsPerUs);
  std::vector<std::vector<std::int64_t>> preferred;
  for (std::int64_t size = 1; size <= cost.max_batch_size(); size *= 2) preferred.push_back({size});
  preferred.push_back({4, 8, cost.max_batch_size()});
  std::vector<HandTuned> settings;
  for (const auto& sizes : preferred) {
    for (const double part : {0.0, 0.5, 1.0, 2.0}) {
      HandTuned& setting = settings.emplace_back();
      setting.batching.preferred_batch_sizes = sizes;
      setting.batching.max_queue_delay_us = static_cast<std::uint64_t>(part * row_us);
      setting.name = "preferred";
      for (const std::int64_t size : sizes) setting.name += " " + std::to_string(size);
      setting.name += ", delay " + std::to_string(setting.batching.max_queue_delay_us) + " us";
    }
  }
  return settings;
}

Comparison CompareWithHandTuned(const MeasuredCost& cost, std::size_t instances,
                                std::size_t requests) {
  SimulationOptions options;
  options.cost = cost;
  options.instances = instances;
  options.requests = requests;
  DynamicBatchingSpec empty;
  empty.self_tuning = true;
  Comparison found;
  const std::vector<HandTuned> settings = HandTunedSettings(cost);

  options.callers = kCallers;
  options.batching = empty;
  found.tuned_saturated = Simulate(options);
  for (const HandTuned& setting : settings) {
    options.batching = setting.batching;
    const double rate = Simulate(options).rows_per_second;
    if (rate <= found.best_rows_per_second) continue;
    found.best_rows_per_second = rate;
    found.best_for_rate = setting.name;
  }
  options.callers = 0;
  options.rows_per_second = found.best_rows_per_second / 2;
  options.batching = empty;
  found.tuned_half_load = Simulate(options);
  for (const HandTuned& setting : settings) {
    options.batching = setting.batching;
    const double p99_us = Simulate(options).p99_us;
    if (found.best_p99_us != 0 && p99_us >= found.best_p99_us) continue;
    found.best_p99_us = p99_us;
    found.best_for_p99 = setting.name;
  }
  return found;
}

}  // namespace fastserve
