// BLS: what a model in a worker asks of the server.
#include <gmock/gmock.h>

#include <mutex>

#include "backend/worker/bls_packets.h"
#include "backend/worker/worker_fixture.h"

namespace fastserve {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Answers calls with their own inputs, or holds them.
class EchoingHost final : public InferenceHost {
 public:
  void Submit(const RequestPtr& request, bool allow_decoupled) override {
    const std::lock_guard lock(mutex_);
    last = request;
    decoupled = allow_decoupled;
    if (holds) return;
    InferResponse response;
    response.outputs = request->inputs;
    request->Respond(std::move(response), /*final=*/true);
  }
  void Control(std::string call, std::function<void(std::string)> done) override {
    {
      const std::lock_guard lock(mutex_);
      controls.push_back(call);
    }
    done(R"({"error":null,"value":)" + call + "}");
  }

  bool holds = false;
  bool decoupled = false;
  RequestPtr last;
  std::vector<std::string> controls;

 private:
  std::mutex mutex_;
};

TEST(InferenceCalls, ACallIsARequestWithItsCallerAndTheAnswerComesBack) {
  const auto host = std::make_shared<EchoingHost>();
  std::string answer;
  std::string returned;
  const ScriptedModel loaded =
      LoadScripted({[&](PeerEnd& peer) {
                     peer.Greet();
                     PutFloats(peer.AddSegment(kSegment, 4096, 4096));
                     const SeenExecution seen = peer.ExpectExecution();
                     peer.Send(PacketKind::kBlsRequest,
                               BlsRequest(9, seen.requests.at(0).handle, 64, R"({"k":"v"})"));
                     answer = peer.Expect(PacketKind::kBlsResponse).body;
                     std::string call;
                     PacketWriter(&call).U64(3);
                     peer.Send(PacketKind::kCall, call + R"({"call":"is_model_ready"})");
                     returned = peer.Expect(PacketKind::kReturn).body;
                     peer.Echo(seen);
                     EchoForEver(peer);
                   }},
                   MakeSpec("python", 8), host);
  const RequestPtr caller = MakeRequest("r", std::make_shared<RecordingSink>());
  AwaitedExecution awaited({caller});
  loaded.instance->Execute(&awaited.execution, &awaited);
  ASSERT_TRUE(awaited.Await().ok());
  EXPECT_EQ(host->last->caller, caller);
  EXPECT_EQ(host->last->model_name, "other");
  EXPECT_EQ(host->last->timeout_us, 250U);
  EXPECT_TRUE(host->last->sequence_start);
  EXPECT_EQ(std::get<std::string>(host->last->sequence_id), "sequence");
  EXPECT_EQ(std::get<std::string>(host->last->parameters.at("k")), "v");
  EXPECT_THAT(FloatsOf(host->last->inputs.at(0)), ElementsAre(5, 6));
  PacketReader reader(answer);
  EXPECT_EQ(reader.U64(), 9U);
  EXPECT_EQ(reader.U8(), 1);
  const BlockRange block = reader.Range();
  EXPECT_EQ(block.length, 64U);
  EXPECT_EQ(reader.U8(), 1);
  // The host is told which worker calls: a number of the server's, behind what the worker wrote.
  EXPECT_THAT(
      returned.substr(8),
      ::testing::StartsWith(
          R"({"error":null,"value":{"call":{"call":"is_model_ready"},"loading":"","worker":)"));
  host->last.reset();  // which holds its caller, that the session, and that this host
}

TEST(InferenceCalls, ACallOfADeadWorkerIsCancelled) {
  const auto host = std::make_shared<EchoingHost>();
  host->holds = true;
  const ScriptedModel loaded = LoadScripted({[&](PeerEnd& peer) {
                                              peer.Greet();
                                              PutFloats(peer.AddSegment(kSegment, 4096, 4096));
                                              (void)peer.ExpectExecution();
                                              peer.Send(PacketKind::kBlsRequest, BlsRequest(1, 0));
                                            }},
                                            MakeSpec("python", 8), host);
  InferResponse response;
  EXPECT_THAT(loaded.Run(1, &response).message(), HasSubstr("left the stage"));
  EXPECT_TRUE(host->last->cancelled());
  EXPECT_EQ(host->last->caller, nullptr);
  host->last->Fail(Status::Cancelled("cancelled"), FailureReason::kCanceled);
}

TEST(InferenceCalls, CancellingTheCallerCancelsWhatItCalled) {
  const auto host = std::make_shared<EchoingHost>();
  host->holds = true;
  std::binary_semaphore called{0};
  const ScriptedModel loaded = LoadScripted(
      {[&](PeerEnd& peer) {
        peer.Greet();
        PutFloats(peer.AddSegment(kSegment, 4096, 4096));
        const SeenExecution seen = peer.ExpectExecution();
        peer.Send(PacketKind::kBlsRequest, BlsRequest(1, seen.requests.at(0).handle));
        std::string call;
        PacketWriter(&call).U64(3);
        peer.Send(PacketKind::kCall, call + "{}");
        (void)peer.Expect(PacketKind::kReturn);  // the request before it has been submitted
        called.release();
        (void)peer.Expect(PacketKind::kCancel);
        peer.Echo(seen);
        EchoForEver(peer);
      }},
      MakeSpec("python", 8), host);
  const RequestPtr caller = MakeRequest("r", std::make_shared<RecordingSink>());
  AwaitedExecution awaited({caller});
  loaded.instance->Execute(&awaited.execution, &awaited);
  called.acquire();
  caller->Cancel();
  EXPECT_TRUE(host->last->cancelled());
  host->last->Fail(Status::Cancelled("cancelled"), FailureReason::kCanceled);
  EXPECT_TRUE(awaited.Await().ok());
  host->last.reset();  // which holds its caller, that the session, and that this host
}

// The cancellation may overtake what the worker has sent: then there is no call yet to pass it to.
TEST(InferenceCalls, ACallOfACallerThatWasCancelledBeforeIsCancelled) {
  const auto host = std::make_shared<EchoingHost>();
  host->holds = true;
  const ScriptedModel loaded =
      LoadScripted({[&](PeerEnd& peer) {
                     peer.Greet();
                     PutFloats(peer.AddSegment(kSegment, 4096, 4096));
                     const SeenExecution seen = peer.ExpectExecution();
                     (void)peer.Expect(PacketKind::kCancel);
                     peer.Send(PacketKind::kBlsRequest, BlsRequest(1, seen.requests.at(0).handle));
                     peer.Echo(seen);
                     EchoForEver(peer);
                   }},
                   MakeSpec("python", 8), host);
  const RequestPtr caller = MakeRequest("r", std::make_shared<RecordingSink>());
  AwaitedExecution awaited({caller});
  loaded.instance->Execute(&awaited.execution, &awaited);
  caller->Cancel();
  EXPECT_TRUE(awaited.Await().ok());
  EXPECT_TRUE(host->last->cancelled());
  host->last->Fail(Status::Cancelled("cancelled"), FailureReason::kCanceled);
  host->last.reset();  // which holds its caller, that the session, and that this host
}

// Makes a metric and a call in its initialize, which fails.
void FailToInitialize(PeerEnd& peer) {
  peer.Expect(PacketKind::kInitialize);
  PutFloats(peer.AddSegment(kSegment, 4096, 4096));
  peer.Send(PacketKind::kBlsRequest, BlsRequest(1, 0));
  peer.Send(PacketKind::kCall, std::string(8, '\0') + "{}");
  peer.SendInitialized({.error = "no weights"});
  peer.Expect(PacketKind::kFinalize);
}

TEST(InferenceCalls, EndWithAWorkerWhoseInitializeFails) {
  const auto host = std::make_shared<EchoingHost>();
  host->holds = true;
  WorkerBackendOptions options;
  options.host = host;
  options.times.stop_grace_ns = 10'000'000;
  options.launcher = std::make_shared<ScriptedLauncher>(
      std::vector<PeerScript>{FailToInitialize, FailToInitialize});
  const auto backend = CreateWorkerBackend(std::move(options));
  const auto model = backend->LoadModel(MakeSpec("python", 8));
  for (std::size_t worker = 1; worker <= 2; ++worker) {
    if (worker == 1) {
      EXPECT_FALSE((*model)->CreateInstance("m_0").ok());
    } else {
      EXPECT_FALSE(backend->AutoComplete(*MakeSpec("python", 8)).ok());
    }
    EXPECT_TRUE(host->last->cancelled()) << worker;
    ASSERT_EQ(host->controls.size(), 2 * worker);
    EXPECT_THAT(host->controls.front(), HasSubstr(R"("loading":"m")"));
    EXPECT_THAT(host->controls.back(), HasSubstr(R"({"ended":true,)"));
    std::exchange(host->last, nullptr)->Fail(Status::Cancelled("ended"), FailureReason::kCanceled);
  }
}

TEST(InferenceCalls, AnInputOutsideOfTheCallsBlockKillsTheWorker) {
  const ScriptedModel loaded =
      LoadScripted({[](PeerEnd& peer) {
                     peer.Greet();
                     PutFloats(peer.AddSegment(kSegment, 4096, 4096));
                     (void)peer.ExpectExecution();
                     peer.Send(PacketKind::kBlsRequest, BlsRequest(1, 0, ~std::uint64_t{0} - 4));
                     peer.Expect(PacketKind::kFinalize);
                   }},
                   MakeSpec("python", 8), std::make_shared<EchoingHost>());
  InferResponse response;
  EXPECT_THAT(loaded.Run(1, &response).message(), HasSubstr("outside of its block"));
}

TEST(InferenceCalls, ABlockHandedOverTwiceKillsTheWorker) {
  const auto host = std::make_shared<EchoingHost>();
  host->holds = true;
  const ScriptedModel loaded = LoadScripted({[](PeerEnd& peer) {
                                              peer.Greet();
                                              PutFloats(peer.AddSegment(kSegment, 4096, 4096));
                                              (void)peer.ExpectExecution();
                                              peer.Send(PacketKind::kBlsRequest, BlsRequest(1, 0));
                                              peer.Send(PacketKind::kBlsRequest, BlsRequest(1, 0));
                                              peer.Expect(PacketKind::kFinalize);
                                            }},
                                            MakeSpec("python", 8), host);
  InferResponse response;
  EXPECT_THAT(loaded.Run(1, &response).message(), HasSubstr("handed over again"));
  host->last->Fail(Status::Cancelled("cancelled"), FailureReason::kCanceled);
}

}  // namespace
}  // namespace fastserve
