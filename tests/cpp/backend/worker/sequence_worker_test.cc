// Sequence batching and the engine's scheduling over workers.
#include <gmock/gmock.h>

#include <atomic>

#include "backend/worker/decoupled_packets.h"
#include "backend/worker/execute_packet.h"
#include "backend/worker/worker_fixture.h"
#include "engine/engine.h"

namespace fastserve {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// X: the state before; the state after: X. A request "fails" does.
void RememberLast(const SeenExecution& seen, PeerEnd& peer) {
  std::string body;
  PacketWriter writer(&body);
  writer.U64(seen.id);
  writer.U32(static_cast<std::uint32_t>(seen.requests.size()));
  writer.Range({});
  for (const SeenRequest& request : seen.requests) {
    if (request.id == "fails") {
      writer.U8(2);
      writer.U8(3);
      writer.Text("this one fails");
      continue;
    }
    writer.U8(1);
    writer.Text("");
    writer.U16(2);
    for (const SeenInput& input : request.inputs) {
      PeerEnd::WriteOutput(input.name == "X" ? "STATE_OUT" : "X", 11, input.shape,
                           {seen.block.segment, seen.block.offset + input.offset, input.size},
                           &writer);
    }
  }
  peer.Send(PacketKind::kResponses, body);
  peer.Release(seen.block);
}

void RememberLastForEver(PeerEnd& peer) {
  peer.Greet();
  for (;;) RememberLast(peer.ExpectExecution(), peer);
}

std::shared_ptr<ModelSpec> StatefulSpec() {
  auto spec = MakeSpec("python", 4);
  spec->dynamic_batching.enabled = false;
  spec->inputs[0].dims = MakeShape({2});
  spec->outputs[0].dims = MakeShape({2});
  spec->sequence_batching.enabled = true;
  StateSpec state;
  state.input_name = "STATE_IN";
  state.output_name = "STATE_OUT";
  state.type = DataType::kFp32;
  state.dims = MakeShape({2});
  state.initial_dims = MakeShape({2});
  spec->sequence_batching.states.push_back(state);
  return spec;
}

std::unique_ptr<Engine> EngineWith(std::vector<PeerScript> scripts,
                                   std::shared_ptr<const ModelSpec> spec) {
  auto engine = std::move(*Engine::Create({}));
  WorkerBackendOptions options;
  options.launcher = std::make_shared<ScriptedLauncher>(std::move(scripts));
  options.host = engine->inference_host();
  options.times.first_backoff_ns = 1'000'000;
  options.times.stop_grace_ns = 10'000'000;
  options.times.finalize_limit_ns = 10'000'000;
  engine->RegisterBackend(CreateWorkerBackend(std::move(options)));
  auto model = engine->LoadModel(std::move(spec));
  EXPECT_TRUE(model.ok()) << model.status().message();
  if (model.ok()) (void)engine->Publish("m", {*model});
  return engine;
}

InferResponse Infer(Engine& engine, const RequestPtr& request) {
  const auto sink = std::make_shared<RecordingSink>();
  request->sink = sink;
  Lender lender;
  engine.Submit(request, &lender);
  lender.Run();
  return sink->Await(1).at(0).response;
}

InferResponse InSequence(Engine& engine, std::uint64_t sequence, float value, bool start,
                         const std::string& id = "") {
  const RequestPtr request = MakeRequest(id, nullptr, value);
  request->sequence_id = sequence;
  request->sequence_start = start;
  return Infer(engine, request);
}

TEST(SequenceWorker, StatesPassFromRequestToRequestOfEachSequence) {
  const auto engine = EngineWith({RememberLastForEver}, StatefulSpec());
  EXPECT_THAT(FloatsOf(InSequence(*engine, 1, 10, true).outputs.at(0)), ElementsAre(0, 0));
  EXPECT_THAT(FloatsOf(InSequence(*engine, 2, 20, true).outputs.at(0)), ElementsAre(0, 0));
  EXPECT_THAT(FloatsOf(InSequence(*engine, 1, 11, false).outputs.at(0)), ElementsAre(10, 10));
  const InferResponse response = InSequence(*engine, 2, 21, false);
  EXPECT_THAT(FloatsOf(response.outputs.at(0)), ElementsAre(20, 20));
  EXPECT_EQ(response.outputs.size(), 1U);  // the state is not for the client
}

TEST(SequenceWorker, AnErrorIsThatRequestsAndLeavesTheStateAsItWas) {
  const auto engine = EngineWith({RememberLastForEver}, StatefulSpec());
  (void)InSequence(*engine, 1, 10, true);
  EXPECT_EQ(InSequence(*engine, 1, 11, false, "fails").status.message(), "this one fails");
  EXPECT_THAT(FloatsOf(InSequence(*engine, 1, 12, false).outputs.at(0)), ElementsAre(10, 10));
}

// Inputs whose shape says more than their bytes hold, as a mix of types once made them.
TEST(SequenceWorker, AnInputOfFewerBytesThanItsShapeIsNotReadBeyondThem) {
  const auto spec = StatefulSpec();
  Execution execution;
  execution.requests = {MakeRequest("a", nullptr), MakeRequest("b", nullptr)};
  execution.batch_size = 2;
  execution.inputs.push_back(
      {"STATE_IN", DataType::kFp64, MakeShape({2, 2}), ViewOfFloats({1, 2, 3, 4, 5, 6})});
  const auto batch = BatchInputs::Of(*spec, execution);
  EXPECT_EQ(batch.status().code(), StatusCode::kInternal);
  EXPECT_THAT(batch.status().message(), HasSubstr("24 bytes, expected 32"));
}

// Sequence 2 answers a state of another type, which must not share a batch with the others.
TEST(SequenceWorker, AStateOfAnotherTypeFailsItsRequestOnly) {
  const auto answers_fp64 = [](PeerEnd& peer) {
    peer.Greet();
    std::byte* const segment = peer.AddSegment(kSegment, 4096, 4096);
    std::memset(segment, 0, 64);
    const SeenExecution seen = peer.ExpectExecution();
    std::string body;
    PacketWriter writer(&body);
    writer.U64(seen.id);
    writer.U32(1);
    writer.Range({kSegment, 0, 64});
    writer.U8(1);
    writer.Text("");
    writer.U16(2);
    PeerEnd::WriteOutput("X", 11, Shape{1, 2}, {kSegment, 0, 8}, &writer);
    PeerEnd::WriteOutput("STATE_OUT", 12, Shape{1, 2}, {kSegment, 0, 16}, &writer);
    peer.Send(PacketKind::kResponses, body);
    peer.Release(seen.block);
    for (;;) RememberLast(peer.ExpectExecution(), peer);
  };
  const auto engine = EngineWith({answers_fp64}, StatefulSpec());
  EXPECT_THAT(InSequence(*engine, 2, 20, true).status.message(),
              HasSubstr("state 'STATE_OUT' as FP64, expected FP32"));
  EXPECT_THAT(FloatsOf(InSequence(*engine, 1, 10, true).outputs.at(0)), ElementsAre(0, 0));
  EXPECT_THAT(FloatsOf(InSequence(*engine, 2, 21, false).outputs.at(0)), ElementsAre(0, 0));
}

TEST(EngineOverWorkers, ManyCallersGetTheirOwnAnswersThroughDeathsOfTheWorker) {
  const auto dies = [](PeerEnd& peer) {
    peer.Greet();
    for (int i = 0; i < 20; ++i) peer.Echo(peer.ExpectExecution());
    (void)peer.ExpectExecution();
  };
  const auto engine = EngineWith({dies, dies, dies}, MakeSpec("python", 8));
  std::atomic<int> failed{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 8; ++caller) {
    callers.emplace_back([&, caller] {
      for (int i = 0; i < 100; ++i) {
        const float value = static_cast<float>(1000 * caller + i);
        const InferResponse response = Infer(*engine, MakeRequest("r", nullptr, value));
        if (!response.status.ok()) {
          ++failed;
          EXPECT_THAT(response.status.message(), HasSubstr("left the stage"));
          continue;
        }
        EXPECT_THAT(FloatsOf(response.outputs.at(0)), ElementsAre(value, value));
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  // At most the two batches that each of the three had.
  EXPECT_GE(failed, 3);
  EXPECT_LE(failed, 3 * 2 * 8);
  const std::string metrics = engine->MetricsText();
  EXPECT_THAT(metrics, HasSubstr("nv_fastserve_worker_deaths_total{model=\"m\",version=\"1\"} 3"));
  EXPECT_THAT(metrics,
              HasSubstr("nv_fastserve_worker_restarts_total{model=\"m\",version=\"1\"} 3"));
}

std::shared_ptr<ModelSpec> IterativeStream() {
  auto spec = MakeSpec("python", 4);
  spec->dynamic_batching.enabled = false;
  spec->decoupled = true;
  spec->sequence_batching.enabled = true;
  spec->sequence_batching.iterative = true;
  return spec;
}

RequestPtr SubmitStream(Engine& engine, const std::shared_ptr<RecordingSink>& sink) {
  const RequestPtr request = MakeRequest("r", sink);
  Lender lender;
  engine.Submit(request, &lender);
  lender.Run();
  return request;
}

// A response, and again: the end of the turn is not the request's.
std::uint64_t TakeATurn(PeerEnd& peer) {
  const SeenExecution seen = peer.ExpectExecution();
  for (const SeenRequest& request : seen.requests) {
    if (request.handle == 0) continue;
    peer.Send(PacketKind::kResponse, Response(request.handle, /*final=*/false, 1));
    peer.Send(PacketKind::kResponse, FlaggedResponse(request.handle, 2, 0));
  }
  return seen.id;
}

TEST(IterativeStream, ARequestComesAgainAndIsAnsweredOnTheWay) {
  std::vector<std::uint32_t> flags;
  const auto engine =
      EngineWith({[&flags](PeerEnd& peer) {
                   peer.Greet();
                   peer.Send(PacketKind::kExecuted, Executed(TakeATurn(peer)));
                   const SeenExecution seen = peer.ExpectExecution();
                   for (const SeenRequest& request : seen.requests) {
                     if (request.handle == 0) continue;
                     flags.push_back(request.flags);
                     peer.Send(PacketKind::kResponse, Response(request.handle, /*final=*/true));
                   }
                   peer.Send(PacketKind::kExecuted, Executed(seen.id));
                   peer.Expect(PacketKind::kFinalize);
                 }},
                 IterativeStream());
  const auto sink = std::make_shared<RecordingSink>();
  SubmitStream(*engine, sink);
  const auto answers = sink->Await(2);
  EXPECT_FALSE(answers.at(0).final);
  EXPECT_TRUE(answers.at(1).final);
  EXPECT_TRUE(answers.at(1).response.status.ok());
  EXPECT_THAT(flags, ElementsAre(kSequenceEnd));
}

TEST(IterativeStream, ARequestThatWasToComeAgainFailsOnceWithItsExecution) {
  for (const bool dies : {false, true}) {
    const auto engine = EngineWith({[dies](PeerEnd& peer) {
                                     peer.Greet();
                                     const std::uint64_t id = TakeATurn(peer);
                                     if (dies) return;
                                     peer.Send(PacketKind::kExecuted, Executed(id, true));
                                     peer.Expect(PacketKind::kFinalize);
                                   }},
                                   IterativeStream());
    const auto sink = std::make_shared<RecordingSink>();
    SubmitStream(*engine, sink);
    const auto answers = sink->Await(2);
    EXPECT_TRUE(answers.at(1).final);
    EXPECT_THAT(answers.at(1).response.status.message(),
                HasSubstr(dies ? "left the stage" : "execute failed"));
  }
}

TEST(IterativeStream, NeedsToBeIterativeWithoutStates) {
  WorkerBackendOptions options;
  options.launcher = std::make_shared<ScriptedLauncher>(std::vector<PeerScript>{});
  const auto backend = CreateWorkerBackend(std::move(options));
  const auto plain = IterativeStream();
  plain->sequence_batching.iterative = false;
  const auto stateful = IterativeStream();
  stateful->sequence_batching.states = StatefulSpec()->sequence_batching.states;
  for (const auto& spec : {plain, stateful})
    EXPECT_EQ(backend->LoadModel(spec).status().code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(backend->LoadModel(IterativeStream()).ok());
}

TEST(EngineOverWorkers, AModelIsReadyExactlyWhileAWorkerIs) {
  std::binary_semaphore may_die{0};
  std::binary_semaphore may_live{0};
  const auto engine = EngineWith({[&](PeerEnd& peer) {
                                    peer.Greet();
                                    may_die.acquire();
                                  },
                                  [&](PeerEnd& peer) {
                                    may_live.acquire();
                                    EchoForEver(peer);
                                  }},
                                 MakeSpec("python", 8));
  EXPECT_EQ(engine->model_state("m", -1), ModelState::kReady);
  EXPECT_TRUE(engine->CheckModelReady("m", -1).ok());
  may_die.release();
  while (engine->model_state("m", -1) == ModelState::kReady) std::this_thread::yield();
  EXPECT_THAT(engine->CheckModelReady("m", -1).message(), HasSubstr("left the stage"));
  may_live.release();
  while (engine->model_state("m", -1) != ModelState::kReady) std::this_thread::yield();
}

}  // namespace
}  // namespace fastserve
