// Random graphs, random orders of answers, random failures, absences and cancellations, against a
// reference that evaluates the graph step by step.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "scheduling/ensemble_scheduler.h"
#include "support/fake_clock.h"
#include "support/manual_backend.h"
#include "support/random.h"
#include "support/scripted_members.h"

namespace fastserve {
namespace {

// Step i reads some earlier tensors and writes "t<i>": the sum of what it reads, plus i. Its first
// input is required by the member, the others are optional.
struct RandomGraph {
  std::vector<std::vector<int>> reads;  // by step; -1 is the ensemble's input
  std::set<int> silent;                 // steps that leave their output out
  std::set<int> failing;
  std::set<int> outputs;  // steps whose tensor is an output of the ensemble

  std::optional<float> Value(int step, float input,
                             std::map<int, std::optional<float>>* known) const {
    if (step == -1) return input;
    if (const auto found = known->find(step); found != known->end()) return found->second;
    std::optional<float> sum = Value(reads[step][0], input, known);
    for (std::size_t i = 1; sum && i < reads[step].size(); ++i)
      *sum += Value(reads[step][i], input, known).value_or(0);
    if (sum) *sum += static_cast<float>(step);
    if (silent.contains(step)) sum = std::nullopt;
    (*known)[step] = sum;
    return sum;
  }
};

std::string TensorName(int step) { return step == -1 ? "in" : "t" + std::to_string(step); }

RandomGraph MakeRandomGraph(RepeatableRandom& random) {
  RandomGraph graph;
  const auto steps = static_cast<int>(1 + random.Below(8));
  for (int step = 0; step < steps; ++step) {
    std::vector<int>& reads = graph.reads.emplace_back();
    for (std::int64_t count = 1 + random.Below(3); count > 0; --count)
      reads.push_back(static_cast<int>(random.Below(step + 1)) - 1);
    if (random.Below(10) == 0) graph.silent.insert(step);
    if (random.Below(40) == 0) graph.failing.insert(step);
    if (random.Below(3) == 0) graph.outputs.insert(step);
  }
  graph.outputs.insert(steps - 1);
  return graph;
}

class EnsembleProperty : public ::testing::Test {
 protected:
  EnsembleProperty() {
    clock_.AddListener([this] { timer_.Poke(); });
  }
  void Build(const RandomGraph& graph, std::uint32_t max_inflight) {
    std::vector<std::string> outputs;
    for (const int step : graph.outputs) outputs.push_back(TensorName(step));
    std::vector<std::string> steps;
    members_.clear();
    for (std::size_t step = 0; step < graph.reads.size(); ++step) {
      const std::string name = "m" + std::to_string(step);
      std::string text = name + ":";
      std::vector<std::string> inputs;
      for (std::size_t i = 0; i < graph.reads[step].size(); ++i) {
        inputs.push_back("X" + std::to_string(i));
        text += (i == 0 ? "" : ",") + inputs.back() + "=" + TensorName(graph.reads[step][i]);
      }
      steps.push_back(text + ">Y=" + TensorName(static_cast<int>(step)));
      auto spec = MakeMemberSpec(name, inputs, {"Y"});
      for (std::size_t i = 1; i < inputs.size(); ++i) spec->inputs[i].optional = true;
      members_.push_back(&router_.Add(spec));
    }
    spec_ = MakeEnsembleSpec({"in"}, outputs, steps);
    spec_->ensemble.max_inflight_requests = max_inflight;
    auto scheduler = EnsembleScheduler::Create(
        {spec_, &clock_, &timer_, std::make_shared<ModelStatistics>(), &router_});
    ASSERT_TRUE(scheduler.ok()) << scheduler.status().message();
    scheduler_ = *scheduler;
  }
  RequestPtr Enqueue(int number, std::int64_t timeout_us) {
    RequestPtr request =
        MakeRequest(std::to_string(number), sink_, static_cast<float>(number), 1, 1);
    request->spec = spec_;
    request->inputs[0].name = "in";
    request->timeout_us = static_cast<std::uint64_t>(timeout_us);
    waiting_.push_back(
        {request->id, timeout_us == 0 ? INT64_MAX : clock_.NowNs() + timeout_us * 1000});
    scheduler_->Enqueue(request, false);
    return request;
  }
  // The reference of the waiting for room: in order of arrival, no longer than the timeout.
  void CheckWaiting() {
    std::set<std::string> answered;
    for (const auto& answer : sink_->Await(0)) answered.insert(answer.id);
    const std::size_t limit = spec_->ensemble.max_inflight_requests;
    const auto gone = [&](const auto& waiting) {
      if (limit != 0 && waiting.second <= clock_.NowNs()) late_.insert(waiting.first);
      return answered.contains(waiting.first) || late_.contains(waiting.first);
    };
    std::erase_if(on_their_way_, [&](const std::string& id) { return answered.contains(id); });
    std::erase_if(waiting_, gone);
    while (!waiting_.empty() && (limit == 0 || on_their_way_.size() < limit)) {
      on_their_way_.insert(waiting_.front().first);
      waiting_.pop_front();
    }
    EXPECT_EQ(scheduler_->pending_requests(), waiting_.size());
  }
  void Advance(std::int64_t ns) {
    clock_.Advance(ns);
    AwaitDueCallbacks(clock_, &timer_);
  }
  // Answers one waiting step request of a random member; false when none waits.
  bool AnswerOne(const RandomGraph& graph, RepeatableRandom& random) {
    std::vector<int> waiting;
    for (std::size_t i = 0; i < members_.size(); ++i) {
      if (members_[i]->waiting() > 0) waiting.push_back(static_cast<int>(i));
    }
    if (waiting.empty()) return false;
    const int step =
        waiting[static_cast<std::size_t>(random.Below(static_cast<std::int64_t>(waiting.size())))];
    const RequestPtr request = members_[static_cast<std::size_t>(step)]->Take();
    if (graph.failing.contains(step)) {
      request->Fail(Status::Internal("boom"), FailureReason::kBackend);
    } else if (graph.silent.contains(step)) {
      AnswerWith(request, {});
    } else {
      float sum = static_cast<float>(step);
      for (const Tensor& input : request->inputs) sum += FloatsOf(input).at(0);
      AnswerWith(request, {{"Y", {sum}}});
    }
    return true;
  }
  void CheckAnswer(const RandomGraph& graph, const RecordingSink::Answer& answer) {
    const float input = std::stof(answer.id);
    std::map<int, std::optional<float>> known;
    std::vector<std::pair<std::string, float>> expected;
    for (const int step : graph.outputs) {
      if (const auto value = graph.Value(step, input, &known))
        expected.emplace_back(TensorName(step), *value);
    }
    std::vector<std::pair<std::string, float>> actual;
    for (const Tensor& tensor : answer.response.outputs)
      actual.emplace_back(tensor.name, FloatsOf(tensor).at(0));
    EXPECT_EQ(actual, expected) << "request " << answer.id;
  }

  FakeClock clock_;
  DeadlineTimer timer_{clock_};
  ScriptedRouter router_;
  std::shared_ptr<RecordingSink> sink_ = std::make_shared<RecordingSink>();
  std::shared_ptr<ModelSpec> spec_;
  std::vector<ScriptedMember*> members_;
  std::shared_ptr<EnsembleScheduler> scheduler_;
  std::deque<std::pair<std::string, std::int64_t>> waiting_;  // with their deadlines
  std::set<std::string> on_their_way_;
  std::set<std::string> late_;
};

TEST_F(EnsembleProperty, EveryRequestIsAnsweredOnceWithWhatTheGraphSays) {
  constexpr int kRounds = 200;
  constexpr int kRequests = 6;
  std::size_t succeeded = 0;
  std::size_t timed_out = 0;
  for (int round = 0; round < kRounds; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    RepeatableRandom random(static_cast<std::uint64_t>(round));
    const RandomGraph graph = MakeRandomGraph(random);
    sink_ = std::make_shared<RecordingSink>();
    late_.clear();
    Build(graph, static_cast<std::uint32_t>(random.Below(4)));
    std::set<std::string> cancelled;
    int sent = 0;
    for (bool busy = true; busy || sent < kRequests;) {
      if (sent < kRequests && random.Below(3) == 0) {
        const RequestPtr request = Enqueue(sent++, random.Below(3) == 0 ? 1 + random.Below(50) : 0);
        if (random.Below(8) == 0) {
          request->Cancel();
          cancelled.insert(request->id);
        }
      }
      CheckWaiting();
      if (random.Below(8) == 0) Advance(random.Below(20'000));
      CheckWaiting();
      busy = AnswerOne(graph, random);
      CheckWaiting();
    }
    const auto all = sink_->Await(0);
    ASSERT_EQ(all.size(), std::size_t{kRequests}) << "each request once";
    for (const auto& answer : all) {
      EXPECT_EQ(answer.response.status.message() == "Request timeout expired",
                late_.contains(answer.id));
      if (answer.response.status.ok()) {
        CheckAnswer(graph, answer);
        ++succeeded;
      } else {
        EXPECT_TRUE(cancelled.contains(answer.id) || late_.contains(answer.id) ||
                    !graph.failing.empty())
            << answer.response.status.message();
      }
    }
    EXPECT_EQ(scheduler_->pending_requests(), 0U);
    timed_out += late_.size();
  }
  EXPECT_GT(timed_out, 5U);
  EXPECT_GT(succeeded, static_cast<std::size_t>(kRounds)) << "most rounds have successes";
}

}  // namespace
}  // namespace fastserve
