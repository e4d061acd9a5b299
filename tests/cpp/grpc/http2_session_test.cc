// Http2Session against scripted bytes: one promise per rule, no sockets.
#include "grpc/http2_session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "h2_peer.h"

namespace fastserve {
namespace {

constexpr std::uint8_t kContinuation = 9;
const std::string kPreface =
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + RawFrame(NGHTTP2_SETTINGS, 0, 0, "");

// Remembers its events.
class RecordingStream final : public Http2Stream {
 public:
  explicit RecordingStream(Http2Session** session) : session_(session) {}
  void OnHeader(std::string_view name, std::string_view value) override {
    headers.emplace_back(name, value);
  }
  void OnHeadersEnd() override { events += 'H'; }
  void OnData(std::span<const std::byte> bytes) override {
    body.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (consume) (*session_)->Consume(this, bytes.size());
  }
  void OnRequestEnd() override { events += 'E'; }
  void OnClosed(std::uint32_t code) override {
    events += 'C';
    closed_code = code;
  }

  HeaderList headers;
  std::string body;
  std::string events;
  std::uint32_t closed_code = 0;
  bool consume = true;

 private:
  Http2Session** session_;
};

class Http2SessionTest : public testing::Test, public Http2Observer {
 protected:
  Http2SessionTest() { Restart({}); }
  void Restart(const Http2Options& options) {
    owned_ = nullptr;
    streams.clear();
    owned_ = std::make_unique<Http2Session>(options, this);
    session = owned_.get();
  }
  Http2Stream* NewStream() override {
    streams.push_back(std::make_unique<RecordingStream>(&session));
    return streams.back().get();
  }
  void OnPing() override { ++pings; }
  void OnPingAck(std::uint64_t payload) override { ping_ack = payload; }
  void OnResponseFrameSent() override { ++response_frames; }

  // Answers the newest stream with a body and trailers.
  void AnswerNewest(const std::string& body) {
    static const std::vector<nghttp2_nv> headers = {StaticHeader(":status", "200")};
    static const std::vector<nghttp2_nv> trailers = {StaticHeader("grpc-status", "0")};
    RecordingStream* stream = streams.back().get();
    session->Respond(stream, headers);
    WireMessage message;
    message.pieces.push_back({body, {}});
    session->SendBody(stream, "", std::move(message));
    session->SendTrailers(stream, trailers);
  }
  bool GoneCalm() {
    return !peer.goaways.empty() && peer.goaways.back().first == NGHTTP2_ENHANCE_YOUR_CALM;
  }

  std::vector<std::unique_ptr<RecordingStream>> streams;
  H2Peer peer;
  Http2Session* session = nullptr;
  int pings = 0;
  int response_frames = 0;
  std::uint64_t ping_ack = 0;

 private:
  std::unique_ptr<Http2Session> owned_;
};

TEST_F(Http2SessionTest, RequestAndResponseRoundTripSplitAtEveryByte) {
  peer.Request(GrpcHeaders("/a/b"), "hello");
  const std::string request = peer.TakeOutput();
  for (std::size_t split = 0; split <= request.size(); split += 3) {
    Restart({});
    session->Receive(AsBytes(request).first(split), 1);
    session->Receive(AsBytes(request).subspan(split), 1);
    ASSERT_EQ(streams.size(), 1u) << split;
    EXPECT_EQ(streams[0]->body, "hello");
    EXPECT_EQ(streams[0]->events, "HE");
  }
  AnswerNewest("world");
  Exchange(&peer, session);
  EXPECT_EQ(peer.answers[1].body, "world");
  EXPECT_EQ(peer.answers[1].header("grpc-status"), "0");
  EXPECT_EQ(peer.answers[1].closed, NGHTTP2_NO_ERROR);
  EXPECT_EQ(streams[0]->events, "HEC");
  EXPECT_EQ(session->open_streams(), 0u);
}

TEST_F(Http2SessionTest, ABodyAndTrailersMayComeLaterAndInPieces) {
  static const std::vector<nghttp2_nv> headers = {StaticHeader(":status", "200")};
  static const std::vector<nghttp2_nv> trailers = {StaticHeader("grpc-status", "0")};
  peer.Request(GrpcHeaders("/a/b"));
  Exchange(&peer, session);
  RecordingStream* stream = streams[0].get();
  session->Respond(stream, headers);
  Exchange(&peer, session);
  for (const char* piece : {"one", "two"}) {
    WireMessage message;
    message.pieces.push_back({piece, {}});
    session->SendBody(stream, "", std::move(message));
    Exchange(&peer, session);
  }
  EXPECT_EQ(peer.answers[1].body, "onetwo");
  EXPECT_FALSE(peer.answers[1].ended);
  session->SendTrailers(stream, trailers);
  Exchange(&peer, session);
  EXPECT_TRUE(peer.answers[1].ended);
}

TEST_F(Http2SessionTest, EarlyAnswerStopsTheSenderWithNoError) {
  static const std::vector<nghttp2_nv> headers = {StaticHeader(":status", "200"),
                                                  StaticHeader("grpc-status", "12")};
  const std::int32_t id = peer.Request(GrpcHeaders("/a/b"), "part", /*end=*/false);
  Exchange(&peer, session);
  session->RespondAndEnd(streams[0].get(), headers);
  Exchange(&peer, session);
  EXPECT_TRUE(peer.answers[id].ended);
  EXPECT_EQ(peer.answers[id].closed, NGHTTP2_NO_ERROR);
  EXPECT_EQ(streams[0]->closed_code, NGHTTP2_NO_ERROR);
}

TEST_F(Http2SessionTest, ResetByThePeerClosesTheStream) {
  const std::int32_t id = peer.Request(GrpcHeaders("/a/b"), "", /*end=*/false);
  Exchange(&peer, session);
  peer.Reset(id);
  Exchange(&peer, session);
  EXPECT_EQ(streams[0]->events, "HC");
  EXPECT_EQ(streams[0]->closed_code, NGHTTP2_CANCEL);
}

TEST_F(Http2SessionTest, DestructionClosesOpenStreams) {
  peer.Request(GrpcHeaders("/a/b"), "", /*end=*/false);
  Exchange(&peer, session);
  auto kept = std::move(streams);
  Restart({});
  EXPECT_EQ(kept[0]->events, "HC");
}

TEST_F(Http2SessionTest, WindowStaysClosedUntilBytesAreConsumed) {
  Http2Options options;
  options.stream_window_bytes = 70000;
  Restart(options);
  peer.Request(GrpcHeaders("/a/b"), "", /*end=*/false);
  Exchange(&peer, session);
  streams[0]->consume = false;
  peer.Send(1, std::string(200000, 'x'), true);
  Exchange(&peer, session);
  EXPECT_EQ(streams[0]->body.size(), 70000u);
  while (streams[0]->body.size() < 200000) {
    const std::size_t before = streams[0]->body.size();
    session->Consume(streams[0].get(), 70000);
    Exchange(&peer, session);
    ASSERT_GT(streams[0]->body.size(), before);
  }
  EXPECT_EQ(streams[0]->events, "HE");
}

TEST_F(Http2SessionTest, SixteenMegabytesArriveWithoutWaitingForTheWindow) {
  peer.Request(GrpcHeaders("/a/b"), "", /*end=*/false);
  Exchange(&peer, session);
  streams[0]->consume = false;
  peer.Send(1, std::string(16 << 20, 'x'), true);
  session->Receive(AsBytes(peer.TakeOutput()), 1);
  EXPECT_EQ(streams[0]->body.size(), std::size_t{16} << 20);
}

TEST_F(Http2SessionTest, PeerThatOpensNoWindowHoldsOnlyItsResponse) {
  H2Peer closed(/*auto_window=*/false);
  closed.Request(GrpcHeaders("/a/b"));
  Exchange(&closed, session);
  AnswerNewest(std::string(1 << 20, 'x'));
  Exchange(&closed, session);
  EXPECT_EQ(closed.answers[1].body.size(), 65535u);
  EXPECT_EQ(session->unsent_bytes(), (1u << 20) - 65535);
  closed.Reset(1);
  Exchange(&closed, session);
  EXPECT_EQ(session->unsent_bytes(), 0u);
}

TEST_F(Http2SessionTest, PingsAreReportedAndAnswered) {
  peer.Ping();
  Exchange(&peer, session);
  EXPECT_EQ(pings, 1);
  session->Ping(42);
  Exchange(&peer, session);
  EXPECT_EQ(ping_ack, 42u);
}

TEST_F(Http2SessionTest, ShutdownIsAnnouncedThenFinished) {
  peer.Request(GrpcHeaders("/a/b"));
  Exchange(&peer, session);
  session->AnnounceShutdown();
  Exchange(&peer, session);
  // Still accepted: the client may not have seen the announcement.
  ASSERT_THAT(peer.goaway_last_ids, testing::ElementsAre(0x7FFFFFFF));
  session->FinishShutdown();
  Exchange(&peer, session);
  EXPECT_THAT(peer.goaway_last_ids, testing::ElementsAre(0x7FFFFFFF, 1));
  EXPECT_FALSE(session->finished());
  AnswerNewest("late");
  Exchange(&peer, session);
  EXPECT_EQ(peer.answers[1].body, "late");
  EXPECT_TRUE(session->finished());
}

TEST_F(Http2SessionTest, FailureSendsItsReason) {
  peer.Request(GrpcHeaders("/a/b"));
  Exchange(&peer, session);
  session->Fail(NGHTTP2_ENHANCE_YOUR_CALM, "too_many_pings");
  Exchange(&peer, session);
  EXPECT_THAT(peer.goaways,
              testing::ElementsAre(testing::Pair(NGHTTP2_ENHANCE_YOUR_CALM, "too_many_pings")));
  EXPECT_TRUE(session->failed());
}

TEST_F(Http2SessionTest, RapidResetRunsOutOfItsBudget) {
  Exchange(&peer, session);
  for (int i = 0; i < 20000 && !session->failed(); ++i) {
    const std::int32_t id = peer.Request(GrpcHeaders("/a/b"), "", /*end=*/false);
    session->Receive(AsBytes(peer.TakeOutput()), 1);
    peer.Reset(id);
    session->Receive(AsBytes(peer.TakeOutput()), 1);
    TakeOutput(session);
  }
  EXPECT_TRUE(session->failed());
}

TEST_F(Http2SessionTest, ClientThatCancelsThousandsOfCallsIsSpared) {
  constexpr std::int64_t kTenthOfASecond = 100'000'000;
  std::int64_t now = kTenthOfASecond;
  // 9,000 at once, then 900 a second.
  for (int i = 0; i < 18000; ++i) {
    const std::int32_t id = peer.Request(GrpcHeaders("/a/b"), "", /*end=*/false);
    Exchange(&peer, session, now);
    peer.Reset(id);
    Exchange(&peer, session, now);
    if (i >= 9000 && i % 90 == 0) now += kTenthOfASecond;
    ASSERT_FALSE(session->failed()) << i;
  }
}

TEST_F(Http2SessionTest, SettingsFloodIsStopped) {
  session->Receive(AsBytes(kPreface), 1);
  for (int i = 0; i < 2000 && !session->failed(); ++i) {
    session->Receive(AsBytes(RawFrame(NGHTTP2_SETTINGS, 0, 0, "")), 1);
    TakeOutput(session);
  }
  EXPECT_TRUE(session->failed());
}

TEST_F(Http2SessionTest, PingFloodThatReadsNothingIsStopped) {
  session->Receive(AsBytes(kPreface), 1);
  const std::string ping = RawFrame(NGHTTP2_PING, 0, 0, "12345678");
  for (int i = 0; i < 5000 && !session->failed(); ++i) session->Receive(AsBytes(ping), 1);
  EXPECT_TRUE(session->failed());
}

TEST_F(Http2SessionTest, EmptyDataFloodIsStopped) {
  const std::int32_t id = peer.Request(GrpcHeaders("/a/b"), "", /*end=*/false);
  Exchange(&peer, session);
  for (int i = 0; i < 5000 && !session->failed(); ++i) {
    session->Receive(AsBytes(RawFrame(NGHTTP2_DATA, 0, id, "")), 1);
    TakeOutput(session);
  }
  EXPECT_TRUE(session->failed());
}

TEST_F(Http2SessionTest, ContinuationFloodIsStopped) {
  session->Receive(AsBytes(kPreface), 1);
  // :method POST (static table) in a block that never ends.
  session->Receive(AsBytes(RawFrame(NGHTTP2_HEADERS, 0, 1, "\x83")), 1);
  std::size_t sent = 0;
  for (int i = 0; i < 100000 && !session->failed(); ++i) {
    const std::string frame = RawFrame(kContinuation, 0, 1, "");
    session->Receive(AsBytes(frame), 1);
    TakeOutput(session);
    sent += frame.size();
    // nghttp2 may answer with a GOAWAY of its own; then nothing more is wanted.
    if (session->finished()) break;
  }
  EXPECT_TRUE(session->failed() || session->finished());
  EXPECT_LT(sent, 200u * 1024);
}

TEST_F(Http2SessionTest, GarbageEndsTheConnectionNotTheProcess) {
  session->Receive(AsBytes("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), 1);
  TakeOutput(session);
  EXPECT_TRUE(session->failed() || session->finished());
  Restart({});
  session->Receive(AsBytes(kPreface + RawFrame(NGHTTP2_DATA, 0, 1, "data on an idle stream")), 1);
  peer.Feed(TakeOutput(session));
  EXPECT_TRUE(session->failed() || session->finished());
}

}  // namespace
}  // namespace fastserve
