// What the tests of the sequence batcher share.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "scheduling/sequence_batcher.h"
#include "support/fake_clock.h"
#include "support/requests.h"
#include "support/sequence_flags.h"
#include "support/sequence_puppet.h"

namespace fastserve {

class SequenceBatcherTest : public ::testing::Test {
 protected:
  SequenceBatcherTest() {
    clock_.AddListener([this] { timer_.Poke(); });
  }
  ~SequenceBatcherTest() override {
    strings_->Release();
    if (batcher_) batcher_->Stop();
  }

  SequenceBatchingSpec& batching() { return spec_->sequence_batching; }
  void Start(std::size_t instances = 1, std::uint32_t hold_until_queued = 0,
             std::uint32_t hold_until_backlog = 0) {
    SequenceBatcher::Options options;
    options.spec = spec_;
    options.clock = &clock_;
    options.timer = &timer_;
    options.statistics = statistics_;
    options.hold_until_queued = hold_until_queued;
    options.hold_until_backlog = hold_until_backlog;
    options.claims = std::move(claims_);
    for (std::size_t i = 0; i < instances; ++i)
      options.instances.push_back(std::make_unique<SequenceInstance>(strings_, i));
    auto batcher = SequenceBatcher::Create(std::move(options));
    ASSERT_TRUE(batcher.ok());
    batcher_ = *batcher;
  }
  RequestPtr Make(const std::string& name, SequenceId id, Flags flags = Flags::kNone,
                  float value = 0, int width = 1) {
    RequestPtr request = MakeRequest(name, sink_, value, 1, width);
    request->spec = spec_;
    request->sequence_id = std::move(id);
    request->sequence_start = flags == Flags::kStart || flags == Flags::kBoth;
    request->sequence_end = flags == Flags::kEnd || flags == Flags::kBoth;
    return request;
  }
  RequestPtr Send(const std::string& name, std::uint64_t id, Flags flags = Flags::kNone,
                  float value = 0, int width = 1) {
    RequestPtr request = Make(name, id, flags, value, width);
    batcher_->Enqueue(request, /*lend=*/false);
    return request;
  }
  // Enters a request that keeps the instance busy until strings_->Release().
  void Occupy(float value = 0) {
    const std::size_t before = strings_->seen().size();
    strings_->Hold();
    Send("busy", 1000, Flags::kBoth, value);
    strings_->AwaitStarted(before + 1);
  }
  // The status of the answer to a request, once `count` have been answered.
  Status StatusOf(const std::string& name, std::size_t count) {
    for (const auto& answer : sink_->Await(count)) {
      if (answer.id == name) return answer.response.status;
    }
    return Status::NotFound("no answer to " + name);
  }
  float ValueOf(const std::string& name, std::size_t count) {
    for (const auto& answer : sink_->Await(count)) {
      if (answer.id == name && answer.response.status.ok())
        return FloatsOf(answer.response.outputs.at(0)).at(0);
    }
    ADD_FAILURE() << "no answer to " << name;
    return -1;
  }

  RateLimiter limiter_{{}};
  std::vector<std::unique_ptr<ResourceClaim>> claims_;  // Start hands them on
  FakeClock clock_;
  DeadlineTimer timer_{clock_};
  std::shared_ptr<ModelSpec> spec_ = MakeSequenceSpec(4);
  std::shared_ptr<ModelStatistics> statistics_ = std::make_shared<ModelStatistics>();
  std::shared_ptr<SequenceStrings> strings_ = std::make_shared<SequenceStrings>();
  std::shared_ptr<RecordingSink> sink_ = std::make_shared<RecordingSink>();
  std::shared_ptr<SequenceBatcher> batcher_;
};

}  // namespace fastserve
