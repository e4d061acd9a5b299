// Every response is framed alike however its bytes arrive.
#include "perf/http_response_reader.h"

#include <gtest/gtest.h>

#include <string>

namespace fastserve::perf {
namespace {

struct Case {
  const char* name;
  std::string wire;
  int status;
  std::string body;
  bool keep_alive;
};

const Case kCases[] = {
    {"ContentLength", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello", true},
    {"NoBody", "HTTP/1.1 404 Not Found\r\ncontent-length:0\r\n\r\n", 404, "", true},
    {"Chunked",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nA: "
     "b\r\n\r\n",
     200, "hello", true},
    {"Interim", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200,
     "ok", true},
    {"Closing", "HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno", 503, "no",
     false},
    {"NoContent", "HTTP/1.1 204 No Content\r\n\r\n", 204, "", true},
    {"OldVersion", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", false},
};

class EveryResponse : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    body_.Reset(nullptr, 1000, 0);
    reader_.Start(&body_);
  }
  void ExpectDone() {
    EXPECT_TRUE(reader_.done());
    EXPECT_EQ(reader_.status(), GetParam().status);
    EXPECT_EQ(body_.kept(), GetParam().body);
    EXPECT_EQ(reader_.keep_alive(), GetParam().keep_alive);
  }
  ResponseBody body_;
  HttpResponseReader reader_;
};

TEST_P(EveryResponse, IsReadInOnePieceAndLeavesWhatFollows) {
  const std::string wire = GetParam().wire + "HTTP/1.1 200";
  const auto used = reader_.Consume(wire);
  ASSERT_TRUE(used.ok()) << used.status().message();
  EXPECT_EQ(*used, GetParam().wire.size());
  ExpectDone();
}

TEST_P(EveryResponse, IsReadByteByByte) {
  for (const char& byte : GetParam().wire) {
    ASSERT_FALSE(reader_.done());
    const auto used = reader_.Consume({&byte, 1});
    ASSERT_TRUE(used.ok()) << used.status().message();
    ASSERT_EQ(*used, 1U);
  }
  ExpectDone();
}

TEST_P(EveryResponse, IsReadInTwoPiecesSplitAnywhere) {
  const std::string& wire = GetParam().wire;
  for (std::size_t split = 1; split < wire.size(); ++split) {
    SetUp();
    ASSERT_TRUE(reader_.Consume(wire.substr(0, split)).ok());
    ASSERT_TRUE(reader_.Consume(wire.substr(split)).ok());
    ExpectDone();
  }
}

TEST_P(EveryResponse, CutShortIsAnError) {
  const std::string& wire = GetParam().wire;
  ASSERT_TRUE(reader_.Consume(wire.substr(0, wire.size() - 1)).ok());
  EXPECT_FALSE(reader_.ConsumeEnd().ok());
}

INSTANTIATE_TEST_SUITE_P(HttpResponseReader, EveryResponse, testing::ValuesIn(kCases),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(HttpResponseReader, WithoutALengthTheEndOfTheConnectionEndsTheBody) {
  ResponseBody body;
  body.Reset(nullptr, 100, 0);
  HttpResponseReader reader;
  reader.Start(&body);
  ASSERT_TRUE(reader.Consume("HTTP/1.1 200 OK\r\n\r\nall of it").ok());
  EXPECT_FALSE(reader.done());
  EXPECT_TRUE(reader.ConsumeEnd().ok());
  EXPECT_TRUE(reader.done());
  EXPECT_EQ(body.kept(), "all of it");
}

TEST(HttpResponseReader, WhatIsNotHttpIsRefused) {
  for (const std::string wire :
       {"SSH-2.0-OpenSSH\r\n\r\n", "HTTP/1.1 abc OK\r\n\r\n", "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n"}) {
    ResponseBody body;
    body.Reset(nullptr, 100, 0);
    HttpResponseReader reader;
    reader.Start(&body);
    EXPECT_FALSE(reader.Consume(wire).ok()) << wire;
  }
}

TEST(HttpResponseReader, AnEndlessHeadIsRefused) {
  ResponseBody body;
  body.Reset(nullptr, 100, 0);
  HttpResponseReader reader;
  reader.Start(&body);
  EXPECT_FALSE(reader.Consume("HTTP/1.1 200 OK\r\nX: " + std::string(200000, 'x')).ok());
}

TEST(ResponseBody, ComparesPiecesWithTheExpectedBytes) {
  const std::string expected = "hello";
  const auto matches = [&](std::initializer_list<std::string_view> pieces) {
    ResponseBody body;
    body.Reset(&expected, 0, 2);
    for (const std::string_view piece : pieces) body.Append(piece);
    return body.matches();
  };
  EXPECT_TRUE(matches({"12hello"}));
  EXPECT_TRUE(matches({"1", "2h", "ell", "o"}));
  EXPECT_FALSE(matches({"12hell"}));
  EXPECT_FALSE(matches({"12hello!"}));
  EXPECT_FALSE(matches({"12jello"}));
}

}  // namespace
}  // namespace fastserve::perf
