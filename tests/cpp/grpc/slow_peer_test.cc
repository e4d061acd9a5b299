// Peers that stop in the middle: they read nothing, send nothing, or end their side. Real sockets,
// and a clock that the test moves.
#include <gtest/gtest.h>

#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "grpc/server.h"
#include "support/fake_clock.h"
#include "support/puppet_backend.h"
#include "support/requests.h"
#include "test_client.h"

namespace fastserve {
namespace {

constexpr std::int64_t kSecondNs = 1'000'000'000;
constexpr std::size_t kWindowBytes = 65535;  // of a connection, until its reader opens it
constexpr std::size_t kFloats = std::size_t{1} << 19;

// Answers with its inputs, and remembers their memory without keeping it.
class WatchedBackend final : public Backend {
 public:
  using Batches = std::vector<std::weak_ptr<Buffer>>;

  std::string_view name() const override { return "watched"; }
  Result<ModelSignature> ReadSignature(const ModelSpec&) override {
    return Status::Unsupported("it has none");
  }
  Result<std::unique_ptr<BackendModel>> LoadModel(std::shared_ptr<const ModelSpec>) override {
    return std::unique_ptr<BackendModel>(std::make_unique<Model>(this));
  }
  // Of the executions so far.
  Batches batches() {
    const std::lock_guard lock(mutex_);
    return batches_;
  }

 private:
  class Instance final : public BackendInstance {
   public:
    explicit Instance(WatchedBackend* backend) : backend_(*backend) {}
    void Execute(Execution* execution, ExecutionObserver* observer) override {
      execution->outputs = execution->inputs;
      {
        const std::lock_guard lock(backend_.mutex_);
        backend_.batches_.emplace_back(execution->outputs.at(0).data.owner);
      }
      observer->OnExecuted(execution, Status::Ok());
    }

   private:
    WatchedBackend& backend_;
  };
  class Model final : public BackendModel {
   public:
    explicit Model(WatchedBackend* backend) : backend_(backend) {}
    Result<std::unique_ptr<BackendInstance>> CreateInstance(const std::string&) override {
      return std::unique_ptr<BackendInstance>(std::make_unique<Instance>(backend_));
    }

   private:
    WatchedBackend* const backend_;
  };

  std::mutex mutex_;
  Batches batches_;
};

class SlowPeerTest : public testing::Test {
 protected:
  SlowPeerTest() {
    EngineOptions options;
    options.clock = &clock_;
    engine_ = std::move(*Engine::Create(options));
    auto watched = std::make_unique<WatchedBackend>();
    watched_ = watched.get();
    engine_->RegisterBackend(std::move(watched));
    engine_->RegisterBackend(std::make_unique<PuppetBackend>(strings_));
    Load("watched", "m");
    Load("puppet", "p");
    GrpcServerOptions server_options;
    server_options.address = "127.0.0.1";
    server_options.port = 0;
    server_options.thread_count = 1;  // so that one connection's call tells of the others' timers
    server_options.stalled_bytes = kFloats;
    server_ = std::move(*GrpcServer::Create(engine_.get(), nullptr, server_options));
    other_ = std::make_unique<TestClient>(server_->port());
  }
  ~SlowPeerTest() override { strings_->Release(); }

  void Load(const std::string& backend, const std::string& name) {
    auto spec = std::make_shared<ModelSpec>(*MakeSpec(backend, 1));
    spec->name = name;
    (void)engine_->Publish(name, {*engine_->LoadModel(spec)});
  }
  // A call of another client's, which nobody holds up. When it is answered, the server's thread has
  // done what was due.
  void LetTheServerTurn() {
    const H2Peer::Answer answer = other_->Call(kInfer, InferMessage(3, 2));
    ASSERT_EQ(TrailingFloats(answer.body, 2), std::vector<float>(2, 3));
  }
  void Pass(std::int64_t ns) {
    clock_.Advance(ns);
    LetTheServerTurn();
  }
  // The answer fills the peer's window, and the rest of it waits in the server.
  static void StopReading(TestClient* peer) {
    const std::int32_t id =
        peer->peer.Request(GrpcHeaders(kInfer), GrpcFrame(InferMessage(1, kFloats)));
    ASSERT_TRUE(peer->Until([&] { return peer->peer.answers[id].body.size() == kWindowBytes; }));
  }
  // A call whose answer needs no window.
  static H2Peer::Answer CallUnknown(TestClient* peer) {
    return peer->Call(kInfer, InferMessage(1, 2, "x", "unknown"));
  }

  FakeClock clock_;
  std::shared_ptr<PuppetStrings> strings_ = std::make_shared<PuppetStrings>();
  WatchedBackend* watched_ = nullptr;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<GrpcServer> server_;
  std::unique_ptr<TestClient> other_;
};

TEST_F(SlowPeerTest, PeerThatReadsNothingKeepsNoBatchBufferAndNobodyWaits) {
  TestClient peer(server_->port(), /*auto_window=*/false);
  StopReading(&peer);
  const std::weak_ptr<Buffer> batch = watched_->batches().at(0);
  for (int i = 0; i < 20; ++i) LetTheServerTurn();
  EXPECT_FALSE(batch.expired()) << "what is sent soon is not copied";
  Pass(kSecondNs);
  // The instance's thread may still be about to let go of it.
  EXPECT_TRUE(engine_->WaitIdle(-1));
  for (int i = 0; i < 1'000'000 && !batch.expired(); ++i) std::this_thread::yield();
  EXPECT_TRUE(batch.expired());
}

TEST_F(SlowPeerTest, PeerThatReadsNothingGetsNoNewCalls) {
  TestClient peer(server_->port(), /*auto_window=*/false);
  StopReading(&peer);
  EXPECT_EQ(CallUnknown(&peer).header("grpc-status"), "5");
  // In the first second it has still taken something.
  for (int second = 0; second < 2; ++second) Pass(kSecondNs);
  const H2Peer::Answer refused = CallUnknown(&peer);
  EXPECT_EQ(refused.header("grpc-status"), "8");
  EXPECT_EQ(refused.header("grpc-message"), "the connection does not drain its responses");
  // It has taken that answer.
  Pass(kSecondNs);
  EXPECT_EQ(CallUnknown(&peer).header("grpc-status"), "5");
}

TEST_F(SlowPeerTest, PeerThatReadsNothingForAMinuteIsClosed) {
  LetTheServerTurn();
  TestClient peer(server_->port(), /*auto_window=*/false);
  StopReading(&peer);
  for (int second = 0; second < 59; ++second) Pass(kSecondNs);
  EXPECT_EQ(server_->connections(), 2U);
  for (int second = 0; second < 3; ++second) Pass(kSecondNs);
  peer.AwaitClosed();
  LetTheServerTurn();
  EXPECT_EQ(server_->connections(), 1U);
}

TEST_F(SlowPeerTest, MessageOfARequestThatDoesNotEndCountsUntilItsPeerLeaves) {
  const std::string message = InferMessage(1, 1000);
  {
    TestClient peer(server_->port());
    peer.peer.Request(GrpcHeaders(kInfer), GrpcFrame(message), /*end=*/false);
    EXPECT_EQ(CallUnknown(&peer).header("grpc-status"), "5");  // the message is in by now
    EXPECT_EQ(engine_->inflight_bytes(), message.size());
  }
  while (server_->connections() > 1) std::this_thread::yield();
  LetTheServerTurn();
  EXPECT_TRUE(engine_->WaitIdle(-1));
  EXPECT_EQ(engine_->inflight_bytes(), 0U);
}

TEST_F(SlowPeerTest, PeerThatSaysNothingIsClosed) {
  LetTheServerTurn();
  TestClient silent(server_->port());
  while (server_->connections() < 2) std::this_thread::yield();
  LetTheServerTurn();
  Pass(20 * kSecondNs - 1);
  EXPECT_EQ(server_->connections(), 2U);
  Pass(1);
  silent.AwaitClosed();
  LetTheServerTurn();
  EXPECT_EQ(server_->connections(), 1U);
}

TEST_F(SlowPeerTest, PeerThatStopsWithinItsPrefaceIsClosed) {
  LetTheServerTurn();
  TestClient slow(server_->port());
  slow.Send(slow.peer.TakeOutput().substr(0, 20));
  for (int turn = 0; turn < 2; ++turn) LetTheServerTurn();
  Pass(20 * kSecondNs);
  slow.AwaitClosed();
  LetTheServerTurn();
  EXPECT_EQ(server_->connections(), 1U);
}

// As when the client closes: the calls are its own, and it could not cancel them any more.
TEST_F(SlowPeerTest, PeerThatEndsItsSideLosesItsCalls) {
  strings_->Hold();
  TestClient peer(server_->port());
  const auto send = [&peer](const std::string& id) {
    return peer.peer.Request(GrpcHeaders(kInfer), GrpcFrame(InferMessage(1, 2, id, "p")));
  };
  const std::int32_t running = send("running");
  peer.Flush();
  strings_->AwaitStarted(1);
  const std::int32_t waiting = send("waiting");
  EXPECT_EQ(CallUnknown(&peer).header("grpc-status"), "5");  // the second request is in by now
  peer.EndSending();
  peer.Until([] { return false; });
  EXPECT_TRUE(peer.closed);
  EXPECT_TRUE(peer.peer.answers[running].headers.empty());
  EXPECT_TRUE(peer.peer.answers[waiting].headers.empty());
  LetTheServerTurn();
  strings_->Release();
  EXPECT_TRUE(engine_->WaitIdle(-1));
  EXPECT_EQ(strings_->seen().size(), 1U) << "what waited was executed for nobody";
}

}  // namespace
}  // namespace fastserve
