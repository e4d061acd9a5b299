// GrpcServer on real sockets with a real engine: threads, completions from elsewhere, drain.
#include "grpc/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "backend/identity/identity.h"
#include "support/puppet_backend.h"
#include "support/requests.h"
#include "test_client.h"

namespace fastserve {
namespace {

constexpr std::int64_t kTenSecondsNs = 10'000'000'000;
const std::string kLive = "/inference.GRPCInferenceService/ServerLive";

// Answers every administrative call, from a thread of its own, with its method and request.
class EchoAdmin final : public AdminHandler {
 public:
  ~EchoAdmin() override {
    for (std::thread& thread : threads_) thread.join();
  }
  void OnAdminCall(std::string_view method, std::string request,
                   std::unique_ptr<AdminResponder> responder) override {
    const std::lock_guard lock(mutex_);
    threads_.emplace_back([method = std::string(method), request = std::move(request),
                           responder = std::move(responder)] {
      if (request == "fail") {
        responder->Answer({GrpcStatusCode::kUnavailable, "not now"}, "");
      } else {
        responder->Answer({}, method + ":" + request);
      }
    });
  }

 private:
  std::mutex mutex_;
  std::vector<std::thread> threads_;
};

class GrpcServerTest : public testing::Test {
 protected:
  GrpcServerTest() {
    engine_ = std::move(*Engine::Create({}));
    engine_->RegisterBackend(std::make_unique<PuppetBackend>(strings_));
    engine_->RegisterBackend(CreateIdentityBackend());
    options_.address = "127.0.0.1";
    options_.port = 0;
  }
  ~GrpcServerTest() override { strings_->Release(); }

  void Load(const std::string& backend, const std::string& name = "m") {
    auto spec = std::make_shared<ModelSpec>(*MakeSpec(backend, 8));
    spec->name = name;
    (void)engine_->Publish(name, {*engine_->LoadModel(spec)});
  }
  void Start() {
    Result<std::unique_ptr<GrpcServer>> server =
        GrpcServer::Create(engine_.get(), &admin_, options_);
    ASSERT_TRUE(server.ok()) << server.status().message();
    server_ = std::move(*server);
  }
  int port() const { return server_->port(); }

  std::shared_ptr<PuppetStrings> strings_ = std::make_shared<PuppetStrings>();
  std::unique_ptr<Engine> engine_;
  GrpcServerOptions options_;
  EchoAdmin admin_;
  std::unique_ptr<GrpcServer> server_;
};

TEST_F(GrpcServerTest, ManyClientsGetTheirOwnAnswers) {
  Load("identity");
  Load("puppet", "p");
  Start();
  constexpr int kClients = 8;
  constexpr int kCalls = 60;
  std::vector<std::thread> threads;
  std::atomic<int> right{0};
  for (int client_index = 0; client_index < kClients; ++client_index) {
    threads.emplace_back([&, client_index] {
      TestClient client(port());
      for (int i = 0; i < kCalls; ++i) {
        const auto value = static_cast<float>(client_index * 1000 + i);
        const std::string model = i % 2 == 0 ? "m" : "p";
        const H2Peer::Answer answer = client.Call(kInfer, InferMessage(value, 4, "id", model));
        if (TrailingFloats(answer.body, 4) == std::vector<float>(4, value)) ++right;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, kClients * kCalls);
}

TEST_F(GrpcServerTest, SixteenMegabytesGoThereAndBackWithOneCopy) {
  Load("identity");
  Start();
  TestClient client(port());
  constexpr std::size_t kWidth = 4 << 20;
  client.Call(kLive, "");
  const std::uint64_t before = CopiedBytes();
  const H2Peer::Answer answer = client.Call(kInfer, InferMessage(2.5F, kWidth));
  EXPECT_EQ(TrailingFloats(answer.body, kWidth), std::vector<float>(kWidth, 2.5F));
  // Reassembly is the only copy; small change around it is headers of pieces.
  EXPECT_LT(CopiedBytes() - before, kWidth * sizeof(float) + 4096);
}

TEST_F(GrpcServerTest, CallsBesideALargeMessageThatStopsAreAnswered) {
  Load("identity");
  Start();
  TestClient client(port());
  EXPECT_EQ(client.Call(kLive, "").header("grpc-status"), "0");
  const std::string frame = GrpcFrame(InferMessage(1, 1 << 20));
  const std::size_t half = frame.size() / 2;
  const std::int32_t id =
      client.peer.Request(GrpcHeaders(kInfer), frame.substr(0, half), /*end=*/false);
  client.Flush();
  for (int call = 0; call < 3; ++call)
    EXPECT_EQ(client.Call(kInfer, InferMessage(3, 2)).header("grpc-status"), "0");
  client.peer.Send(id, frame.substr(half), /*end=*/true);
  ASSERT_TRUE(client.Until([&] { return client.peer.answers[id].closed.has_value(); }));
  EXPECT_EQ(client.peer.answers[id].header("grpc-status"), "0");
}

TEST_F(GrpcServerTest, ErrorsCarryTheEnginesTexts) {
  Start();
  TestClient client(port());
  const H2Peer::Answer answer = client.Call(kInfer, InferMessage(1, 2));
  EXPECT_EQ(answer.header("grpc-status"), "5");
  EXPECT_EQ(answer.header("grpc-message"), "Request for unknown model: 'm' is not found");
  EXPECT_EQ(client.Call(kInfer, "\x0a\xff").header("grpc-status"), "3");
}

TEST_F(GrpcServerTest, DeadlineCancelsTheRequestInTheEngine) {
  Load("puppet");
  Start();
  strings_->Hold();
  TestClient client(port());
  const H2Peer::Answer answer = client.Call(kInfer, InferMessage(1, 2), {{"grpc-timeout", "50m"}});
  EXPECT_EQ(answer.header("grpc-status"), "4");
  strings_->Release();
  EXPECT_TRUE(engine_->WaitIdle(kTenSecondsNs));
}

TEST_F(GrpcServerTest, DisconnectCancelsWhatWaits) {
  Load("puppet");
  Start();
  strings_->Hold();
  {
    TestClient client(port());
    client.peer.Request(GrpcHeaders(kInfer), GrpcFrame(InferMessage(1, 2, "running")));
    client.Flush();
    strings_->AwaitStarted(1);
    client.peer.Request(GrpcHeaders(kInfer), GrpcFrame(InferMessage(1, 2, "waiting")));
    client.Call(kLive, "");  // the second request is in by now
  }
  server_->StopAccepting();
  EXPECT_TRUE(server_->WaitDrained(kTenSecondsNs));
  // The thread of the connection may still be about to cancel.
  const std::string none = R"(nv_inference_pending_request_count{model="m",version="1"} 0)";
  while (engine_->MetricsText().find(none) == std::string::npos) std::this_thread::yield();
  strings_->Release();
  EXPECT_TRUE(engine_->WaitIdle(kTenSecondsNs));
  EXPECT_EQ(strings_->seen().size(), 1U);
}

TEST_F(GrpcServerTest, StreamAnswersInOrderAndReportsErrorsInBand) {
  Load("identity");
  Load("puppet", "p");
  Start();
  TestClient client(port());
  strings_->Hold();
  std::string messages;
  messages += GrpcFrame(InferMessage(1, 2, "first", "p"));
  messages += GrpcFrame(InferMessage(2, 2, "second", "unknown"));
  messages += GrpcFrame(InferMessage(3, 2, "third"));
  const std::int32_t id = client.peer.Request(GrpcHeaders(kStream), messages);
  client.Flush();
  strings_->AwaitStarted(1);
  EXPECT_EQ(client.peer.answers[id].body, "");
  strings_->Release();
  client.Until([&] { return client.peer.answers[id].closed.has_value(); });
  const std::string& body = client.peer.answers[id].body;
  EXPECT_EQ(client.peer.answers[id].header("grpc-status"), "0");
  EXPECT_LT(body.find("first"), body.find("Request for unknown model"));
  EXPECT_LT(body.find("Request for unknown model"), body.find("third"));
}

TEST_F(GrpcServerTest, StreamEndsWithTheStatusWhenTheClientAsksForIt) {
  Load("identity");
  Start();
  TestClient client(port());
  const std::int32_t id =
      client.peer.Request(GrpcHeaders(kStream, {{"triton_grpc_error", "true"}}),
                          GrpcFrame(InferMessage(2, 2, "x", "unknown")), /*end=*/false);
  client.Until([&] { return client.peer.answers[id].closed.has_value(); });
  EXPECT_EQ(client.peer.answers[id].header("grpc-status"), "5");
}

TEST_F(GrpcServerTest, StreamWithThousandsOfRequestsIsAnsweredWhole) {
  Load("identity");
  Start();
  TestClient client(port());
  std::string messages;
  for (int i = 0; i < 5000; ++i) messages += GrpcFrame(InferMessage(static_cast<float>(i), 2, "x"));
  const std::int32_t id = client.peer.Request(GrpcHeaders(kStream), messages);
  client.Until([&] { return client.peer.answers[id].closed.has_value(); });
  EXPECT_EQ(client.peer.answers[id].header("grpc-status"), "0");
  std::size_t count = 0;
  const std::string& body = client.peer.answers[id].body;
  for (std::size_t at = 0; at + 5 <= body.size(); ++count) {
    std::size_t size = 0;
    for (std::size_t i = 1; i < 5; ++i) size = size << 8 | static_cast<unsigned char>(body[at + i]);
    float value = 0;
    std::memcpy(&value, body.data() + at + 5 + size - sizeof value, sizeof value);
    ASSERT_EQ(value, static_cast<float>(count));
    at += 5 + size;
  }
  EXPECT_EQ(count, 5000U);
}

TEST_F(GrpcServerTest, HealthFollowsTheEngine) {
  Load("identity");
  Start();
  TestClient client(port());
  engine_->SetReady(true);
  EXPECT_EQ(client.Call(kLive, "").body, GrpcFrame("\x08\x01"));
  const std::string check = "/grpc.health.v1.Health/Check";
  EXPECT_EQ(client.Call(check, "").body, GrpcFrame("\x08\x01"));
  engine_->SetReady(false);
  EXPECT_EQ(client.Call(check, "").body, GrpcFrame("\x08\x02"));
  const std::string ready = "/inference.GRPCInferenceService/ModelReady";
  EXPECT_EQ(client.Call(ready, "\x0a\x01m").body, GrpcFrame("\x08\x01"));
  EXPECT_EQ(client.Call(ready, "\x0a\x01x").body, GrpcFrame(""));
  EXPECT_EQ(client.Call(ready, "\x0a\x01m\x12\x01z").header("grpc-status"), "3");
}

TEST_F(GrpcServerTest, WatchTellsEveryChange) {
  Start();
  TestClient client(port());
  engine_->SetReady(false);
  const std::int32_t id =
      client.peer.Request(GrpcHeaders("/grpc.health.v1.Health/Watch"), GrpcFrame(""));
  std::string& body = client.peer.answers[id].body;
  client.Until([&] { return body.size() >= 7; });
  EXPECT_EQ(body, GrpcFrame("\x08\x02"));
  engine_->SetReady(true);
  client.Until([&] { return body.size() >= 14; });
  EXPECT_EQ(body, GrpcFrame("\x08\x02") + GrpcFrame("\x08\x01"));
}

TEST_F(GrpcServerTest, AdministrativeCallsAreAnsweredByTheEmbedder) {
  Start();
  TestClient client(port());
  const std::string config = "/inference.GRPCInferenceService/ModelConfig";
  EXPECT_EQ(client.Call(config, "abc").body, GrpcFrame("ModelConfig:abc"));
  EXPECT_EQ(client.Call(config, "fail").header("grpc-status"), "14");
  EXPECT_EQ(client.Call("/inference.GRPCInferenceService/Nope", "").header("grpc-status"), "12");
}

TEST_F(GrpcServerTest, DrainLetsTheRunningCallFinish) {
  Load("puppet");
  Start();
  strings_->Hold();
  TestClient idle(port());
  TestClient client(port());
  idle.Call(kLive, "");
  const std::int32_t id = client.peer.Request(GrpcHeaders(kInfer), GrpcFrame(InferMessage(7, 2)));
  client.Flush();
  strings_->AwaitStarted(1);
  server_->StopAccepting();
  EXPECT_FALSE(server_->WaitDrained(0));
  // The second one answers the ping; after the last response the peer would not look at it.
  client.Until([&] { return client.peer.goaways.size() == 2; });
  strings_->Release();
  client.Until([&] { return false; });
  EXPECT_EQ(TrailingFloats(client.peer.answers[id].body, 2), std::vector<float>(2, 7));
  EXPECT_EQ(client.peer.goaway_last_ids, (std::vector<std::int32_t>{0x7FFFFFFF, id}));
  idle.Until([&] { return false; });
  EXPECT_TRUE(idle.closed);
}

TEST_F(GrpcServerTest, PortInUseIsAClearError) {
  Start();
  GrpcServerOptions same = options_;
  same.port = port();
  const auto second = GrpcServer::Create(engine_.get(), nullptr, same);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), StatusCode::kUnavailable);
  EXPECT_THAT(second.status().message(), testing::HasSubstr("Address already in use"));
}

TEST_F(GrpcServerTest, SeveralServersMayShareAPort) {
  options_.reuse_port = true;
  Start();
  GrpcServerOptions same = options_;
  same.port = port();
  EXPECT_TRUE(GrpcServer::Create(engine_.get(), nullptr, same).ok());
}

TEST_F(GrpcServerTest, TooManyPingsEndTheConnection) {
  Start();
  TestClient client(port());
  client.Call(kLive, "");
  for (int i = 0; i < 4; ++i) client.peer.Ping();
  client.Until([&] { return false; });
  EXPECT_THAT(client.peer.goaways,
              testing::ElementsAre(testing::Pair(NGHTTP2_ENHANCE_YOUR_CALM, "too_many_pings")));
}

TEST_F(GrpcServerTest, AgedConnectionIsSentAway) {
  options_.max_connection_age_ms = 50;
  options_.max_connection_age_grace_ms = 50;
  Load("puppet");
  Start();
  strings_->Hold();
  TestClient client(port());
  const std::int32_t id = client.peer.Request(GrpcHeaders(kInfer), GrpcFrame(InferMessage(7, 2)));
  client.Until([&] { return false; });
  EXPECT_EQ(client.peer.goaways.size(), 2U);
  EXPECT_EQ(client.peer.answers[id].body, "");
}

TEST_F(GrpcServerTest, RequestsThatOutliveTheServerAreHarmless) {
  Load("puppet");
  Start();
  strings_->Hold();
  TestClient client(port());
  client.peer.Request(GrpcHeaders(kInfer), GrpcFrame(InferMessage(7, 2)));
  client.Flush();
  strings_->AwaitStarted(1);
  server_ = nullptr;
  strings_->Release();
  EXPECT_TRUE(engine_->WaitIdle(kTenSecondsNs));
}

}  // namespace
}  // namespace fastserve
