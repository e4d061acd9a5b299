// The connection state machine: bytes in, actions out, without sockets, Python or an engine.
#include "http/connection.h"

#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "http/infer_target.h"

namespace fastserve {
namespace {

class StoppedClock : public Clock {
 public:
  std::int64_t NowNs() const override { return now_ns; }
  std::int64_t WallMs() const override { return 0; }
  std::int64_t now_ns = 1;
};

class RecordingTransport : public HttpTransport {
 public:
  void Write(std::string head, WireMessage body) override { written += head + body.Flatten(); }
  void Delegate(std::span<const std::byte> bytes) override {
    delegated.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  void PauseReading() override { paused = true; }
  void ResumeReading() override { paused = false; }
  void WriteEof() override { eof_written = true; }
  void Close() override { closed = true; }
  void Abort() override { aborted = true; }
  std::size_t UnsentBytes() override { return unsent; }

  std::string written;
  std::string delegated;
  std::size_t unsent = 0;
  bool paused = false;
  bool eof_written = false;
  bool closed = false;
  bool aborted = false;
};

class RecordingStarter : public InferStarter {
 public:
  void Start(InferCall call) override {
    bodies.emplace_back(reinterpret_cast<const char*>(call.body.data), call.body.size);
    calls.push_back(std::move(call));
  }
  // The reply's body is `text`.
  void Answer(const std::string& text) {
    InferCall call = std::move(calls.front());
    calls.pop_front();
    InferReply reply;
    reply.body.pieces.push_back({text, {}});
    call.target->OnReply(std::move(reply));
  }

  std::deque<InferCall> calls;
  std::vector<std::string> bodies;
};

class HttpConnectionTest : public ::testing::Test {
 protected:
  HttpConnectionTest() { Reopen(); }

  void Reopen() {
    shared_ = std::make_shared<HttpShared>();
    shared_->clock = &clock_;
    shared_->starter = &starter_;
    shared_->budget = budget_;
    shared_->options.max_input_bytes = 1000;
    shared_->scratch = std::make_unique<std::byte[]>(shared_->options.scratch_bytes);
    transport_ = std::make_unique<RecordingTransport>();
    starter_.calls.clear();
    starter_.bodies.clear();
    connection_ = std::make_shared<HttpConnection>(shared_, transport_.get());
  }

  // Delivers as the event loop does: as much as the buffer holds, nothing while reading is paused.
  // Returns what was taken.
  std::size_t Receive(std::string_view text) {
    const std::size_t size = text.size();
    while (!text.empty() && !transport_->paused) {
      const std::span<std::byte> buffer = connection_->ReadBuffer();
      const std::size_t taken = std::min(buffer.size(), text.size());
      std::memcpy(buffer.data(), text.data(), taken);
      connection_->OnReceived(taken);
      text.remove_prefix(taken);
    }
    return size - text.size();
  }

  StoppedClock clock_;
  RecordingStarter starter_;
  const std::shared_ptr<ByteBudget> budget_ = std::make_shared<ByteBudget>(5000);
  std::shared_ptr<HttpShared> shared_;
  std::unique_ptr<RecordingTransport> transport_;
  std::shared_ptr<HttpConnection> connection_;
};

std::string Infer(const std::string& model, const std::string& body,
                  const std::string& fields = "") {
  return "POST /v2/models/" + model + "/infer HTTP/1.1\r\nHost: h\r\n" + fields +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

const char kGet[] = "GET /v2/health/ready HTTP/1.1\r\nHost: h\r\n\r\n";

TEST_F(HttpConnectionTest, StartsAPlainInferRequestWithItsBody) {
  Receive(Infer("m%31", "{}"));
  ASSERT_EQ(starter_.calls.size(), 1u);
  EXPECT_EQ(starter_.calls[0].request->model_name, "m1");
  EXPECT_EQ(starter_.calls[0].request->model_version, -1);
  EXPECT_EQ(starter_.calls[0].json_size, 2u);
  starter_.Answer("answer");
  EXPECT_EQ(transport_->written,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 6\r\n\r\nanswer");
  EXPECT_TRUE(connection_->idle());
}

TEST_F(HttpConnectionTest, ReceivesTheSameHoweverTheBytesAreCut) {
  const std::string text = Infer("a", "first body") + kGet + Infer("b", "second");
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    Reopen();
    std::string rest = text;
    rest.erase(0, Receive(std::string_view(text).substr(0, cut)));
    for (int turn = 0; turn < 8; ++turn) {
      if (!starter_.calls.empty()) starter_.Answer("x");
      if (transport_->delegated == kGet) connection_->OnDelegateEnded(true);
      rest.erase(0, Receive(rest));
    }
    EXPECT_EQ(starter_.bodies, (std::vector<std::string>{"first body", "second"}))
        << "cut at " << cut;
    EXPECT_EQ(transport_->delegated, kGet) << "cut at " << cut;
    EXPECT_TRUE(rest.empty());
    EXPECT_TRUE(connection_->idle());
  }
}

TEST_F(HttpConnectionTest, AnswersPipelinedRequestsInOrderOneAtATime) {
  Receive(Infer("a", "1") + kGet + Infer("b", "2"));
  ASSERT_EQ(starter_.calls.size(), 1u);
  EXPECT_EQ(transport_->delegated, "");
  EXPECT_TRUE(transport_->paused);
  starter_.Answer("one");
  EXPECT_EQ(transport_->delegated, kGet);
  EXPECT_TRUE(starter_.calls.empty());
  connection_->OnDelegateEnded(true);
  ASSERT_EQ(starter_.calls.size(), 1u);
  EXPECT_EQ(starter_.calls[0].request->model_name, "b");
  EXPECT_FALSE(transport_->paused);
}

TEST_F(HttpConnectionTest, AlignsTheFirstBinaryTensor) {
  const std::string fields = "Inference-Header-Content-Length: 3\r\n";
  Receive(Infer("m", "{ }" + std::string(64, 'x'), fields));
  ASSERT_EQ(starter_.calls.size(), 1u);
  const InferCall& call = starter_.calls[0];
  EXPECT_EQ(call.json_size, 3u);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(call.body.data + call.json_size) % kBufferAlignment,
            0u);
}

TEST_F(HttpConnectionTest, ReceivesALargeBodyInPlace) {
  const std::string body(900, 'b');
  const std::string text = Infer("m", body);
  Receive(text.substr(0, text.size() - 800));
  const std::span<std::byte> buffer = connection_->ReadBuffer();
  EXPECT_EQ(buffer.size(), 800u);
  EXPECT_NE(buffer.data(), shared_->scratch.get());
  Receive(text.substr(text.size() - 800));
  ASSERT_EQ(starter_.bodies.size(), 1u);
  EXPECT_EQ(starter_.bodies[0], body);
}

TEST_F(HttpConnectionTest, DelegatesEverythingThatIsNotPlain) {
  const std::vector<std::string> fields = {"Expect: 100-continue\r\n", "Content-Encoding: gzip\r\n",
                                           "Accept-Encoding: gzip, deflate\r\n"};
  for (const std::string& field : fields) {
    Reopen();
    const std::string text = Infer("m", "{}", field);
    Receive(text);
    EXPECT_EQ(transport_->delegated, text);
    EXPECT_TRUE(starter_.calls.empty());
  }
  Reopen();
  const std::string chunked =
      "POST /v2/models/m/infer HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
  Receive(chunked + kGet);
  EXPECT_EQ(transport_->delegated, chunked);
  EXPECT_TRUE(transport_->paused);
  connection_->OnDelegateEnded(true);
  EXPECT_EQ(transport_->delegated, chunked + kGet);
}

TEST_F(HttpConnectionTest, SkipsABodyThatTheHandlerDidNotRead) {
  const std::string head = "POST /nothing HTTP/1.1\r\nContent-Length: 10\r\n\r\n";
  Receive(head + "01234");
  connection_->OnDelegateEnded(true);
  EXPECT_FALSE(connection_->idle());
  Receive(std::string("56789") + kGet);
  EXPECT_EQ(transport_->delegated, head + "0123456789" + kGet);
}

TEST_F(HttpConnectionTest, LeavesAnUpgradeWithAiohttp) {
  Receive("GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
  Receive("not HTTP");
  EXPECT_TRUE(transport_->delegated.ends_with("\r\n\r\nnot HTTP"));
}

TEST_F(HttpConnectionTest, LeavesBrokenChunksWithAiohttp) {
  Receive("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
  Receive(Infer("m", "{}"));
  EXPECT_TRUE(starter_.calls.empty());
  EXPECT_NE(transport_->delegated.find("infer"), std::string::npos);
}

TEST_F(HttpConnectionTest, RefusesAnOversizeBodyWithoutReadingIt) {
  Receive("POST /v2/models/m/infer HTTP/1.1\r\nContent-Length: 1001\r\n\r\n");
  EXPECT_TRUE(transport_->written.starts_with("HTTP/1.1 400 ")) << transport_->written;
  EXPECT_NE(transport_->written.find("exceeds the maximum allowed input size of 1000 bytes"),
            std::string::npos);
  EXPECT_NE(transport_->written.find("Connection: close"), std::string::npos);
  EXPECT_TRUE(transport_->eof_written);
  Receive(std::string(1001, 'x'));  // ignored
  EXPECT_TRUE(starter_.calls.empty());
}

TEST_F(HttpConnectionTest, RefusesABadInferenceHeaderLength) {
  for (const std::string value : {"-1", "3", "abc", "", "99999999999999999999", "1 "}) {
    Reopen();
    Receive(Infer("m", "{}", "Inference-Header-Content-Length: " + value + "x\r\n"));
    EXPECT_TRUE(transport_->written.starts_with("HTTP/1.1 400 ")) << value;
    EXPECT_TRUE(starter_.calls.empty());
  }
  Reopen();
  Receive(Infer("m", "{}", "Inference-Header-Content-Length: 3\r\n"));
  EXPECT_NE(
      transport_->written.find("inference request header size should be in range (0, 2], got: 3"),
      std::string::npos);
}

TEST_F(HttpConnectionTest, RefusesWhatCannotBeFramed) {
  Receive("POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n");
  EXPECT_TRUE(transport_->written.starts_with("HTTP/1.1 400 "));
  EXPECT_TRUE(transport_->delegated.empty());
  EXPECT_TRUE(transport_->eof_written);
}

TEST_F(HttpConnectionTest, ClosesWhenTheClientAsksForIt) {
  Receive(Infer("m", "{}", "Connection: close\r\n"));
  starter_.Answer("x");
  EXPECT_NE(transport_->written.find("Connection: close"), std::string::npos);
  EXPECT_TRUE(transport_->closed);
}

TEST_F(HttpConnectionTest, CancelsTheRequestWhenThePeerLeaves) {
  Receive(Infer("m", "{}"));
  const RequestPtr request = starter_.calls[0].request;
  connection_->OnEof();
  EXPECT_TRUE(request->cancelled());
  connection_->OnLost();
  starter_.Answer("late");
  EXPECT_EQ(transport_->written, "");
}

TEST_F(HttpConnectionTest, AReaderThatStallsStopsReadingAndExecuting) {
  Receive(Infer("m", "1") + Infer("m", "2"));
  connection_->OnWritable(false);
  starter_.Answer("one");
  EXPECT_TRUE(starter_.calls.empty());
  EXPECT_TRUE(transport_->paused);
  connection_->OnWritable(true);
  EXPECT_EQ(starter_.calls.size(), 1u);
  EXPECT_FALSE(transport_->paused);
}

TEST_F(HttpConnectionTest, AbortsAReaderThatStallsTooLong) {
  connection_->OnWritable(false);
  connection_->OnTick(clock_.now_ns + shared_->options.stall_timeout_ns - 1);
  EXPECT_FALSE(transport_->aborted);
  connection_->OnTick(clock_.now_ns + shared_->options.stall_timeout_ns);
  EXPECT_TRUE(transport_->aborted);
}

TEST_F(HttpConnectionTest, KeepsAReaderThatIsOnlySlow) {
  transport_->unsent = 1000;
  connection_->OnWritable(false);
  for (int i = 0; i < 5; ++i) {
    transport_->unsent -= 100;
    clock_.now_ns += shared_->options.stall_timeout_ns;
    connection_->OnTick(clock_.now_ns);
  }
  EXPECT_FALSE(transport_->aborted);
  connection_->OnTick(clock_.now_ns + shared_->options.stall_timeout_ns);
  EXPECT_TRUE(transport_->aborted);
}

TEST_F(HttpConnectionTest, ClosesAnIdleConnection) {
  connection_->OnTick(clock_.now_ns + shared_->options.idle_timeout_ns - 1);
  EXPECT_FALSE(transport_->closed);
  connection_->OnTick(clock_.now_ns + shared_->options.idle_timeout_ns);
  EXPECT_TRUE(transport_->closed);
  EXPECT_EQ(transport_->written, "");
}

TEST_F(HttpConnectionTest, ASlowHeadIsRefusedAlthoughBytesKeepComing) {
  const std::int64_t start = clock_.now_ns;
  Receive("P");
  clock_.now_ns = start + shared_->options.head_timeout_ns / 2;
  Receive("OST /");
  connection_->OnTick(start + shared_->options.head_timeout_ns);
  EXPECT_TRUE(transport_->written.starts_with("HTTP/1.1 408 "));
}

TEST_F(HttpConnectionTest, ABodyThatStopsIsRefused) {
  Receive("POST /v2/models/m/infer HTTP/1.1\r\nContent-Length: 10\r\n\r\n01");
  connection_->OnTick(clock_.now_ns + shared_->options.body_timeout_ns);
  EXPECT_TRUE(transport_->written.starts_with("HTTP/1.1 408 "));
  EXPECT_TRUE(starter_.calls.empty());
}

TEST_F(HttpConnectionTest, ABodyThatTricklesIsRefused) {
  const std::int64_t start = clock_.now_ns;
  Receive("POST /v2/models/m/infer HTTP/1.1\r\nContent-Length: 100\r\n\r\n");
  for (int i = 0; i < 4; ++i) {
    clock_.now_ns += shared_->options.body_timeout_ns / 2;
    Receive("x");
    connection_->OnTick(clock_.now_ns);
  }
  EXPECT_GT(clock_.now_ns, start + shared_->options.body_timeout_ns);
  EXPECT_TRUE(transport_->written.starts_with("HTTP/1.1 408 "));
}

TEST_F(HttpConnectionTest, ArrivingBytesCountUntilTheBodyIsHandedOver) {
  const std::string text = Infer("m", std::string(900, 'b'));
  Receive(text.substr(0, text.size() - 800));
  EXPECT_EQ(budget_->used_bytes(), 100u);
  Receive(text.substr(text.size() - 800, 300));
  EXPECT_EQ(budget_->used_bytes(), 400u);
  Receive(text.substr(text.size() - 500));
  ASSERT_EQ(starter_.calls.size(), 1u);
  EXPECT_EQ(budget_->used_bytes(), 900u);
  starter_.calls[0].body_claim.Release();
  EXPECT_EQ(budget_->used_bytes(), 0u);
  starter_.Answer("x");
  Receive(Infer("m", "next"));
  EXPECT_EQ(budget_->used_bytes(), 4u);
}

TEST_F(HttpConnectionTest, ABodyForWhichThereIsNoRoomIsRefused) {
  ASSERT_TRUE(budget_->TryTake(4'500));
  const std::string text = Infer("m", std::string(900, 'b'));
  Receive(text);  // no room from the start
  const std::string refusal =
      "request of 900 bytes: 4500 of 5000 bytes are in flight "
      "(--max-inflight-bytes)";
  EXPECT_TRUE(transport_->written.starts_with("HTTP/1.1 503 ")) << transport_->written;
  EXPECT_NE(transport_->written.find(refusal), std::string::npos) << transport_->written;
  EXPECT_EQ(budget_->used_bytes(), 4'500u);

  Reopen();
  Receive(text.substr(0, text.size() - 450));
  EXPECT_EQ(transport_->written, "");
  EXPECT_EQ(budget_->used_bytes(), 4'950u);
  Receive(text.substr(text.size() - 450));  // no room in the middle
  EXPECT_TRUE(transport_->written.starts_with("HTTP/1.1 503 ")) << transport_->written;
  EXPECT_TRUE(starter_.calls.empty());
  EXPECT_TRUE(transport_->eof_written);
  EXPECT_EQ(budget_->used_bytes(), 4'500u);
}

TEST_F(HttpConnectionTest, ABodyThatNeverComesGivesItsBytesBack) {
  const std::string part = "POST /v2/models/m/infer HTTP/1.1\r\nContent-Length: 10\r\n\r\n01";
  for (const int end : {0, 1, 2}) {
    Reopen();
    Receive(part);
    EXPECT_EQ(budget_->used_bytes(), 2u);
    if (end == 0) connection_->OnEof();
    if (end == 1) connection_->OnLost();
    if (end == 2) connection_->OnTick(clock_.now_ns + shared_->options.body_timeout_ns);
    EXPECT_EQ(budget_->used_bytes(), 0u) << "end " << end;
  }
}

TEST_F(HttpConnectionTest, AnExecutingRequestHasNoTimeout) {
  Receive(Infer("m", "{}"));
  connection_->OnTick(clock_.now_ns + shared_->options.idle_timeout_ns * 2);
  EXPECT_FALSE(transport_->closed);
  EXPECT_FALSE(transport_->aborted);
}

TEST_F(HttpConnectionTest, DrainClosesIdleConnectionsAndEndsBusyOnesWithTheirResponse) {
  Receive(Infer("m", "{}"));
  shared_->draining = true;
  connection_->OnDrain();
  EXPECT_FALSE(transport_->closed);
  starter_.Answer("x");
  EXPECT_NE(transport_->written.find("Connection: close"), std::string::npos);
  EXPECT_TRUE(transport_->closed);
  Reopen();
  connection_->OnDrain();
  EXPECT_TRUE(transport_->closed);
}

TEST(ParseInferTarget, TellsInferPathsFromOthers) {
  InferTarget target;
  EXPECT_TRUE(ParseInferTarget("/v2/models/m/versions/12/infer?a=b", &target));
  EXPECT_EQ(target.model_name, "m");
  EXPECT_EQ(target.model_version, 12);
  for (const std::string_view path :
       {"/v2/models/infer", "/v2/models//infer", "/v2/models/m/infer/",
        "/v2/models/m/versions//infer", "/v2/models/m/versions/x/infer",
        "/v2/models/m/versions/0/infer", "/v2/models/m/versions/99999999999999999999/infer",
        "/v2/models/a/b/infer", "/v2/models/m%2/infer", "/v2/models/m%zz/infer",
        "/v2/models/m/ready", "/v3/models/m/infer"}) {
    EXPECT_FALSE(ParseInferTarget(path, &target)) << path;
  }
}

}  // namespace
}  // namespace fastserve
