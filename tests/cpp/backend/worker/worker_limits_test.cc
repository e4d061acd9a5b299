// EXECUTION_TIMEOUT_SECONDS and MAX_REQUESTS_BEFORE_RESTART, and what they are to be.
#include <gmock/gmock.h>

#include <semaphore>
#include <thread>

#include "backend/worker/decoupled_packets.h"
#include "backend/worker/worker_fixture.h"
#include "support/fake_clock.h"

namespace fastserve {
namespace {

using ::testing::HasSubstr;

TEST(WorkerLimits, RecyclingLosesNoRequestAndIsNoDeath) {
  auto spec = MakeSpec("python", 8);
  spec->parameters["MAX_REQUESTS_BEFORE_RESTART"] = "3";
  const ScriptedModel loaded = LoadScripted({}, spec);
  InferResponse response;
  for (int i = 0; i < 20; ++i) {
    const Status status = loaded.Run(static_cast<float>(i), &response);
    ASSERT_TRUE(status.ok()) << status.message();
  }
  EXPECT_EQ(loaded.model->worker_counts()->deaths, 0U);
  EXPECT_EQ(loaded.model->worker_counts()->restarts, 6U);
  EXPECT_TRUE(loaded.model->Ready().ok());
}

// A stream is open from the first execution on, until the second one has begun.
void LeaveAStreamOpen(PeerEnd& peer) {
  peer.Greet();
  const SeenExecution first = peer.ExpectExecution();
  peer.Send(PacketKind::kExecuted, Executed(first.id));
  const SeenExecution second = peer.ExpectExecution();
  peer.Send(PacketKind::kResponse, Response(first.requests.at(0).handle, true, 1));
  peer.Send(PacketKind::kResponse, Response(second.requests.at(0).handle, true, 1));
  peer.Send(PacketKind::kExecuted, Executed(second.id));
  peer.Expect(PacketKind::kFinalize);
}

TEST(WorkerLimits, AWorkerThatDoesNotBecomeIdleIsReplacedLater) {
  auto spec = Decoupled();
  spec->parameters["MAX_REQUESTS_BEFORE_RESTART"] = "1";
  const ScriptedModel loaded = LoadScripted(
      {LeaveAStreamOpen, LeaveAStreamOpen}, spec, nullptr,
      [](WorkerBackendOptions* options) { options->times.drain_limit_ns = 1'000'000; });
  for (std::uint64_t life = 0; life < 2; ++life) {
    const auto stream = std::make_shared<RecordingSink>();
    AwaitedExecution opens({MakeRequest("a", stream)});
    AwaitedExecution closes({MakeRequest("b", std::make_shared<RecordingSink>())});
    EXPECT_TRUE(RunBatch(*loaded.instance, &opens).ok());
    EXPECT_TRUE(RunBatch(*loaded.instance, &closes).ok());
    EXPECT_TRUE(stream->Await(1).at(0).response.status.ok());
    while (loaded.model->worker_counts()->restarts == life) std::this_thread::yield();
  }
  EXPECT_EQ(loaded.model->worker_counts()->deaths, 0U);
}

TEST(WorkerLimits, ACancelledRequestDoesNotWaitForAWorkerThatIsToBeReplaced) {
  auto spec = Decoupled();
  spec->parameters["MAX_REQUESTS_BEFORE_RESTART"] = "1";
  const ScriptedModel loaded = LoadScripted({LeaveAStreamOpen}, spec);
  AwaitedExecution opens({MakeRequest("a", std::make_shared<RecordingSink>())});
  EXPECT_TRUE(RunBatch(*loaded.instance, &opens).ok());
  const RequestPtr request = MakeRequest("b", std::make_shared<RecordingSink>());
  AwaitedExecution waits({request});
  loaded.instance->Execute(&waits.execution, &waits);
  request->Cancel();
  EXPECT_EQ(waits.Await().code(), StatusCode::kCancelled);
}

TEST(WorkerLimits, SequencesWithoutStateAreNotLeftToANewWorker) {
  auto spec = MakeSpec("python", 8);
  spec->parameters["MAX_REQUESTS_BEFORE_RESTART"] = "5";
  spec->sequence_batching.enabled = true;
  const auto backend = CreateWorkerBackend({});
  EXPECT_THAT(backend->LoadModel(spec).status().message(),
              HasSubstr("would not know the sequences"));
  spec->sequence_batching.states.emplace_back();
  EXPECT_TRUE(backend->LoadModel(spec).ok());
}

TEST(WorkerLimits, AnExecutionPastItsLimitKillsTheWorker) {
  auto spec = MakeSpec("python", 8);
  spec->parameters["EXECUTION_TIMEOUT_SECONDS"] = "0.2";
  const ScriptedModel loaded = LoadScripted({[](PeerEnd& peer) {
                                              peer.Greet();
                                              (void)peer.ExpectExecution();
                                              peer.Expect(PacketKind::kFinalize);
                                            }},
                                            spec);
  InferResponse response;
  EXPECT_THAT(loaded.Run(1, &response).message(),
              HasSubstr("an execution took longer than 0.2 s (EXECUTION_TIMEOUT_SECONDS)"));
  EXPECT_TRUE(loaded.Run(1, &response).ok());
}

// The worker responds to the first request whenever the clock has advanced; the second one's
// silence, and executions that begin, are no reason to kill it, and none to spare it.
TEST(WorkerLimits, AWorkerMustNotBeSilentForLongerWhileDecoupledRequestsAreLeftOpen) {
  constexpr std::int64_t kSecondNs = 1'000'000'000;
  FakeClock clock;
  std::counting_semaphore<> advanced{0};
  auto spec = Decoupled();
  spec->parameters["EXECUTION_TIMEOUT_SECONDS"] = "1";
  const auto respond = [&](PeerEnd& peer) {
    peer.Greet();
    const SeenExecution seen = peer.ExpectExecution();
    peer.Send(PacketKind::kExecuted, Executed(seen.id));
    for (int i = 0; i < 3; ++i) {
      peer.Send(PacketKind::kResponse, Response(seen.requests.at(0).handle, false, 1));
      advanced.acquire();
    }
    peer.Send(PacketKind::kExecuted, Executed(peer.ExpectExecution().id));
    peer.Expect(PacketKind::kFinalize);
  };
  const ScriptedModel loaded = LoadScripted(
      {respond}, spec, nullptr, [&](WorkerBackendOptions* options) { options->clock = &clock; });
  const auto sink = std::make_shared<RecordingSink>();
  AwaitedExecution awaited(
      {MakeRequest("r", sink), MakeRequest("s", std::make_shared<RecordingSink>())});
  EXPECT_TRUE(RunBatch(*loaded.instance, &awaited).ok());
  for (std::size_t responses = 1; responses <= 3; ++responses) {
    EXPECT_TRUE(sink->Await(responses).at(responses - 1).response.status.ok());
    clock.Advance(kSecondNs - 1);
    advanced.release();
  }
  AwaitedExecution begins({MakeRequest("t", std::make_shared<RecordingSink>())});
  EXPECT_TRUE(RunBatch(*loaded.instance, &begins).ok());
  clock.Advance(1);
  EXPECT_THAT(sink->Await(4).at(3).response.status.message(),
              HasSubstr("requests of past executions had no response for longer than 1.0 s "
                        "(EXECUTION_TIMEOUT_SECONDS)"));
}

TEST(WorkerLimits, LimitsThatAreNoNumbersAreRefused) {
  const auto backend = CreateWorkerBackend({});
  for (const char* name :
       {"EXECUTION_TIMEOUT_SECONDS", "MEMORY_LIMIT_BYTES", "MAX_REQUESTS_BEFORE_RESTART"}) {
    for (const char* value : {"", "-1", "many", "1x", "nan"}) {
      auto spec = MakeSpec("python", 8);
      spec->parameters[name] = value;
      const auto model = backend->LoadModel(spec);
      EXPECT_EQ(model.status().code(), StatusCode::kInvalidArgument) << name << value;
      EXPECT_THAT(model.status().message(), HasSubstr(name));
    }
  }
}

}  // namespace
}  // namespace fastserve
