// What the server does with a worker that keeps the protocol.
#include <gmock/gmock.h>
#include <unistd.h>

#include <array>
#include <future>

#include "backend/worker/decoupled_packets.h"
#include "backend/worker/worker_fixture.h"

namespace fastserve {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// RESPONSES with one answer per request, which `answer` writes behind the block.
std::string Responses(const SeenExecution& seen,
                      const std::function<void(std::size_t, PacketWriter*)>& answer,
                      const BlockRange& block = {}) {
  std::string body;
  PacketWriter writer(&body);
  writer.U64(seen.id);
  writer.U32(static_cast<std::uint32_t>(seen.requests.size()));
  writer.Range(block);
  for (std::size_t i = 0; i < seen.requests.size(); ++i) answer(i, &writer);
  return body;
}

void WriteError(std::uint8_t code, const std::string& message, PacketWriter* writer) {
  writer->U8(2);
  writer->U8(code);
  writer->Text(message);
}

TEST(WorkerContract, RequestsGoAsTheyCameAndAnswersComeBackInTheirOrder) {
  SeenExecution seen;
  const ScriptedModel loaded = LoadScripted({[&](PeerEnd& peer) {
    peer.Greet();
    seen = peer.ExpectExecution();
    peer.Echo(seen);
    EchoForEver(peer);
  }});
  const auto sink = std::make_shared<RecordingSink>();
  AwaitedExecution awaited({MakeRequest("a", sink, 1, 1, 2), MakeRequest("b", sink, 2, 3, 5),
                            MakeRequest("c", sink, 3)});
  awaited.execution.requests[1]->parameters["temperature"] = 0.5;
  awaited.execution.requests[2]->outputs.push_back({"X", 0, false});
  ASSERT_TRUE(RunBatch(*loaded.instance, &awaited).ok());
  const std::vector<InferResponse>& responses = awaited.execution.responses;
  ASSERT_EQ(responses.size(), 3U);
  EXPECT_EQ(responses[1].id, "b");
  EXPECT_EQ(responses[1].outputs.at(0).shape, (Shape{3, 5}));
  EXPECT_EQ(FloatsOf(responses[1].outputs[0]), std::vector<float>(15, 2));
  EXPECT_EQ(FloatsOf(responses[2].outputs.at(0)), std::vector<float>(2, 3));
  EXPECT_EQ(seen.requests.at(1).parameters, R"({"temperature":0.5})");
  EXPECT_THAT(seen.requests.at(2).outputs, ElementsAre("X"));
  for (const SeenRequest& request : seen.requests) EXPECT_EQ(request.inputs.at(0).offset % 64, 0U);
}

TEST(WorkerContract, ABatchTooLargeForAPacketGoesThroughSharedMemory) {
  const ScriptedModel loaded = LoadScripted({});
  auto request = MakeRequest("r", std::make_shared<RecordingSink>(), 4);
  request->parameters["text"] = std::string(3 * kLargestInline, 'x');
  AwaitedExecution awaited({request});
  ASSERT_TRUE(RunBatch(*loaded.instance, &awaited).ok());
  EXPECT_THAT(FloatsOf(awaited.execution.responses.at(0).outputs.at(0)), ElementsAre(4, 4));
}

// One answer of {7, 8} in a block of the peer's, at 64 of its segment.
void AnswerFromOwnBlock(PeerEnd& peer, const SeenExecution& seen, std::byte* segment) {
  const float values[] = {7, 8};
  std::memcpy(segment + 64, values, sizeof values);
  const auto answer = [](std::size_t, PacketWriter* writer) {
    writer->U8(1);
    writer->Text(R"({"n":1,"flag":true,"s":"t"})");
    writer->U16(1);
    PeerEnd::WriteOutput("X", 11, Shape{1, 2}, {kSegment, 64, 8}, writer);
  };
  peer.Send(PacketKind::kResponses, Responses(seen, answer, {kSegment, 64, 64}));
}

TEST(WorkerContract, OutputsOutliveWorkerAndModel) {
  InferResponse response;
  {
    const ScriptedModel loaded = LoadScripted({[](PeerEnd& peer) {
      peer.Greet();
      std::byte* const segment = peer.AddSegment(kSegment, 4096, 4096);
      AnswerFromOwnBlock(peer, peer.ExpectExecution(), segment);
      peer.Expect(PacketKind::kFinalize);
    }});
    ASSERT_TRUE(loaded.Run(1, &response).ok());
  }
  EXPECT_THAT(FloatsOf(response.outputs.at(0)), ElementsAre(7, 8));
  EXPECT_EQ(std::get<std::int64_t>(response.parameters.at("n")), 1);
  EXPECT_EQ(std::get<bool>(response.parameters.at("flag")), true);
  EXPECT_EQ(std::get<std::string>(response.parameters.at("s")), "t");
}

TEST(WorkerContract, AWorkersBlockIsReleasedWithTheNextBatchWhenItsLastUserIsGone) {
  std::vector<std::pair<std::uint32_t, std::uint64_t>> before;
  std::vector<std::pair<std::uint32_t, std::uint64_t>> after;
  const ScriptedModel loaded = LoadScripted({[&](PeerEnd& peer) {
    peer.Greet();
    std::byte* const segment = peer.AddSegment(kSegment, 4096, 4096);
    AnswerFromOwnBlock(peer, peer.ExpectExecution(), segment);
    const SeenExecution second = peer.ExpectExecution();
    before = peer.releases;
    peer.Echo(second);
    const SeenExecution third = peer.ExpectExecution();
    after = peer.releases;
    peer.Echo(third);
    EchoForEver(peer);
  }});
  InferResponse held;
  InferResponse other;
  ASSERT_TRUE(loaded.Run(1, &held).ok());
  ASSERT_TRUE(loaded.Run(1, &other).ok());
  held = {};
  ASSERT_TRUE(loaded.Run(1, &other).ok());
  EXPECT_TRUE(before.empty());
  EXPECT_THAT(after, ElementsAre(std::pair(kSegment, std::uint64_t{64})));
}

// Two executions at once, answered in one packet: as `answers` makes of both.
std::array<Status, 2> RunTwo(
    const std::function<std::string(const SeenExecution&, const SeenExecution&)>& answers) {
  const ScriptedModel loaded =
      LoadScripted({[&answers](PeerEnd& peer) {
                      peer.Greet();
                      const SeenExecution first = peer.ExpectExecution();
                      const SeenExecution second = peer.ExpectExecution();
                      peer.Send(PacketKind::kResponses, answers(first, second));
                      EchoForEver(peer);
                    },
                    EchoForEver});
  const auto sink = std::make_shared<RecordingSink>();
  AwaitedExecution first({MakeRequest("a", sink)});
  AwaitedExecution second({MakeRequest("b", sink)});
  loaded.instance->Execute(&first.execution, &first);
  loaded.instance->Execute(&second.execution, &second);
  return {first.Await(), second.Await()};
}

std::string Nothing(const SeenExecution& seen) {
  return Responses(seen, [](std::size_t, PacketWriter* writer) { WriteError(1, "no", writer); });
}

TEST(WorkerContract, AnswersOfSeveralBatchesMayShareAPacket) {
  const auto in_order = [](const auto& first, const auto& second) {
    return Nothing(first) + Nothing(second);
  };
  for (const Status& status : RunTwo(in_order)) EXPECT_TRUE(status.ok()) << status.message();
}

TEST(WorkerContract, WhatIsBrokenBehindAGoodAnswerFailsOnlyTheRest) {
  const auto twice_the_first = [](const auto& first, const auto&) {
    return Nothing(first) + Nothing(first);
  };
  const std::array<Status, 2> statuses = RunTwo(twice_the_first);
  EXPECT_TRUE(statuses[0].ok()) << statuses[0].message();
  EXPECT_THAT(statuses[1].message(), HasSubstr("which is not running"));
  const auto cut = [](const auto& first, const auto& second) {
    const std::string all = Nothing(first) + Nothing(second);
    return all.substr(0, all.size() - 1);
  };
  EXPECT_THAT(RunTwo(cut)[1].message(), HasSubstr("broke the protocol"));
}

TEST(WorkerContract, AnErrorOfOneRequestIsItsOwn) {
  const ScriptedModel loaded = LoadScripted({[](PeerEnd& peer) {
    peer.Greet();
    const SeenExecution seen = peer.ExpectExecution();
    peer.Send(PacketKind::kResponses, Responses(seen, [](std::size_t i, PacketWriter* writer) {
                WriteError(static_cast<std::uint8_t>(i), "error " + std::to_string(i), writer);
              }));
    EchoForEver(peer);
  }});
  const auto sink = std::make_shared<RecordingSink>();
  std::vector<RequestPtr> requests;
  for (int i = 0; i < 8; ++i) requests.push_back(MakeRequest("r", sink));
  AwaitedExecution awaited(std::move(requests));
  ASSERT_TRUE(RunBatch(*loaded.instance, &awaited).ok());
  const StatusCode codes[] = {StatusCode::kUnknown,       StatusCode::kInternal,
                              StatusCode::kNotFound,      StatusCode::kInvalidArgument,
                              StatusCode::kUnavailable,   StatusCode::kUnsupported,
                              StatusCode::kAlreadyExists, StatusCode::kCancelled};
  for (std::size_t i = 0; i < 8; ++i) {
    EXPECT_EQ(awaited.execution.responses.at(i).status.code(), codes[i]);
    EXPECT_EQ(awaited.execution.responses[i].status.message(), "error " + std::to_string(i));
  }
}

TEST(WorkerContract, ACancelledRequestIsToldWhileItRunsAndBeforeItIsSent) {
  std::promise<std::uint64_t> expected;
  std::promise<std::uint64_t> cancelled;
  const ScriptedModel loaded = LoadScripted({[&](PeerEnd& peer) {
    peer.Greet();
    const SeenExecution seen = peer.ExpectExecution();
    expected.set_value(seen.requests.at(0).handle);
    const auto packet = peer.Expect(PacketKind::kCancel);
    PacketReader reader(packet.body);
    cancelled.set_value(reader.U64());
    peer.Echo(seen);
    const SeenExecution second = peer.ExpectExecution();
    (void)peer.Expect(PacketKind::kCancel);
    peer.Echo(second);
    EchoForEver(peer);
  }});
  const RequestPtr request = MakeRequest("r", std::make_shared<RecordingSink>());
  AwaitedExecution running({request});
  loaded.instance->Execute(&running.execution, &running);
  const std::uint64_t handle = expected.get_future().get();
  request->Cancel();
  EXPECT_EQ(cancelled.get_future().get(), handle);
  EXPECT_TRUE(running.Await().ok());
  const RequestPtr late = MakeRequest("r", std::make_shared<RecordingSink>());
  late->Cancel();
  AwaitedExecution second({late});
  EXPECT_TRUE(RunBatch(*loaded.instance, &second).ok());
}

TEST(WorkerContract, ADecoupledRequestIsAnsweredUntilItsFinalFlag) {
  const ScriptedModel loaded =
      LoadScripted({[](PeerEnd& peer) {
                     peer.Greet();
                     const SeenExecution seen = peer.ExpectExecution();
                     const std::uint64_t handle = seen.requests.at(0).handle;
                     peer.Send(PacketKind::kResponse, Response(handle, false, 1));
                     peer.Send(PacketKind::kExecuted, Executed(seen.id));
                     peer.Send(PacketKind::kResponse, Response(handle, false, 1));
                     peer.Send(PacketKind::kResponse, Response(handle, true));
                     peer.Expect(PacketKind::kFinalize);
                   }},
                   Decoupled());
  const auto sink = std::make_shared<RecordingSink>();
  AwaitedExecution awaited({MakeRequest("r", sink)});
  EXPECT_TRUE(RunBatch(*loaded.instance, &awaited).ok());
  const auto answers = sink->Await(3);
  EXPECT_FALSE(answers[0].final);
  EXPECT_FALSE(answers[1].final);
  EXPECT_TRUE(answers[2].final);
  EXPECT_TRUE(answers[2].response.outputs.empty());
}

TEST(WorkerContract, AFailedDecoupledExecutionFailsWhatHasNoFinalResponse) {
  const ScriptedModel loaded =
      LoadScripted({[](PeerEnd& peer) {
                     peer.Greet();
                     const SeenExecution seen = peer.ExpectExecution();
                     peer.Send(PacketKind::kResponse, Response(seen.requests.at(0).handle, true));
                     peer.Send(PacketKind::kExecuted, Executed(seen.id, /*failed=*/true));
                     peer.Expect(PacketKind::kFinalize);
                   }},
                   Decoupled());
  const auto first = std::make_shared<RecordingSink>();
  const auto second = std::make_shared<RecordingSink>();
  AwaitedExecution awaited({MakeRequest("a", first), MakeRequest("b", second)});
  EXPECT_EQ(RunBatch(*loaded.instance, &awaited).code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(first->Await(1).at(0).response.status.ok());
  EXPECT_EQ(second->Await(1).at(0).response.status.message(), "execute failed");
}

TEST(WorkerContract, ASecondFinalResponseKillsTheWorker) {
  const ScriptedModel loaded =
      LoadScripted({[](PeerEnd& peer) {
                     peer.Greet();
                     const SeenExecution seen = peer.ExpectExecution();
                     peer.Send(PacketKind::kResponse, Response(seen.requests.at(0).handle, true));
                     peer.Send(PacketKind::kResponse, Response(seen.requests.at(0).handle, true));
                     peer.Expect(PacketKind::kFinalize);
                   }},
                   Decoupled());
  const auto sink = std::make_shared<RecordingSink>();
  AwaitedExecution awaited({MakeRequest("r", sink)});
  EXPECT_THAT(RunBatch(*loaded.instance, &awaited).message(), HasSubstr("which is not open"));
  EXPECT_EQ(sink->Await(1).size(), 1U);
}

TEST(WorkerContract, DeathFailsOpenDecoupledRequestsToo) {
  const ScriptedModel loaded =
      LoadScripted({[](PeerEnd& peer) {
                     peer.Greet();
                     peer.Send(PacketKind::kExecuted, Executed(peer.ExpectExecution().id));
                   }},
                   Decoupled());
  const auto sink = std::make_shared<RecordingSink>();
  AwaitedExecution awaited({MakeRequest("r", sink)});
  EXPECT_TRUE(RunBatch(*loaded.instance, &awaited).ok());
  EXPECT_THAT(sink->Await(1).at(0).response.status.message(), HasSubstr("left the stage"));
}

TEST(WorkerContract, WhatComesWhileNoWorkerLivesWaitsForTheNext) {
  std::promise<void> may_start;
  const ScriptedModel loaded = LoadScripted({[](PeerEnd& peer) { peer.Greet(); },
                                             [&](PeerEnd& peer) {
                                               may_start.get_future().wait();
                                               EchoForEver(peer);
                                             }});
  AwaitedExecution waiting({MakeRequest("r", std::make_shared<RecordingSink>(), 6)});
  while (loaded.launcher->launched() < 2) std::this_thread::yield();
  EXPECT_EQ(loaded.model->Ready().code(), StatusCode::kUnavailable);
  loaded.instance->Execute(&waiting.execution, &waiting);
  may_start.set_value();
  EXPECT_TRUE(waiting.Await().ok());
  EXPECT_TRUE(loaded.model->Ready().ok());
}

TEST(WorkerContract, AfterAFailedRestartRequestsFailWithItsReasonUntilOneSucceeds) {
  const auto fail = [](PeerEnd& peer) {
    peer.Greet({.error = "no weights"});
    peer.Expect(PacketKind::kFinalize);
  };
  const ScriptedModel loaded =
      LoadScripted({[](PeerEnd& peer) { peer.Greet(); }, fail, fail, fail, fail, fail, fail});
  InferResponse response;
  while (loaded.launcher->launched() < 3) std::this_thread::yield();
  const Status status = loaded.Run(1, &response);
  EXPECT_TRUE(status.ok() || status.code() == StatusCode::kUnavailable);
  if (!status.ok()) {
    EXPECT_THAT(status.message(), HasSubstr("no weights"));
  }
  while (!loaded.Run(2, &response).ok()) std::this_thread::yield();
  EXPECT_THAT(FloatsOf(response.outputs.at(0)), ElementsAre(2, 2));
}

TEST(WorkerContract, ARestartKilledFromOutsideFailsNobody) {
  const auto die = [](PeerEnd& peer) { peer.Expect(PacketKind::kInitialize); };
  const ScriptedModel loaded = LoadScripted({[](PeerEnd& peer) { peer.Greet(); }, die, die});
  while (loaded.launcher->launched() < 2) std::this_thread::yield();
  InferResponse response;
  EXPECT_TRUE(loaded.Run(2, &response).ok()) << "the fourth one's";
  EXPECT_THAT(FloatsOf(response.outputs.at(0)), ElementsAre(2, 2));
}

// If the wait doubled from death to death, the last one would take hours.
TEST(WorkerContract, AWorkerThatAnsweredIsReplacedWithoutALongerWait) {
  constexpr int kLives = 24;
  const auto answer_one = [](PeerEnd& peer) {
    peer.Greet();
    peer.Echo(peer.ExpectExecution());
    (void)peer.ExpectExecution();
  };
  const ScriptedModel loaded =
      LoadScripted(std::vector<PeerScript>(kLives, answer_one), MakeSpec("python", 8), nullptr,
                   [](WorkerBackendOptions* options) {
                     options->times.longest_backoff_ns = 10'000'000'000'000;
                   });
  InferResponse response;
  for (int life = 0; life < kLives; ++life) {
    ASSERT_TRUE(loaded.Run(1, &response).ok()) << life;
    ASSERT_FALSE(loaded.Run(2, &response).ok()) << life;
  }
  ASSERT_TRUE(loaded.Run(3, &response).ok());
  EXPECT_EQ(loaded.model->worker_counts()->deaths, kLives);
}

// Its workers leave at once, and have printed what is no UTF-8.
class PrintingLauncher final : public WorkerLauncher {
 public:
  Result<LaunchedWorker> Launch(const WorkerCommand& command) override {
    FASTSERVE_ASSIGN_OR_RETURN(LaunchedWorker worker, scripts_.Launch(command));
    std::array<int, 2> fds{};
    if (pipe2(fds.data(), O_CLOEXEC | O_NONBLOCK) != 0) return Status::Internal("no pipe");
    worker.standard_error = UniqueFd(fds[0]);
    const UniqueFd in(fds[1]);
    const std::string_view text = "na\xc3\xafve \xff cut \xe2\x82";
    EXPECT_EQ(write(in.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
    return worker;
  }

 private:
  ScriptedLauncher scripts_{{[](PeerEnd& peer) { peer.Expect(PacketKind::kInitialize); }}};
};

TEST(WorkerContract, WhatADyingWorkerPrintedIsValidUtf8InTheError) {
  WorkerBackendOptions options;
  options.launcher = std::make_shared<PrintingLauncher>();
  const auto backend = CreateWorkerBackend(std::move(options));
  const auto model = backend->LoadModel(MakeSpec("python", 8));
  const auto instance = (*model)->CreateInstance("m_0");
  EXPECT_THAT(instance.status().message(), ::testing::EndsWith("na\xc3\xafve ? cut ??"));
}

TEST(WorkerContract, AModelThatDoesNotInitializeDoesNotLoad) {
  WorkerBackendOptions options;
  options.launcher = std::make_shared<ScriptedLauncher>(std::vector<PeerScript>{[](PeerEnd& peer) {
    peer.Greet({.error = "ImportError: no module"});
    peer.Expect(PacketKind::kFinalize);
  }});
  const auto backend = CreateWorkerBackend(std::move(options));
  const auto model = backend->LoadModel(MakeSpec("python", 8));
  const auto instance = (*model)->CreateInstance("m_0");
  EXPECT_THAT(instance.status().message(), HasSubstr("ImportError: no module"));
}

TEST(WorkerContract, IsReadyIsAskedWhenTheModelHasIt) {
  const ScriptedModel loaded = LoadScripted({[](PeerEnd& peer) {
    peer.Greet({.has_is_ready = true});
    const auto packet = peer.Expect(PacketKind::kCheckReady);
    PacketReader reader(packet.body);
    std::string body;
    PacketWriter writer(&body);
    writer.U64(reader.U64());
    writer.U8(0);
    writer.Text("warming up \xff");
    peer.Send(PacketKind::kReady, body);
    peer.Expect(PacketKind::kFinalize);
  }});
  std::promise<Status> answer;
  loaded.model->CheckReady([&](Status status) { answer.set_value(std::move(status)); });
  EXPECT_THAT(answer.get_future().get().message(), HasSubstr("warming up ?"));
}

TEST(WorkerContract, AutoCompleteReturnsTheConfigurationOfTheWorker) {
  WorkerBackendOptions options;
  std::string initialize;
  options.launcher = std::make_shared<ScriptedLauncher>(std::vector<PeerScript>{[&](PeerEnd& peer) {
    peer.Greet({.config = R"({"max_batch_size":4})"});
    initialize = peer.initialize;
    peer.Expect(PacketKind::kFinalize);
  }});
  const auto backend = CreateWorkerBackend(std::move(options));
  auto spec = MakeSpec("python", 8);
  spec->path = "/models/m/1/model.py";
  const auto config = backend->AutoComplete(*spec);
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(*config, R"({"max_batch_size":4})");
  EXPECT_THAT(initialize, HasSubstr(R"("auto_complete":true)"));
  EXPECT_THAT(initialize, HasSubstr(R"("model_repository":"/models/m")"));
  EXPECT_THAT(initialize, HasSubstr(R"("version_directory":"/models/m/1")"));
}

TEST(WorkerContract, StopFailsWhatNeverEnds) {
  const ScriptedModel loaded = LoadScripted({[](PeerEnd& peer) {
    peer.Greet();
    (void)peer.ExpectExecution();
    peer.Expect(PacketKind::kFinalize);
  }});
  AwaitedExecution running({MakeRequest("r", std::make_shared<RecordingSink>())});
  loaded.instance->Execute(&running.execution, &running);
  loaded.instance->Stop();
  EXPECT_THAT(running.Await().message(), HasSubstr("was stopped"));
  AwaitedExecution late({MakeRequest("r", std::make_shared<RecordingSink>())});
  EXPECT_EQ(RunBatch(*loaded.instance, &late).code(), StatusCode::kUnavailable);
}

}  // namespace
}  // namespace fastserve
