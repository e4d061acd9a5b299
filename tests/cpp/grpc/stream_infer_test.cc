// ModelStreamInfer with decoupled models on real sockets: final flags, order, errors, cancellation,
// and what a slow reader costs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "backend/identity/identity.h"
#include "grpc/server.h"
#include "support/decoupled_puppet.h"
#include "support/room_signal.h"
#include "test_client.h"

namespace fastserve {
namespace {

// The parameter triton_final_response on the wire.
std::string FinalFlag(bool final) {
  std::string bytes = "triton_final_response";
  bytes += "\x12\x02\x08";
  bytes.push_back(static_cast<char>(final ? 1 : 0));
  return bytes;
}

// InferMessage with the parameter triton_enable_empty_final_response.
std::string WantingTheEnd(const std::string& message) {
  const std::string key = "triton_enable_empty_final_response";
  const std::string entry =
      std::string("\x0A") + static_cast<char>(key.size()) + key + std::string("\x12\x02\x08\x01");
  return message + std::string("\x22") + static_cast<char>(entry.size()) + entry;
}

std::vector<std::string> Messages(const std::string& body) {
  std::vector<std::string> messages;
  for (std::size_t at = 0; at + 5 <= body.size();) {
    std::size_t size = 0;
    for (std::size_t i = 1; i < 5; ++i) size = size << 8 | static_cast<unsigned char>(body[at + i]);
    messages.push_back(body.substr(at + 5, size));
    at += 5 + size;
  }
  return messages;
}

class StreamInferTest : public testing::Test {
 protected:
  StreamInferTest() {
    engine_ = std::move(*Engine::Create({}));
    engine_->RegisterBackend(std::make_unique<DecoupledPuppet>(strings_));
    engine_->RegisterBackend(CreateIdentityBackend());
    (void)engine_->Publish("d", {*engine_->LoadModel(MakeDecoupledSpec("d"))});
    (void)engine_->Publish("m", {*engine_->LoadModel(MakeSpec("identity", 8))});
    GrpcServerOptions options;
    options.address = "127.0.0.1";
    options.port = 0;
    server_ = std::move(*GrpcServer::Create(engine_.get(), nullptr, options));
  }
  int port() const { return server_->port(); }

  static std::int32_t Open(TestClient* client, const std::string& messages, bool end = false) {
    const std::int32_t id = client->peer.Request(GrpcHeaders(kStream), messages, end);
    client->Flush();
    return id;
  }
  // Reads until `count` messages have come on the stream.
  static std::vector<std::string> Await(TestClient* client, std::int32_t id, std::size_t count) {
    client->Until([&] { return Messages(client->peer.answers[id].body).size() >= count; });
    return Messages(client->peer.answers[id].body);
  }
  static bool AwaitClosed(TestClient* client, std::int32_t id) {
    return client->Until([&] { return client->peer.answers[id].closed.has_value(); });
  }

  std::shared_ptr<DecoupledStrings> strings_ = std::make_shared<DecoupledStrings>();
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<GrpcServer> server_;
};

TEST_F(StreamInferTest, EachResponseSaysWhetherItIsTheLast) {
  TestClient client(port());
  const std::int32_t id = Open(&client, GrpcFrame(InferMessage(1, 2, "r", "d")), /*end=*/true);
  const RequestPtr request = strings_->Await(0);
  request->Respond(MakeAnswer(*request, 1), false);
  EXPECT_EQ(Await(&client, id, 1).size(), 1U);  // before the request has ended
  request->Respond(MakeAnswer(*request, 2), false);
  request->Respond(MakeAnswer(*request, 3), true);
  ASSERT_TRUE(AwaitClosed(&client, id));
  const std::vector<std::string> messages = Messages(client.peer.answers[id].body);
  ASSERT_EQ(messages.size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_THAT(messages[i], testing::HasSubstr(FinalFlag(i == 2)));
    EXPECT_EQ(TrailingFloats(messages[i], 1), std::vector<float>(1, static_cast<float>(i + 1)));
  }
  EXPECT_EQ(client.peer.answers[id].header("grpc-status"), "0");
}

TEST_F(StreamInferTest, AnEmptyEndIsSentOnlyToThoseWhoAskedForIt) {
  TestClient client(port());
  const std::string plain = GrpcFrame(InferMessage(1, 2, "plain", "d"));
  const std::string asking = GrpcFrame(WantingTheEnd(InferMessage(1, 2, "asking", "d")));
  const std::int32_t id = Open(&client, plain + asking, /*end=*/true);
  for (const std::size_t index : {0, 1}) {
    const RequestPtr request = strings_->Await(index);
    request->Respond(MakeAnswer(*request, 5), false);
    request->Respond(MakeEnd(*request), true);
  }
  ASSERT_TRUE(AwaitClosed(&client, id));
  const std::vector<std::string> messages = Messages(client.peer.answers[id].body);
  ASSERT_EQ(messages.size(), 3U);
  EXPECT_THAT(messages[0], testing::HasSubstr(FinalFlag(false)));
  EXPECT_THAT(messages[2],
              testing::AllOf(testing::HasSubstr("asking"), testing::HasSubstr(FinalFlag(true))));
}

TEST_F(StreamInferTest, RequestsInFlightAreAnsweredAsTheyCome) {
  TestClient client(port());
  std::string frames;
  for (const char* name : {"first", "second", "third"})
    frames += GrpcFrame(InferMessage(1, 2, name, "d"));
  const std::int32_t id = Open(&client, frames + GrpcFrame(InferMessage(7, 2, "plain")));
  const RequestPtr third = strings_->Await(2);
  third->Respond(MakeAnswer(*third, 3), true);
  const std::vector<std::string> messages = Await(&client, id, 2);
  EXPECT_THAT(messages, testing::UnorderedElementsAre(testing::HasSubstr("third"),
                                                      testing::HasSubstr("plain")));
  strings_->Await(0)->Respond(MakeAnswer(*strings_->Await(0), 1), true);
  strings_->Await(1)->Respond(MakeEnd(*strings_->Await(1)), true);
  EXPECT_THAT(Await(&client, id, 3).back(), testing::HasSubstr("first"));
  client.peer.Send(id, "", /*end=*/true);
  ASSERT_TRUE(AwaitClosed(&client, id));
  EXPECT_EQ(client.peer.answers[id].header("grpc-status"), "0");
}

TEST_F(StreamInferTest, AnErrorIsOneOfTheResponses) {
  TestClient client(port());
  const std::int32_t id = Open(&client, GrpcFrame(InferMessage(1, 2, "r", "d")), /*end=*/true);
  const RequestPtr request = strings_->Await(0);
  InferResponse error;
  error.status = Status::Internal("half a thought");
  request->Respond(error, false);
  request->Respond(MakeAnswer(*request, 2), false);
  request->Fail(Status::Internal("that was all"), FailureReason::kBackend);
  ASSERT_TRUE(AwaitClosed(&client, id));
  const std::vector<std::string> messages = Messages(client.peer.answers[id].body);
  ASSERT_EQ(messages.size(), 3U);
  EXPECT_THAT(messages[0], testing::AllOf(testing::HasSubstr("half a thought"),
                                          testing::HasSubstr(FinalFlag(false))));
  EXPECT_THAT(messages[2], testing::AllOf(testing::HasSubstr("that was all"),
                                          testing::HasSubstr(FinalFlag(true))));
}

TEST_F(StreamInferTest, ACancelledStreamCancelsEachOfItsRequests) {
  TestClient client(port());
  const std::string frame = GrpcFrame(InferMessage(1, 2, "r", "d"));
  const std::int32_t id = Open(&client, frame + frame);
  const std::vector<RequestPtr> requests = {strings_->Await(0), strings_->Await(1)};
  const auto signal = std::make_shared<RoomSignal>();
  class OnCancelled final : public CancelHook {
   public:
    explicit OnCancelled(std::shared_ptr<RoomSignal> signal) : signal_(std::move(signal)) {}
    void OnCancel(const RequestPtr& request) override { signal_->OnRoom(request); }

   private:
    const std::shared_ptr<RoomSignal> signal_;
  };
  for (const RequestPtr& request : requests)
    ASSERT_TRUE(request->SetCancelHook(std::make_shared<OnCancelled>(signal)));
  client.peer.Reset(id);
  client.Flush();
  for (const RequestPtr& request : requests) {
    signal->Wait();
    (void)request;
  }
  for (const RequestPtr& request : requests) {
    EXPECT_TRUE(request->cancelled());
    EXPECT_FALSE(request->congested());
    request->Respond(MakeAnswer(*request, 1), false);  // nobody reads it, and that harms nobody
    request->Fail(Status::Cancelled("gone"), FailureReason::kCanceled);
  }
  EXPECT_TRUE(engine_->WaitIdle(10'000'000'000));
}

TEST_F(StreamInferTest, ModelInferRefusesADecoupledModelBeforeItRuns) {
  TestClient client(port());
  const H2Peer::Answer answer = client.Call(kInfer, InferMessage(1, 2, "r", "d"));
  EXPECT_EQ(answer.header("grpc-status"), "12");
  EXPECT_EQ(answer.header("grpc-message"),
            "ModelInfer RPC doesn't support models with decoupled transaction policy");
}

// Sends `count` answers of `width` floats, waiting for room where it is told to.
class Sender {
 public:
  Sender(RequestPtr request, int count, std::size_t width)
      : request_(std::move(request)), thread_([this, count, width] { Run(count, width); }) {}
  ~Sender() { thread_.join(); }
  Sender(const Sender&) = delete;
  Sender& operator=(const Sender&) = delete;

  int sent() const { return sent_; }
  bool waited() const { return waited_; }

 private:
  void Run(int count, std::size_t width) {
    for (int i = 0; i < count && !request_->cancelled(); ++i) {
      while (request_->congested()) {
        const auto room = std::make_shared<RoomSignal>();
        if (!request_->WaitForRoom(room)) continue;
        waited_ = true;
        room->Wait();
      }
      request_->Respond(MakeAnswer(*request_, static_cast<float>(i), width), false);
      ++sent_;
    }
    if (request_->cancelled()) {
      request_->Fail(Status::Cancelled("gone"), FailureReason::kCanceled);
    } else {
      request_->Respond(MakeEnd(*request_), true);
    }
  }

  const RequestPtr request_;
  std::atomic<int> sent_{0};
  std::atomic<bool> waited_{false};
  std::thread thread_;
};

constexpr std::size_t kWidth = 16384;  // 64 KiB
constexpr int kAnswers = 400;          // 25 MiB

TEST_F(StreamInferTest, ASlowReaderHoldsItsOwnSenderBackAndLosesNothing) {
  TestClient slow(port());
  const std::int32_t id = Open(&slow, GrpcFrame(InferMessage(1, 2, "slow", "d")), /*end=*/true);
  const Sender sender(strings_->Await(0), kAnswers, kWidth);
  // Another stream goes on meanwhile.
  TestClient quick(port());
  const std::int32_t quick_id = Open(&quick, "");
  for (std::size_t i = 1; i <= 50; ++i) {
    quick.peer.Send(quick_id, GrpcFrame(InferMessage(2, 2, "quick", "d")));
    quick.Flush();
    const RequestPtr request = strings_->Await(i);
    request->Respond(MakeAnswer(*request, 2), true);
    ASSERT_EQ(Await(&quick, quick_id, i).size(), i);
  }
  // The client's window, the stream's and the one on the way, each with an answer that crosses it.
  EXPECT_LE(sender.sent(), 40);
  ASSERT_TRUE(AwaitClosed(&slow, id));
  EXPECT_TRUE(sender.waited());
  const std::vector<std::string> messages = Messages(slow.peer.answers[id].body);
  ASSERT_EQ(messages.size(), static_cast<std::size_t>(kAnswers));
  for (std::size_t i = 0; i < messages.size(); ++i)
    ASSERT_EQ(TrailingFloats(messages[i], 1).front(), static_cast<float>(i));
}

TEST_F(StreamInferTest, ASenderThatWaitsForRoomLearnsOfTheCancellation) {
  TestClient client(port());
  const std::int32_t id = Open(&client, GrpcFrame(InferMessage(1, 2, "slow", "d")));
  {
    const Sender sender(strings_->Await(0), kAnswers, kWidth);
    client.Until([&] { return sender.waited(); });
    client.peer.Reset(id);
    client.Flush();
  }
  EXPECT_TRUE(strings_->Await(0)->cancelled());
  EXPECT_TRUE(engine_->WaitIdle(10'000'000'000));
}

}  // namespace
}  // namespace fastserve
