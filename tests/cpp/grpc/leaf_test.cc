// The small grammars and policies: status, metadata, timeouts, budgets, keep-alive.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "base/clock.h"
#include "grpc/keepalive.h"
#include "grpc/metadata.h"
#include "grpc/status.h"
#include "grpc/timeout_heap.h"
#include "grpc/token_bucket.h"

namespace fastserve {
namespace {

constexpr std::int64_t kSecond = 1000 * kNsPerMs;

TEST(PercentEncoding, EscapesWhatIsNotPrintableAscii) {
  EXPECT_EQ(PercentEncode("plain text"), "plain text");
  EXPECT_EQ(PercentEncode("50%\n\xC3\xA9"), "50%25%0A%C3%A9");
}

TEST(PercentEncoding, DecodeUndoesEncodeForEveryByte) {
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes.push_back(static_cast<char>(i));
  EXPECT_EQ(PercentDecode(PercentEncode(bytes)), bytes);
}

TEST(PercentEncoding, MalformedEscapesStay) { EXPECT_EQ(PercentDecode("a%zz%4"), "a%zz%4"); }

TEST(StatusText, IsTheDecimalCode) {
  EXPECT_EQ(GrpcStatusText(GrpcStatusCode::kOk), "0");
  EXPECT_EQ(GrpcStatusText(GrpcStatusCode::kUnavailable), "14");
  EXPECT_EQ(GrpcStatusText(static_cast<GrpcStatusCode>(99)), "2");
}

TEST(GrpcTimeout, ReadsEveryUnit) {
  EXPECT_EQ(ParseGrpcTimeout("2H"), 7200 * kSecond);
  EXPECT_EQ(ParseGrpcTimeout("3M"), 180 * kSecond);
  EXPECT_EQ(ParseGrpcTimeout("4S"), 4 * kSecond);
  EXPECT_EQ(ParseGrpcTimeout("5m"), 5 * kNsPerMs);
  EXPECT_EQ(ParseGrpcTimeout("6u"), 6000);
  EXPECT_EQ(ParseGrpcTimeout("7n"), 7);
  EXPECT_EQ(ParseGrpcTimeout("0n"), 0);
}

TEST(GrpcTimeout, SaturatesAndRefusesWhatIsMalformed) {
  EXPECT_EQ(ParseGrpcTimeout("99999999H"), std::numeric_limits<std::int64_t>::max());
  for (const char* text : {"", "5", "S", "5s", "-1S", "123456789S", "1.5S", " 1S"}) {
    EXPECT_FALSE(ParseGrpcTimeout(text)) << text;
  }
}

TEST(Base64, RoundTripsWithAndWithoutPadding) {
  for (const std::string bytes : {"", "f", "fo", "foo", "foob"}) {
    const std::string text = EncodeBase64(bytes);
    EXPECT_EQ(DecodeBase64(text), bytes);
    EXPECT_EQ(DecodeBase64(text + std::string((4 - text.size() % 4) % 4, '=')), bytes);
  }
  EXPECT_FALSE(DecodeBase64("a"));
  EXPECT_FALSE(DecodeBase64("a*bc"));
}

TEST(RequestHead, KeepsWhatMattersAndCountsTheList) {
  RequestHead head;
  head.Add(":method", "POST");
  head.Add(":path", "/x/y");
  head.Add("content-type", "application/grpc+proto");
  head.Add("grpc-accept-encoding", "identity, gzip");
  head.Add("triton_grpc_error", "true");
  EXPECT_TRUE(head.is_post);
  EXPECT_EQ(head.content_type, RequestHead::ContentType::kGrpc);
  EXPECT_TRUE(head.accepts_gzip);
  EXPECT_FALSE(head.accepts_deflate);
  EXPECT_TRUE(head.triton_grpc_error);
  EXPECT_EQ(head.list_bytes, 11 + 9 + 34 + 34 + 21 + 5 * 32);
  head.Clear();
  EXPECT_EQ(head.content_type, RequestHead::ContentType::kMissing);
}

TEST(RequestHead, OtherContentTypesAreNotGrpc) {
  for (const char* type : {"application/json", "application/grpcx", "application/grp"}) {
    RequestHead head;
    head.Add("content-type", type);
    EXPECT_EQ(head.content_type, RequestHead::ContentType::kOther) << type;
  }
}

TEST(RequestHead, MalformedBinaryMetadataIsNamed) {
  RequestHead head;
  head.Add("good-bin", "AAEC");
  EXPECT_EQ(head.malformed, "");
  head.Add("trace-bin", "!!!");
  EXPECT_EQ(head.malformed, "trace-bin");
}

TEST(TimeoutHeap, FiresInOrderOfDeadlines) {
  TimeoutHeap heap;
  std::vector<int> fired;
  Timeout first([&] { fired.push_back(1); });
  Timeout second([&] { fired.push_back(2); });
  Timeout third([&] { fired.push_back(3); });
  heap.Arm(&second, 20);
  heap.Arm(&third, 30);
  heap.Arm(&first, 10);
  heap.FireDue(20);
  EXPECT_THAT(fired, testing::ElementsAre(1, 2));
  EXPECT_EQ(heap.next_deadline_ns(), 30);
}

TEST(TimeoutHeap, DestructionAndDisarmTakeOut) {
  TimeoutHeap heap;
  {
    Timeout gone([] { FAIL(); });
    heap.Arm(&gone, 1);
  }
  Timeout disarmed([] { FAIL(); });
  heap.Arm(&disarmed, 1);
  heap.Disarm(&disarmed);
  heap.FireDue(100);
  EXPECT_EQ(heap.next_deadline_ns(), TimeoutHeap::kNever);
}

TEST(TimeoutHeap, KeepsItsOrderUnderRandomUse) {
  TimeoutHeap heap;
  std::mt19937 random(7);
  std::vector<std::int64_t> deadlines(200, -1);
  std::int64_t last = 0;
  std::int64_t now = 0;
  std::vector<std::unique_ptr<Timeout>> timeouts;
  for (std::size_t i = 0; i < deadlines.size(); ++i) {
    timeouts.push_back(std::make_unique<Timeout>([&, i] {
      EXPECT_LE(deadlines[i], now);
      EXPECT_GE(deadlines[i], last);
      last = deadlines[i];
      deadlines[i] = -1;
    }));
  }
  for (int step = 0; step < 20000; ++step) {
    const std::size_t i = random() % deadlines.size();
    if (random() % 3 == 0) {
      heap.Disarm(timeouts[i].get());
      deadlines[i] = -1;
    } else {
      deadlines[i] = now + 1 + static_cast<std::int64_t>(random() % 1000);
      heap.Arm(timeouts[i].get(), deadlines[i]);
    }
    if (step % 10 != 0) continue;
    now += static_cast<std::int64_t>(random() % 50);
    last = 0;
    heap.FireDue(now);
    std::int64_t earliest = TimeoutHeap::kNever;
    for (const std::int64_t deadline : deadlines) {
      if (deadline >= 0) earliest = std::min(earliest, deadline);
    }
    ASSERT_EQ(heap.next_deadline_ns(), earliest);
  }
}

TEST(TokenBucket, RefillsWithTimeUpToItsBurst) {
  TokenBucket bucket(10, 5);
  EXPECT_TRUE(bucket.Take(10, kSecond));
  EXPECT_FALSE(bucket.Take(1, kSecond));
  EXPECT_TRUE(bucket.Take(5, 2 * kSecond));
  EXPECT_FALSE(bucket.Take(1, 2 * kSecond));
  EXPECT_TRUE(bucket.Take(10, 1000 * kSecond));
  EXPECT_FALSE(bucket.Take(1, 1000 * kSecond));
  bucket.GiveBack(1);
  EXPECT_TRUE(bucket.Take(1, 1000 * kSecond));
}

TEST(KeepAlive, TooManyPingsAreRefusedAfterTheStrikes) {
  KeepAlive keepalive({}, kSecond);
  EXPECT_TRUE(keepalive.AllowPing(10 * kSecond, true));
  EXPECT_TRUE(keepalive.AllowPing(11 * kSecond, true));
  EXPECT_TRUE(keepalive.AllowPing(12 * kSecond, true));
  EXPECT_FALSE(keepalive.AllowPing(13 * kSecond, true));
}

TEST(KeepAlive, PingsAreForgivenByAResponseAndByTheInterval) {
  KeepAlive keepalive({}, kSecond);
  std::int64_t now = kSecond;
  for (int i = 0; i < 100; ++i) {
    EXPECT_TRUE(keepalive.AllowPing(now, true));
    EXPECT_TRUE(keepalive.AllowPing(now, true));
    keepalive.OnResponseFrameSent();
  }
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(keepalive.AllowPing(now += 300 * kSecond, true));
}

TEST(KeepAlive, WithoutCallsTwoHoursMustLieBetweenPings) {
  KeepAliveOptions options;
  options.max_ping_strikes = 1;
  KeepAlive strict(options, kSecond);
  EXPECT_TRUE(strict.AllowPing(kSecond, false));
  EXPECT_TRUE(strict.AllowPing(600 * kSecond, false));
  EXPECT_FALSE(strict.AllowPing(1200 * kSecond, false));
  options.permit_without_calls = true;
  KeepAlive lenient(options, kSecond);
  for (int i = 1; i < 10; ++i) EXPECT_TRUE(lenient.AllowPing(i * 600 * kSecond, false));
}

TEST(KeepAlive, SilentPeerIsPingedThenGivenUp) {
  KeepAliveOptions options;
  options.time_ms = 1000;
  options.timeout_ms = 500;
  KeepAlive keepalive(options, 0);
  EXPECT_EQ(keepalive.Check(999 * kNsPerMs, true), KeepAlive::Action::kNone);
  EXPECT_EQ(keepalive.Check(1000 * kNsPerMs, true), KeepAlive::Action::kSendPing);
  EXPECT_EQ(keepalive.next_deadline_ns(), 1500 * kNsPerMs);
  keepalive.OnReceived(1400 * kNsPerMs);
  EXPECT_EQ(keepalive.Check(1500 * kNsPerMs, true), KeepAlive::Action::kNone);
  EXPECT_EQ(keepalive.next_deadline_ns(), 2400 * kNsPerMs);
  EXPECT_EQ(keepalive.Check(2400 * kNsPerMs, true), KeepAlive::Action::kSendPing);
  EXPECT_EQ(keepalive.Check(2900 * kNsPerMs, true), KeepAlive::Action::kClose);
}

TEST(KeepAlive, IdleConnectionsAreNotPingedUnlessPermitted) {
  KeepAliveOptions options;
  options.time_ms = 1000;
  KeepAlive keepalive(options, 0);
  EXPECT_EQ(keepalive.Check(1000 * kNsPerMs, false), KeepAlive::Action::kNone);
  EXPECT_EQ(keepalive.next_deadline_ns(), 2000 * kNsPerMs);
}

}  // namespace
}  // namespace fastserve
