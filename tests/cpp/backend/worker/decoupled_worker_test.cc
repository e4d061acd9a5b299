// A decoupled model's flags, and what a slow reader does to its time limit.
#include <gmock/gmock.h>

#include <atomic>

#include "backend/worker/decoupled_packets.h"
#include "backend/worker/worker_fixture.h"
#include "support/fake_clock.h"

namespace fastserve {
namespace {

using ::testing::HasSubstr;

constexpr std::int64_t kSecond = 1'000'000'000;

TEST(DecoupledWorker, ARescheduledRequestFailsOnceAndTheWorkerGoesOn) {
  const ScriptedModel loaded = LoadScripted(
      {[](PeerEnd& peer) {
        peer.Greet();
        const SeenExecution seen = peer.ExpectExecution();
        peer.Send(PacketKind::kResponse, FlaggedResponse(seen.requests.at(0).handle, 2, 0));
        peer.Send(PacketKind::kResponse, Response(seen.requests.at(1).handle, true));
        peer.Send(PacketKind::kExecuted, Executed(seen.id));
        peer.Expect(PacketKind::kFinalize);
      }},
      Decoupled());
  const auto first = std::make_shared<RecordingSink>();
  const auto second = std::make_shared<RecordingSink>();
  AwaitedExecution awaited({MakeRequest("a", first), MakeRequest("b", second)});
  EXPECT_TRUE(RunBatch(*loaded.instance, &awaited).ok());
  const Status status = first->Await(1).at(0).response.status;
  EXPECT_EQ(status.code(), StatusCode::kUnsupported);
  EXPECT_THAT(status.message(), HasSubstr("iterative_sequence"));
  EXPECT_TRUE(second->Await(1).at(0).response.status.ok());
}

class BrokenFlags : public ::testing::TestWithParam<std::pair<std::uint32_t, std::uint8_t>> {};

TEST_P(BrokenFlags, KillTheWorker) {
  const auto [flags, kind] = GetParam();
  const ScriptedModel loaded = LoadScripted(
      {[flags, kind](PeerEnd& peer) {
        peer.Greet();
        const SeenExecution seen = peer.ExpectExecution();
        peer.Send(PacketKind::kResponse, FlaggedResponse(seen.requests.at(0).handle, flags, kind));
        peer.Expect(PacketKind::kFinalize);
      }},
      Decoupled());
  AwaitedExecution awaited({MakeRequest("r", std::make_shared<RecordingSink>())});
  EXPECT_THAT(RunBatch(*loaded.instance, &awaited).message(),
              HasSubstr("a RESPONSE with flags " + std::to_string(flags)));
}

// An unknown flag; a response that reschedules; one that is final and reschedules.
INSTANTIATE_TEST_SUITE_P(OfAResponse, BrokenFlags,
                         ::testing::Values(std::pair(4U, std::uint8_t{0}),
                                           std::pair(2U, std::uint8_t{1}),
                                           std::pair(3U, std::uint8_t{0})));

// Of the clock's time nothing passes by itself: what waits for it must not wait at all.
void UseClock(const Clock& clock, WorkerBackendOptions* options) {
  options->clock = &clock;
  options->times.stop_grace_ns = 0;
  options->times.finalize_limit_ns = 0;
}

// Its reader does not keep up until MakeRoom.
class SlowSink final : public ResponseSink {
 public:
  void OnResponse(const RequestPtr& request, InferResponse response, bool final) override {
    answers.OnResponse(request, std::move(response), final);
  }
  bool congested() const override { return congested_; }
  void MakeRoom(const RequestPtr& request) {
    congested_ = false;
    request->NotifyRoom();
  }

  RecordingSink answers;

 private:
  std::atomic<bool> congested_{true};
};

// A decoupled model with a limit of one second, of a clock that stands still.
class HeldExecution : public ::testing::Test {
 protected:
  ScriptedModel Load(PeerScript script) {
    auto spec = Decoupled();
    spec->parameters["EXECUTION_TIMEOUT_SECONDS"] = "1";
    return LoadScripted({std::move(script)}, spec, nullptr,
                        [this](WorkerBackendOptions* options) { UseClock(clock_, options); });
  }

  FakeClock clock_;
  std::binary_semaphore held_{0};
  std::binary_semaphore going_on_{0};
  std::binary_semaphore late_{0};
  const std::shared_ptr<SlowSink> sink_ = std::make_shared<SlowSink>();
  const RequestPtr request_ = MakeRequest("r", sink_);
};

TEST_F(HeldExecution, TheTimeForWhichItsReaderIsWaitedForDoesNotCount) {
  const ScriptedModel loaded = Load([this](PeerEnd& peer) {
    peer.Greet();
    const SeenExecution seen = peer.ExpectExecution();
    const std::uint64_t handle = seen.requests.at(0).handle;
    peer.Send(PacketKind::kResponse, Response(handle, false, 1));
    (void)peer.Expect(PacketKind::kHold);
    held_.release();
    late_.acquire();
    peer.Send(PacketKind::kResponse, Response(handle, false, 1));  // the limit is looked at
    (void)peer.Expect(PacketKind::kGoOn);
    peer.Send(PacketKind::kResponse, Response(handle, true));
    peer.Send(PacketKind::kExecuted, Executed(seen.id));
    peer.Expect(PacketKind::kFinalize);
  });
  AwaitedExecution awaited({request_});
  loaded.instance->Execute(&awaited.execution, &awaited);
  held_.acquire();
  clock_.Advance(10 * kSecond);
  late_.release();
  sink_->answers.Await(2);
  sink_->MakeRoom(request_);
  EXPECT_TRUE(awaited.Await().ok()) << awaited.status.message();
  EXPECT_EQ(sink_->answers.Await(3).size(), 3U);
}

TEST_F(HeldExecution, TheTimeAfterItsReaderHasCaughtUpCounts) {
  const ScriptedModel loaded = Load([this](PeerEnd& peer) {
    peer.Greet();
    const SeenExecution seen = peer.ExpectExecution();
    const std::uint64_t handle = seen.requests.at(0).handle;
    peer.Send(PacketKind::kResponse, Response(handle, false, 1));
    (void)peer.Expect(PacketKind::kHold);
    held_.release();
    (void)peer.Expect(PacketKind::kGoOn);
    going_on_.release();
    late_.acquire();
    peer.Send(PacketKind::kResponse, Response(handle, false, 1));
    peer.Expect(PacketKind::kFinalize);
  });
  AwaitedExecution awaited({request_});
  loaded.instance->Execute(&awaited.execution, &awaited);
  held_.acquire();
  sink_->MakeRoom(request_);
  going_on_.acquire();
  clock_.Advance(2 * kSecond);
  late_.release();
  EXPECT_THAT(awaited.Await().message(), HasSubstr("EXECUTION_TIMEOUT_SECONDS"));
}

// One request was held and has ended; the other one of the batch has its whole second after that.
TEST_F(HeldExecution, WhatWasHeldCountsForTheOthersOfTheBatchNeither) {
  const ScriptedModel loaded = Load([this](PeerEnd& peer) {
    peer.Greet();
    const SeenExecution seen = peer.ExpectExecution();
    peer.Send(PacketKind::kResponse, Response(seen.requests.at(0).handle, false, 1));
    (void)peer.Expect(PacketKind::kHold);
    held_.release();
    (void)peer.Expect(PacketKind::kGoOn);
    peer.Send(PacketKind::kResponse, Response(seen.requests.at(0).handle, true));
    peer.Send(PacketKind::kResponse, Response(seen.requests.at(1).handle, true));
    late_.acquire();
    peer.Send(PacketKind::kExecuted, Executed(seen.id));
    peer.Expect(PacketKind::kFinalize);
  });
  const auto other = std::make_shared<RecordingSink>();
  AwaitedExecution awaited({request_, MakeRequest("other", other)});
  loaded.instance->Execute(&awaited.execution, &awaited);
  held_.acquire();
  clock_.Advance(10 * kSecond);
  request_->Cancel();
  other->Await(1);
  late_.release();
  EXPECT_TRUE(awaited.Await().ok()) << awaited.status.message();
}

TEST(ExecutionTimeout, OfAHungExecutionIsNotPutOffByOneThatEndsBesideIt) {
  FakeClock clock;
  auto spec = MakeSpec("python", 8);
  spec->parameters["EXECUTION_TIMEOUT_SECONDS"] = "1";
  std::binary_semaphore may_end{0};
  std::binary_semaphore late{0};
  const ScriptedModel loaded = LoadScripted(
      {[&](PeerEnd& peer) {
        peer.Greet();
        const SeenExecution hung = peer.ExpectExecution();
        const SeenExecution second = peer.ExpectExecution();
        may_end.acquire();
        peer.Echo(second);
        late.acquire();
        peer.Send(PacketKind::kReady, std::string(13, '\0'));  // the limit is looked at
        peer.Echo(hung);
        peer.Expect(PacketKind::kFinalize);
      }},
      spec, nullptr, [&](WorkerBackendOptions* options) { UseClock(clock, options); });
  AwaitedExecution hung({MakeRequest("hung", std::make_shared<RecordingSink>())});
  loaded.instance->Execute(&hung.execution, &hung);
  AwaitedExecution second({MakeRequest("second", std::make_shared<RecordingSink>())});
  loaded.instance->Execute(&second.execution, &second);
  clock.Advance(kSecond * 6 / 10);
  may_end.release();
  EXPECT_TRUE(second.Await().ok());
  clock.Advance(kSecond * 6 / 10);
  late.release();
  EXPECT_THAT(hung.Await().message(), HasSubstr("EXECUTION_TIMEOUT_SECONDS"));
}

}  // namespace
}  // namespace fastserve
