// The load generator against a real gRPC server of canned replies.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "perf/canned_grpc_server.h"
#include "perf/failure_text.h"
#include "perf/load_generator.h"

namespace fastserve::perf {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

const std::map<std::string, CannedReply> kReplies = {
    {"/s/Ok", {.message = "pong"}},
    {"/s/Large", {.message = std::string(5'000'000, 'z')}},
    {"/s/Bad", {.message = {}, .grpc_status = 3, .grpc_message = "shape %5B3%5D"}},
    {"/s/Never", {.message = {}, .never = true}},
    {"/s/Reset", {.message = {}, .reset = true}},
};

class GrpcLoad : public testing::Test {
 protected:
  GrpcLoad() : server_(std::move(CannedGrpcServer::Start(kReplies, 0)).value()) {}

  LoadOptions Options(const std::string& path, int concurrency, int connections) const {
    LoadOptions options;
    options.protocol = Protocol::kGrpc;
    options.host = "127.0.0.1";
    options.port = std::to_string(server_->port());
    options.grpc_path = path;
    options.concurrency = concurrency;
    options.connections = options.max_connections = connections;
    options.requests = std::make_shared<PreparedRequests>(PreparedRequests{{"ping", "pong"}});
    options.request_timeout_ns = 20'000'000'000;
    return options;
  }

  static std::unique_ptr<LoadGenerator> RunToEnd(const LoadOptions& options) {
    auto started = LoadGenerator::Start(options);
    EXPECT_TRUE(started.ok()) << started.status().message();
    while (!(*started)->finished()) std::this_thread::yield();
    return std::move(started).value();
  }

  std::unique_ptr<CannedGrpcServer> server_;
};

TEST_F(GrpcLoad, StreamsShareConnections) {
  LoadOptions options = Options("/s/Ok", 16, 2);
  options.max_requests = 5000;
  const LoadSnapshot snapshot = RunToEnd(options)->Snapshot();
  EXPECT_EQ(snapshot.counter(LoadCounter::completed), 5000);
  EXPECT_EQ(snapshot.counter(LoadCounter::failed), 0);
  EXPECT_EQ(snapshot.counter(LoadCounter::connected), 2);
  EXPECT_EQ(snapshot.latencies.count(), 5000);
}

TEST_F(GrpcLoad, LargeMessagesArriveWholeBothWays) {
  LoadOptions options = Options("/s/Large", 3, 1);
  options.requests = std::make_shared<PreparedRequests>(
      PreparedRequests{{std::string(5'000'000, 'a'), std::string(5'000'000, 'z')}});
  options.max_requests = 6;
  EXPECT_EQ(RunToEnd(options)->Snapshot().counter(LoadCounter::completed), 6);
}

TEST_F(GrpcLoad, AnotherAnswerThanTheExpectedIsCounted) {
  LoadOptions options = Options("/s/Ok", 1, 1);
  options.requests = std::make_shared<PreparedRequests>(PreparedRequests{{"ping", "song"}});
  options.max_requests = 3;
  EXPECT_EQ(RunToEnd(options)->Snapshot().counter(LoadCounter::mismatched), 3);
}

TEST_F(GrpcLoad, StatusTextsAreDecodedAndCounted) {
  LoadOptions options = Options("/s/Bad", 2, 1);
  options.max_requests = 7;
  const auto errors = RunToEnd(options)->Errors();
  ASSERT_THAT(errors, SizeIs(1));
  EXPECT_EQ(errors[0].first, "gRPC 3 INVALID_ARGUMENT: shape [3]");
  EXPECT_EQ(errors[0].second, 7);
}

TEST_F(GrpcLoad, AResetStreamFailsItsRequestOnly) {
  LoadOptions options = Options("/s/Reset", 2, 1);
  options.max_requests = 4;
  const auto generator = RunToEnd(options);
  EXPECT_EQ(generator->Snapshot().counter(LoadCounter::failed), 4);
  EXPECT_EQ(generator->Snapshot().counter(LoadCounter::connected), 1);
  EXPECT_THAT(generator->Errors()[0].first, HasSubstr("reset the stream"));
}

TEST_F(GrpcLoad, TimedOutCallsAreCancelledOnTheSameConnection) {
  LoadOptions options = Options("/s/Never", 2, 1);
  options.request_timeout_ns = 5'000'000;
  options.max_requests = 6;
  const LoadSnapshot snapshot = RunToEnd(options)->Snapshot();
  EXPECT_EQ(snapshot.counter(LoadCounter::timed_out), 6);
  EXPECT_EQ(snapshot.counter(LoadCounter::connected), 1);
}

TEST_F(GrpcLoad, AbandonedCallsAreCounted) {
  LoadOptions options = Options("/s/Never", 4, 2);
  options.abandon_fraction = 1;
  options.abandon_within_ns = 2'000'000;
  options.max_requests = 50;
  const LoadSnapshot snapshot = RunToEnd(options)->Snapshot();
  EXPECT_EQ(snapshot.counter(LoadCounter::abandoned), 50);
  EXPECT_EQ(snapshot.counter(LoadCounter::failed), 0);
}

TEST_F(GrpcLoad, AnOpenLoopKeepsItsRate) {
  LoadOptions options = Options("/s/Ok", 64, 2);
  options.arrival = Arrival::kConstantRate;
  options.request_rate = 2000;
  options.max_requests = 400;
  const std::int64_t begin_ns = MonotonicNs();
  EXPECT_EQ(RunToEnd(options)->Snapshot().counter(LoadCounter::completed), 400);
  EXPECT_GE(MonotonicNs() - begin_ns, 199'000'000);  // never faster than asked
}

TEST_F(GrpcLoad, OneCallReturnsTheMessage) {
  const auto reply = CallOnce(Options("/s/Ok", 1, 1));
  ASSERT_TRUE(reply.ok()) << reply.status().message();
  EXPECT_EQ(reply->grpc_status, 0);
  EXPECT_EQ(reply->message, "pong");
}

TEST_F(GrpcLoad, OneCallReturnsTheErrorOfTheServer) {
  const auto reply = CallOnce(Options("/s/Other", 1, 1));
  ASSERT_TRUE(reply.ok()) << reply.status().message();
  EXPECT_EQ(reply->grpc_status, 12);
  EXPECT_EQ(reply->grpc_message, "no such method");
}

TEST_F(GrpcLoad, OneCallThatIsNotAnsweredEnds) {
  LoadOptions options = Options("/s/Never", 1, 1);
  options.request_timeout_ns = 20'000'000;
  EXPECT_FALSE(CallOnce(options).ok());
}

TEST(DecodeGrpcMessage, LeavesWhatIsNoEscapeAlone) {
  EXPECT_EQ(DecodeGrpcMessage("a%20b%"), "a b%");
  EXPECT_EQ(DecodeGrpcMessage("%zz%4"), "%zz%4");
  EXPECT_EQ(DecodeGrpcMessage("%41"), "A");
}

}  // namespace
}  // namespace fastserve::perf
