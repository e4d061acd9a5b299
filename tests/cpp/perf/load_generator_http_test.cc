// The load generator against a real HTTP server that answers, refuses, stalls and dies.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <functional>
#include <mutex>

#include "perf/load_generator.h"
#include "scripted_http_server.h"

namespace fastserve::perf {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

constexpr std::int64_t kSecondNs = 1'000'000'000;
const std::string kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

std::string Post(const std::string& body) {
  return "POST /infer HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + body;
}

LoadOptions Options(const ScriptedHttpServer& server, int concurrency) {
  LoadOptions options;
  options.host = "127.0.0.1";
  options.port = server.port();
  options.concurrency = options.connections = options.max_connections = concurrency;
  options.requests =
      std::make_shared<PreparedRequests>(PreparedRequests{{Post("hello"), std::nullopt}});
  return options;
}

std::unique_ptr<LoadGenerator> StartOrDie(const LoadOptions& options) {
  auto started = LoadGenerator::Start(options);
  EXPECT_TRUE(started.ok()) << started.status().message();
  return std::move(started).value();
}

// Waits without a deadline of its own: the test program's timeout ends a hang.
void WaitUntil(const std::function<bool()>& condition) {
  while (!condition()) std::this_thread::yield();
}

LoadSnapshot RunToEnd(const LoadOptions& options) {
  const auto generator = StartOrDie(options);
  WaitUntil([&] { return generator->finished(); });
  return generator->Snapshot();
}

std::int64_t Ended(const LoadSnapshot& snapshot) {
  return snapshot.counter(LoadCounter::completed) + snapshot.counter(LoadCounter::failed) +
         snapshot.counter(LoadCounter::abandoned);
}

TEST(HttpLoad, EveryRequestIsSentOnceAndCounted) {
  ScriptedHttpServer server(
      [](int, const std::string& request) { return request == Post("hello") ? kOk : ""; });
  LoadOptions options = Options(server, 4);
  options.max_requests = 1000;
  const LoadSnapshot snapshot = RunToEnd(options);
  EXPECT_EQ(snapshot.counter(LoadCounter::sent), 1000);
  EXPECT_EQ(snapshot.counter(LoadCounter::completed), 1000);
  EXPECT_EQ(snapshot.latencies.count(), 1000);
  EXPECT_EQ(snapshot.counter(LoadCounter::connected), 4);
  EXPECT_EQ(snapshot.counter(LoadCounter::sent_bytes),
            static_cast<std::int64_t>(1000 * Post("hello").size()));
  EXPECT_EQ(snapshot.counter(LoadCounter::received_bytes),
            static_cast<std::int64_t>(1000 * kOk.size()));
  EXPECT_EQ(server.requests(), 1000);
}

TEST(HttpLoad, ThreadsShareTheRequests) {
  ScriptedHttpServer server([](int, const std::string&) { return kOk; });
  LoadOptions options = Options(server, 5);
  options.threads = 3;
  options.max_requests = 301;
  EXPECT_EQ(RunToEnd(options).counter(LoadCounter::completed), 301);
}

TEST(HttpLoad, RequestsAreSentInTurnAndTheirAnswersCompared) {
  ScriptedHttpServer server([](int, const std::string& request) {
    const std::string body = request.substr(request.find("\r\n\r\n") + 4);
    return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  });
  LoadOptions options = Options(server, 2);
  options.requests = std::make_shared<PreparedRequests>(
      PreparedRequests{{Post("one"), "one"}, {Post("two"), "two"}, {Post("three"), "other"}});
  options.max_requests = 300;
  const LoadSnapshot snapshot = RunToEnd(options);
  EXPECT_EQ(snapshot.counter(LoadCounter::completed), 200);
  EXPECT_EQ(snapshot.counter(LoadCounter::mismatched), 100);
  EXPECT_EQ(snapshot.counter(LoadCounter::failed), 100);
}

TEST(HttpLoad, ErrorAnswersAreCountedWithTheirText) {
  ScriptedHttpServer server([](int number, const std::string&) {
    return number % 2 == 0
               ? kOk
               : "HTTP/1.1 400 Bad Request\r\nContent-Length: 17\r\n\r\n{\"error\":\"shape\"}";
  });
  LoadOptions options = Options(server, 1);
  options.max_requests = 10;
  const auto generator = StartOrDie(options);
  WaitUntil([&] { return generator->finished(); });
  EXPECT_EQ(generator->Snapshot().counter(LoadCounter::failed), 5);
  const auto errors = generator->Errors();
  ASSERT_THAT(errors, SizeIs(1));
  EXPECT_EQ(errors[0].first, "HTTP 400: {\"error\":\"shape\"}");
  EXPECT_EQ(errors[0].second, 5);
}

TEST(HttpLoad, AConnectionTheServerClosesIsOpenedAgain) {
  ScriptedHttpServer server([](int number, const std::string&) {
    return number % 2 == 0 ? "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
                           : "";
  });
  LoadOptions options = Options(server, 1);
  options.max_requests = 20;
  const LoadSnapshot snapshot = RunToEnd(options);
  EXPECT_EQ(snapshot.counter(LoadCounter::completed), 10);
  EXPECT_EQ(snapshot.counter(LoadCounter::failed), 10);
  EXPECT_EQ(snapshot.counter(LoadCounter::broken), 10);
}

TEST(HttpLoad, AServerThatDiesIsNoticed) {
  ScriptedHttpServer server([](int, const std::string&) { return kOk; });
  const auto generator = StartOrDie(Options(server, 3));
  WaitUntil([&] { return generator->Snapshot().counter(LoadCounter::completed) > 10; });
  server.Die();
  WaitUntil([&] { return generator->Snapshot().counter(LoadCounter::refused) > 2; });
  generator->Stop(kSecondNs);
  const LoadSnapshot snapshot = generator->Snapshot();
  EXPECT_EQ(snapshot.connections, 0);
  EXPECT_EQ(Ended(snapshot), snapshot.counter(LoadCounter::sent));
  bool refused = false;
  for (const auto& [text, count] : generator->Errors())
    refused |= text == "connecting: Connection refused";
  EXPECT_TRUE(refused);
}

TEST(HttpLoad, NobodyListeningIsAnErrorAtTheStart) {
  LoadOptions options;
  {
    ScriptedHttpServer server([](int, const std::string&) { return kOk; });
    options = Options(server, 1);
  }
  const auto started = LoadGenerator::Start(options);
  ASSERT_FALSE(started.ok());
  EXPECT_THAT(started.status().message(), HasSubstr("Connection refused"));
}

// Holds answers back until it is opened.
class Gate {
 public:
  void Pass() {
    std::unique_lock lock(mutex_);
    opened_.wait(lock, [this] { return open_; });
  }
  void Open() {
    const std::scoped_lock lock(mutex_);
    open_ = true;
    opened_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable opened_;
  bool open_ = false;
};

TEST(HttpLoad, AnOpenLoopCountsLatencyFromTheIntendedTime) {
  Gate gate;
  ScriptedHttpServer server([&](int number, const std::string&) {
    if (number == 0) gate.Pass();
    return kOk;
  });
  LoadOptions options = Options(server, 1);
  options.arrival = Arrival::kConstantRate;
  options.request_rate = 1000;
  options.max_requests = 200;
  const auto generator = StartOrDie(options);
  WaitUntil([&] { return generator->Snapshot().overdue > 150; });
  gate.Open();
  WaitUntil([&] { return generator->finished(); });
  const LoadSnapshot snapshot = generator->Snapshot();
  EXPECT_EQ(snapshot.counter(LoadCounter::completed), 200);
  // The stall of 150 ms delayed 150 requests, by 75 ms in the middle of them; a closed loop would
  // report one slow request.
  EXPECT_GE(snapshot.counter(LoadCounter::late), 100);
  EXPECT_GE(snapshot.latencies.PercentileNs(50), 40e6);
  EXPECT_GE(snapshot.latencies.PercentileNs(100), 140e6);
}

TEST(HttpLoad, AnOpenLoopOpensConnectionsWhenAllAreBusy) {
  Gate gate;
  ScriptedHttpServer server([&](int, const std::string&) {
    gate.Pass();
    return kOk;
  });
  LoadOptions options = Options(server, 1);
  options.concurrency = options.max_connections = 8;
  options.arrival = Arrival::kPoissonRate;
  options.request_rate = 5000;
  options.max_requests = 50;
  const auto generator = StartOrDie(options);
  WaitUntil([&] { return server.requests() == 8; });
  gate.Open();
  WaitUntil([&] { return generator->finished(); });
  EXPECT_EQ(generator->Snapshot().counter(LoadCounter::connected), 8);
  EXPECT_EQ(generator->Snapshot().counter(LoadCounter::completed), 50);
}

TEST(HttpLoad, AnAnswerThatDoesNotComeTimesOut) {
  Gate gate;
  ScriptedHttpServer server([&](int number, const std::string&) {
    if (number == 0) gate.Pass();
    return kOk;
  });
  LoadOptions options = Options(server, 1);
  options.request_timeout_ns = 20'000'000;
  options.max_requests = 2;
  const LoadSnapshot snapshot = RunToEnd(options);
  gate.Open();
  EXPECT_EQ(snapshot.counter(LoadCounter::timed_out), 1);
  EXPECT_EQ(snapshot.counter(LoadCounter::failed), 1);
  EXPECT_EQ(snapshot.counter(LoadCounter::completed), 1);
}

TEST(HttpLoad, StoppingDoesNotWaitLongerThanTheGraceTime) {
  Gate gate;
  ScriptedHttpServer server([&](int, const std::string&) {
    gate.Pass();
    return kOk;
  });
  const auto generator = StartOrDie(Options(server, 3));
  WaitUntil([&] { return server.requests() == 3; });
  generator->Stop(1'000'000);
  gate.Open();
  EXPECT_EQ(generator->Snapshot().counter(LoadCounter::abandoned), 3);
  EXPECT_EQ(generator->Snapshot().in_flight, 0);
}

TEST(HttpLoad, AbandonedRequestsCloseTheirConnectionAndTheRestGoesOn) {
  ScriptedHttpServer server([](int, const std::string&) { return kOk; });
  LoadOptions options = Options(server, 4);
  options.max_requests = 2000;
  options.abandon_fraction = 0.2;
  const LoadSnapshot snapshot = RunToEnd(options);
  EXPECT_EQ(Ended(snapshot), 2000);
  EXPECT_EQ(snapshot.counter(LoadCounter::failed), 0);
}

TEST(HttpLoad, ALargeRequestIsSentInPieces) {
  const std::string body(4'000'000, 'x');
  ScriptedHttpServer server([&](int, const std::string& request) {
    return request.size() == Post(body).size() ? kOk
                                               : "HTTP/1.1 400 short\r\nContent-Length: 0\r\n\r\n";
  });
  LoadOptions options = Options(server, 2);
  options.requests =
      std::make_shared<PreparedRequests>(PreparedRequests{{Post(body), std::nullopt}});
  options.max_requests = 4;
  EXPECT_EQ(RunToEnd(options).counter(LoadCounter::completed), 4);
}

TEST(HttpLoad, OptionsWithoutSenseAreRefused) {
  LoadOptions options;
  EXPECT_EQ(LoadGenerator::Start(options).status().code(), StatusCode::kInvalidArgument);
  options.requests = std::make_shared<PreparedRequests>(PreparedRequests{{"x", std::nullopt}});
  options.concurrency = 0;
  EXPECT_EQ(LoadGenerator::Start(options).status().code(), StatusCode::kInvalidArgument);
  options.concurrency = 1;
  options.arrival = Arrival::kPoissonRate;
  EXPECT_EQ(LoadGenerator::Start(options).status().code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace fastserve::perf
