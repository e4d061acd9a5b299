// GrpcCall over an in-memory connection, with a service of the test: the rules of gRPC over HTTP/2,
// one promise each.
#include "grpc/grpc_call.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "h2_peer.h"
#include "support/fake_clock.h"

namespace fastserve {
namespace {

struct ClosedState final : public CallState {
  explicit ClosedState(int* count) : closed(count) {}
  void OnCallClosed() override { ++*closed; }
  int* closed;
};

// "/test.Service/Echo" answers its message, "/test.Service/Hold" nothing, "/test.Service/Stream"
// each message, "/Fail" an error.
class TestService final : public GrpcService {
 public:
  const GrpcMethod* Find(std::string_view path) const override {
    static const std::vector<GrpcMethod> methods = {{"/test.Service/Echo", 0, true},
                                                    {"/test.Service/Hold", 1, true},
                                                    {"/test.Service/Stream", 2, false},
                                                    {"/test.Service/Fail", 3, true}};
    for (const GrpcMethod& method : methods) {
      if (method.name == path) return &method;
    }
    return nullptr;
  }
  void OnMessage(GrpcCall* call, BufferView message) override {
    messages.emplace_back(reinterpret_cast<const char*>(message.data), message.size);
    if (call->method().id == 1) {
      held = call;
      call->set_state(std::make_shared<ClosedState>(&closed));
      return;
    }
    if (call->method().id == 3)
      return call->Finish({GrpcStatusCode::kInvalidArgument, "no 100% \n good"});
    WireMessage answer;
    answer.pieces.push_back({messages.back(), {}});
    call->Send(std::move(answer));
    if (call->method().unary) call->Finish({});
  }
  void OnHalfClose(GrpcCall* call) override { call->Finish({}); }

  std::vector<std::string> messages;
  GrpcCall* held = nullptr;
  int closed = 0;
};

class GrpcCallTest : public testing::Test, public Http2Observer, public GrpcCallOwner {
 protected:
  GrpcCallTest() {
    context.service = &service;
    context.timeouts = &timeouts;
    context.clock = &clock;
    session = std::make_unique<Http2Session>(Http2Options{}, this);
  }
  Http2Stream* NewStream() override {
    calls.push_back(std::make_unique<GrpcCall>(&context));
    calls.back()->Start(session.get(), this);
    return calls.back().get();
  }
  void OnPing() override {}
  void OnPingAck(std::uint64_t) override {}
  void OnResponseFrameSent() override {}
  void OnCallOutput() override {}
  void ReleaseCall(GrpcCall*) override {}
  void OnMissing(std::size_t bytes) override { missing = bytes; }
  bool stalled() const override { return is_stalled; }

  const H2Peer::Answer& Call(const HeaderList& headers, const std::string& body) {
    const std::int32_t id = peer.Request(headers, body);
    Exchange(&peer, session.get());
    return peer.answers[id];
  }
  const H2Peer::Answer& Echo(const HeaderList& more, const std::string& body) {
    return Call(GrpcHeaders("/test.Service/Echo", more), body);
  }

  TestService service;
  TimeoutHeap timeouts;
  FakeClock clock;
  GrpcCallContext context;
  std::vector<std::unique_ptr<GrpcCall>> calls;
  std::unique_ptr<Http2Session> session;
  H2Peer peer;
  bool is_stalled = false;
  std::size_t missing = 0;
};

TEST_F(GrpcCallTest, UnaryCallAnswersHeadersMessageAndTrailers) {
  const H2Peer::Answer& answer = Echo({}, GrpcFrame("hello"));
  EXPECT_THAT(answer.headers,
              testing::ElementsAre(testing::Pair(":status", "200"),
                                   testing::Pair("content-type", "application/grpc"),
                                   testing::Pair("grpc-status", "0")));
  EXPECT_EQ(answer.body, GrpcFrame("hello"));
}

TEST_F(GrpcCallTest, ErrorIsTrailersOnlyAndItsMessagePercentEncoded) {
  const H2Peer::Answer& answer = Call(GrpcHeaders("/test.Service/Fail"), GrpcFrame("x"));
  EXPECT_EQ(answer.header("grpc-status"), "3");
  EXPECT_EQ(answer.header("grpc-message"), "no 100%25 %0A good");
  EXPECT_EQ(answer.body, "");
}

TEST_F(GrpcCallTest, MessageAcrossManyDataFramesIsOneMessage) {
  const std::int32_t id = peer.Request(GrpcHeaders("/test.Service/Echo"), "", /*end=*/false);
  const std::string frame = GrpcFrame("split over frames");
  for (const char byte : frame) {
    peer.Send(id, std::string(1, byte), false);
    Exchange(&peer, session.get());
  }
  peer.Send(id, "", true);
  Exchange(&peer, session.get());
  EXPECT_EQ(peer.answers[id].body, frame);
}

TEST_F(GrpcCallTest, OwnerIsToldHowMuchOfAMessageIsMissing) {
  const std::string frame = GrpcFrame(std::string(1000, 'x'));
  const std::int32_t id =
      peer.Request(GrpcHeaders("/test.Service/Echo"), frame.substr(0, 305), /*end=*/false);
  Exchange(&peer, session.get());
  EXPECT_EQ(missing, 700U);
  peer.Send(id, frame.substr(305), /*end=*/true);
  Exchange(&peer, session.get());
  EXPECT_EQ(missing, 0U);
}

TEST_F(GrpcCallTest, UnaryCallTakesExactlyOneMessage) {
  EXPECT_EQ(Echo({}, "").header("grpc-status"), "12");
  EXPECT_EQ(Echo({}, GrpcFrame("a") + GrpcFrame("b")).header("grpc-status"), "12");
  EXPECT_EQ(Echo({}, GrpcFrame("abc").substr(0, 6)).header("grpc-status"), "13");
  EXPECT_TRUE(service.messages.empty());
}

TEST_F(GrpcCallTest, SeveralMessagesInOneFrameAreSeveralOnAStream) {
  const H2Peer::Answer& answer =
      Call(GrpcHeaders("/test.Service/Stream"), GrpcFrame("a") + GrpcFrame("") + GrpcFrame("c"));
  EXPECT_THAT(service.messages, testing::ElementsAre("a", "", "c"));
  EXPECT_EQ(answer.body, GrpcFrame("a") + GrpcFrame("") + GrpcFrame("c"));
  EXPECT_EQ(answer.header("grpc-status"), "0");
}

TEST_F(GrpcCallTest, UnknownMethodIsUnimplementedWhileTheClientStillSends) {
  const std::int32_t id = peer.Request(GrpcHeaders("/test.Service/None"), "part", /*end=*/false);
  Exchange(&peer, session.get());
  EXPECT_EQ(peer.answers[id].header("grpc-status"), "12");
  EXPECT_EQ(peer.answers[id].closed, NGHTTP2_NO_ERROR);
}

TEST_F(GrpcCallTest, ForeignRequestsGetHttpStatusCodes) {
  HeaderList headers = GrpcHeaders("/test.Service/Echo");
  headers.back().second = "application/json";
  EXPECT_EQ(Call(headers, "{}").header(":status"), "415");
  headers.pop_back();
  EXPECT_EQ(Call(headers, "{}").header(":status"), "415");
  headers = GrpcHeaders("/test.Service/Echo");
  headers[0].second = "GET";
  EXPECT_EQ(Call(headers, "").header(":status"), "405");
}

TEST_F(GrpcCallTest, UnsupportedEncodingNamesTheSupportedOnes) {
  const H2Peer::Answer& answer = Echo({{"grpc-encoding", "snappy"}}, GrpcFrame("x"));
  EXPECT_EQ(answer.header("grpc-status"), "12");
  EXPECT_EQ(answer.header("grpc-accept-encoding"), "identity, deflate, gzip");
}

TEST_F(GrpcCallTest, CompressedMessagesAreReadAndAnsweredAsAgreed) {
  WireMessage message;
  message.pieces.push_back({"compressed", {}});
  std::string frame = GrpcFrame(Compress(MessageEncoding::kGzip, CompressionLevel::kLow, message));
  frame[0] = 1;
  EXPECT_EQ(Echo({{"grpc-encoding", "gzip"}}, frame).body, GrpcFrame("compressed"));
  context.response_compression = CompressionLevel::kHigh;
  EXPECT_EQ(Echo({}, GrpcFrame("plain")).body, GrpcFrame("plain"));
  const H2Peer::Answer& answer =
      Echo({{"grpc-accept-encoding", "identity,deflate"}}, GrpcFrame("to compress"));
  EXPECT_EQ(answer.header("grpc-encoding"), "deflate");
  EXPECT_EQ(answer.body[0], 1);
  std::string expanded;
  ASSERT_TRUE(
      Decompress(MessageEncoding::kDeflate, AsBytes(answer.body).subspan(5), 100, &expanded).ok());
  EXPECT_EQ(expanded, "to compress");
}

TEST_F(GrpcCallTest, MessageBeyondTheLimitIsResourceExhausted) {
  context.limits.max_message_bytes = 4;
  EXPECT_EQ(Echo({}, GrpcFrame("four")).header("grpc-status"), "0");
  const H2Peer::Answer& answer = Echo({}, GrpcFrame("more than four"));
  EXPECT_EQ(answer.header("grpc-status"), "8");
  EXPECT_EQ(PercentDecode(answer.header("grpc-message")),
            "SERVER: Received message larger than max (14 vs. 4)");
}

TEST_F(GrpcCallTest, LargeHeaderListIsResourceExhausted) {
  EXPECT_EQ(Echo({{"big", std::string(20000, 'x')}}, GrpcFrame("x")).header("grpc-status"), "8");
  EXPECT_EQ(Echo({}, GrpcFrame("x")).header("grpc-status"), "0");
}

TEST_F(GrpcCallTest, MalformedMetadataIsRefused) {
  EXPECT_EQ(Echo({{"trace-bin", "AAEC"}}, GrpcFrame("x")).header("grpc-status"), "0");
  EXPECT_EQ(Echo({{"trace-bin", "?"}}, GrpcFrame("x")).header("grpc-status"), "13");
  EXPECT_EQ(Echo({{"grpc-timeout", "soon"}}, GrpcFrame("x")).header("grpc-status"), "13");
}

TEST_F(GrpcCallTest, DeadlineEndsTheCallAndTellsTheService) {
  const std::int32_t id =
      peer.Request(GrpcHeaders("/test.Service/Hold", {{"grpc-timeout", "100m"}}), GrpcFrame("x"));
  Exchange(&peer, session.get());
  clock.Advance(99 * kNsPerMs);
  timeouts.FireDue(clock.NowNs());
  EXPECT_EQ(service.closed, 0);
  clock.Advance(1 * kNsPerMs);
  timeouts.FireDue(clock.NowNs());
  EXPECT_EQ(service.closed, 1);
  Exchange(&peer, session.get());
  EXPECT_EQ(peer.answers[id].header("grpc-status"), "4");
  EXPECT_EQ(timeouts.size(), 0u);
}

TEST_F(GrpcCallTest, DeadlineAlsoEndsACallWhoseMessageNeverComes) {
  const std::int32_t id =
      peer.Request(GrpcHeaders("/test.Service/Echo", {{"grpc-timeout", "1S"}}), "", /*end=*/false);
  Exchange(&peer, session.get());
  clock.Advance(1000 * kNsPerMs);
  timeouts.FireDue(clock.NowNs());
  Exchange(&peer, session.get());
  EXPECT_EQ(peer.answers[id].header("grpc-status"), "4");
}

TEST_F(GrpcCallTest, AnsweredCallLeavesNoTimeoutBehind) {
  Echo({{"grpc-timeout", "1H"}}, GrpcFrame("x"));
  EXPECT_EQ(timeouts.size(), 0u);
}

TEST_F(GrpcCallTest, CancellationTellsTheServiceOnce) {
  const std::int32_t id = peer.Request(GrpcHeaders("/test.Service/Hold"), GrpcFrame("x"));
  Exchange(&peer, session.get());
  peer.Reset(id);
  Exchange(&peer, session.get());
  EXPECT_EQ(service.closed, 1);
}

TEST_F(GrpcCallTest, PausedStreamStopsTheClientAndResumes) {
  const std::int32_t id = peer.Request(GrpcHeaders("/test.Service/Stream"), "", /*end=*/false);
  Exchange(&peer, session.get());
  calls[0]->PauseReading(true);
  const std::string message(30 << 20, 'x');
  peer.Send(id, GrpcFrame(message), true);
  Exchange(&peer, session.get());
  EXPECT_TRUE(service.messages.empty());
  calls[0]->PauseReading(false);
  Exchange(&peer, session.get());
  EXPECT_THAT(service.messages, testing::ElementsAre(message));
}

TEST_F(GrpcCallTest, StalledConnectionGetsNoNewCalls) {
  is_stalled = true;
  EXPECT_EQ(Echo({}, GrpcFrame("x")).header("grpc-status"), "8");
}

}  // namespace
}  // namespace fastserve
