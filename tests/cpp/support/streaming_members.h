// An ensemble with a decoupled step, all of whose members the test plays by hand.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "scheduling/ensemble_scheduler.h"
#include "support/fake_clock.h"
#include "support/scripted_members.h"

namespace fastserve {

// A client that has no room when the test says so, or from its `full_at`-th response on.
class SlowClient final : public ResponseSink {
 public:
  void OnResponse(const RequestPtr& request, InferResponse response, bool final) override {
    if (answers.count() + 1 == full_at) full = true;
    answers.OnResponse(request, std::move(response), final);
  }
  bool congested() const override { return full; }

  RecordingSink answers;
  std::size_t full_at = 0;
  std::atomic<bool> full{false};
};

// Counts how often it was told of room.
class CountedRoom final : public RoomHook {
 public:
  void OnRoom(const RequestPtr& /*request*/) override { ++count_; }
  int count() const { return count_; }

 private:
  std::atomic<int> count_{0};
};

// A response of a decoupled member: every output that was asked for, [1, 1] of `value`.
inline void SendValue(const RequestPtr& request, float value, bool final = false) {
  InferResponse response;
  for (const RequestedOutput& output : request->outputs)
    response.outputs.push_back(
        {output.name, DataType::kFp32, MakeShape({1, 1}), ViewOfFloats({value})});
  request->Respond(std::move(response), final);
}

inline void SendEnd(const RequestPtr& request) {
  InferResponse response;
  response.flags_only = true;
  request->Respond(std::move(response), /*final=*/true);
}

// Members a, b and c (X, optional Z -> Y) answer once, g and h are decoupled.
class StreamingEnsembleTest : public ::testing::Test {
 protected:
  StreamingEnsembleTest() {
    clock_.AddListener([this] { timer_.Poke(); });
    for (const char* name : {"a", "b", "c", "g", "h"}) {
      auto spec = MakeMemberSpec(name, {"X", "Z"}, {"Y"});
      spec->inputs[1].optional = true;
      spec->decoupled = *name == 'g' || *name == 'h';
      router_.Add(spec);
    }
  }

  ScriptedMember& member(const std::string& name) {
    return static_cast<ScriptedMember&>(**router_.Find(name, -1));
  }
  void Start(const std::vector<std::string>& steps,
             const std::vector<std::string>& outputs = {"out"}) {
    spec_ = MakeEnsembleSpec({"in"}, outputs, steps);
    spec_->decoupled = decoupled_;
    spec_->ensemble.max_inflight_requests = max_inflight_;
    auto scheduler = EnsembleScheduler::Create({spec_, &clock_, &timer_, statistics_, &router_});
    ASSERT_TRUE(scheduler.ok()) << scheduler.status().message();
    scheduler_ = *scheduler;
  }
  RequestPtr Make(float value = 0) {
    RequestPtr request = MakeRequest("r", client_, value, 1, 1);
    request->spec = spec_;
    request->model_name = "e";
    request->inputs[0].name = "in";
    return request;
  }
  RequestPtr Enqueue(float value = 0) {
    RequestPtr request = Make(value);
    scheduler_->Enqueue(request, /*lend=*/false);
    return request;
  }
  // The requests of a member that wait now, oldest first.
  std::vector<RequestPtr> TakeAll(const std::string& name) {
    std::vector<RequestPtr> taken;
    while (RequestPtr request = member(name).Take()) taken.push_back(std::move(request));
    return taken;
  }
  std::vector<RecordingSink::Answer> answers() { return client_->answers.Await(0); }
  // The values of the responses that are not the last.
  std::vector<float> Values() {
    std::vector<float> values;
    for (const auto& answer : answers()) {
      if (!answer.final) values.push_back(FloatsOf(answer.response.outputs.at(0)).at(0));
    }
    return values;
  }
  bool Ended() { return !answers().empty() && answers().back().final; }
  // Of the end.
  Status Outcome() {
    EXPECT_TRUE(Ended());
    return answers().back().response.status;
  }
  bool EndedWell() { return Ended() && Outcome().ok() && answers().back().response.flags_only; }

  FakeClock clock_;
  DeadlineTimer timer_{clock_};
  ScriptedRouter router_;
  std::shared_ptr<ModelStatistics> statistics_ = std::make_shared<ModelStatistics>();
  std::shared_ptr<SlowClient> client_ = std::make_shared<SlowClient>();
  std::shared_ptr<ModelSpec> spec_;
  std::uint32_t max_inflight_ = 0;
  bool decoupled_ = true;
  std::shared_ptr<EnsembleScheduler> scheduler_;
};

}  // namespace fastserve
