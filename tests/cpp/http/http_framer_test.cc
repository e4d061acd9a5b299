// The HTTP/1.1 framer: the same requests however their bytes are cut, and strictness where leniency
// smuggles.
#include "protocol/http_framer.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace fastserve {
namespace {

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

// Scans `text` in two pieces, as two receptions would bring them.
std::size_t ScanSplit(std::string_view text, std::size_t cut, HttpError* error) {
  HttpHeadScanner scanner{HttpHeadLimits()};
  std::size_t size = scanner.Scan(text.substr(0, cut));
  if (size == 0 && scanner.error().ok()) size = scanner.Scan(text);
  *error = scanner.error();
  return size;
}

HttpError Parse(std::string_view text, HttpHead* head) {
  HttpHeadScanner scanner{HttpHeadLimits()};
  const std::size_t size = scanner.Scan(text);
  if (size == 0) return scanner.error();
  return ParseHttpHead(text.substr(0, size), HttpHeadLimits(), head);
}

int ParseStatus(std::string_view text) {
  HttpHead head;
  return Parse(text, &head).status;
}

constexpr std::string_view kInfer =
    "POST /v2/models/m/infer HTTP/1.1\r\nHost: h\r\nContent-Length: "
    "5\r\nInference-Header-Content-Length: 3\r\n\r\nhello";

TEST(HttpHeadScanner, FindsTheEndHoweverTheHeadIsCut) {
  const std::size_t expected = kInfer.size() - 5;
  for (std::size_t cut = 0; cut <= kInfer.size(); ++cut) {
    HttpError error;
    EXPECT_EQ(ScanSplit(kInfer, cut, &error), expected) << "cut at " << cut;
    EXPECT_TRUE(error.ok());
  }
}

TEST(HttpHeadScanner, FindsTheEndByteByByte) {
  HttpHeadScanner scanner{HttpHeadLimits()};
  const std::size_t expected = kInfer.size() - 5;
  for (std::size_t size = 1; size < expected; ++size)
    ASSERT_EQ(scanner.Scan(kInfer.substr(0, size)), 0u) << size;
  EXPECT_EQ(scanner.Scan(kInfer.substr(0, expected)), expected);
}

TEST(HttpHeadScanner, RefusesABareLineFeed) {
  EXPECT_EQ(ParseStatus("GET / HTTP/1.1\nHost: h\n\n"), 400);
  EXPECT_EQ(ParseStatus("GET / HTTP/1.1\r\nHost: h\n\r\n"), 400);
  EXPECT_EQ(ParseStatus("GET / HTTP/1.1\r\nHost: h\r\n\n"), 400);
}

TEST(HttpHeadScanner, RefusesForeignProtocolsAtTheFirstByte) {
  HttpHeadScanner scanner{HttpHeadLimits()};
  EXPECT_EQ(scanner.Scan("\x16\x03\x01"), 0u);
  EXPECT_EQ(scanner.error().status, 400);
}

TEST(HttpHeadScanner, BoundsTheHead) {
  HttpHeadScanner scanner{HttpHeadLimits()};
  std::string head = "GET / HTTP/1.1\r\n";
  while (head.size() < HttpHeadLimits().max_head_bytes) head += "X-Filler: 0123456789\r\n";
  EXPECT_EQ(scanner.Scan(head), 0u);
  EXPECT_EQ(scanner.error().status, 431);
  EXPECT_EQ(ParseStatus("GET /" + std::string(9000, 'a')), 414);
}

TEST(ParseHttpHead, ReadsTheFieldsThatDecide) {
  HttpHead head;
  ASSERT_TRUE(Parse(kInfer, &head).ok());
  EXPECT_EQ(head.method, "POST");
  EXPECT_EQ(head.target, "/v2/models/m/infer");
  EXPECT_EQ(head.minor_version, 1);
  EXPECT_TRUE(head.keep_alive);
  EXPECT_EQ(head.content_length, 5u);
  EXPECT_EQ(head.inference_header_length, "3");
  EXPECT_FALSE(head.chunked);
}

TEST(ParseHttpHead, KnowsFieldsInAnyCase) {
  HttpHead head;
  ASSERT_TRUE(Parse("POST / HTTP/1.1\r\ncONTENT-lENGTH:\t7 \r\nEXPECT: 100-continue\r\nconnection: "
                    "Foo, CLOSE\r\n\r\n",
                    &head)
                  .ok());
  EXPECT_EQ(head.content_length, 7u);
  EXPECT_TRUE(head.has_expect);
  EXPECT_FALSE(head.keep_alive);
}

TEST(ParseHttpHead, KeepsHttp10OpenOnlyWhenAsked) {
  HttpHead head;
  ASSERT_TRUE(Parse("GET / HTTP/1.0\r\n\r\n", &head).ok());
  EXPECT_FALSE(head.keep_alive);
  ASSERT_TRUE(Parse("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", &head).ok());
  EXPECT_TRUE(head.keep_alive);
}

TEST(ParseHttpHead, RefusesWhatTwoServersWouldReadDifferently) {
  const std::vector<std::string> refused = {
      "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
      "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
      "POST / HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\n",
      "POST / HTTP/1.1\r\nContent-Length: +5\r\n\r\n",
      "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
      "POST / HTTP/1.1\r\nContent-Length: 0x5\r\n\r\n",
      "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
      "POST / HTTP/1.1\r\nContent-Length:\r\n\r\n",
      "POST / HTTP/1.1\r\nContent-Length : 5\r\n\r\n",
      "POST / HTTP/1.1\r\nX: a\r\n folded\r\n\r\n",
      "POST / HTTP/1.1\r\nX: a\rb\r\n\r\n",
      std::string("POST / HTTP/1.1\r\nX: a\0b\r\n\r\n", 27),
      "POST / HTTP/1.1\r\n: novalue\r\n\r\n",
      "POST / HTTP/1.1\r\nnocolon\r\n\r\n",
      "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
      "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
      "POST  / HTTP/1.1\r\n\r\n",
      "POST / HTTP/1.1 \r\n\r\n",
      "POST /a b HTTP/1.1\r\n\r\n",
      "PO\tST / HTTP/1.1\r\n\r\n",
      "POST /\x80 HTTP/1.1\r\n\r\n",
      "POST / http/1.1\r\n\r\n",
  };
  for (const std::string& text : refused) EXPECT_EQ(ParseStatus(text), 400) << text;
  EXPECT_EQ(ParseStatus("POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"), 501);
  EXPECT_EQ(ParseStatus("PRI * HTTP/2.0\r\n\r\n"), 505);
}

TEST(ParseHttpHead, BoundsTheNumberOfFields) {
  std::string head = "GET / HTTP/1.1\r\n";
  for (std::size_t i = 0; i <= HttpHeadLimits().max_headers; ++i) head += "A: b\r\n";
  EXPECT_EQ(ParseStatus(head + "\r\n"), 431);
}

TEST(HttpBodyFramer, TakesExactlyTheAnnouncedBytes) {
  HttpBodyFramer framer = HttpBodyFramer::Sized(5);
  EXPECT_EQ(framer.Consume(Bytes("hel")), 3u);
  EXPECT_FALSE(framer.done());
  EXPECT_EQ(framer.Consume(Bytes("loGET")), 2u);
  EXPECT_TRUE(framer.done());
  EXPECT_TRUE(HttpBodyFramer::Sized(0).done());
}

TEST(HttpBodyFramer, FindsTheEndOfChunksHoweverTheyAreCut) {
  const std::string_view body =
      "5;name=\"v\"\r\nhello\r\n0a\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n";
  const std::string text = std::string(body) + "GET /next";
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    HttpBodyFramer framer = HttpBodyFramer::Chunked();
    std::size_t used = framer.Consume(Bytes(std::string_view(text).substr(0, cut)));
    if (!framer.done()) used += framer.Consume(Bytes(std::string_view(text).substr(cut)));
    EXPECT_EQ(used, body.size()) << "cut at " << cut;
    EXPECT_TRUE(framer.done());
  }
}

TEST(HttpBodyFramer, RefusesBrokenChunks) {
  const std::vector<std::string> broken = {"\r\n",
                                           "g\r\n",
                                           "-1\r\n",
                                           "5\nhello",
                                           "5\r\nhello0\r\n",
                                           "ffffffffffffffff\r\n",
                                           "5 \r\nhello\r\n",
                                           "0\r\n : x\r\n\r\n",
                                           "1;\x01\r\n",
                                           "0\r\n\n",
                                           "0x5\r\n"};
  for (const std::string& text : broken) {
    HttpBodyFramer framer = HttpBodyFramer::Chunked();
    framer.Consume(Bytes(text));
    EXPECT_EQ(framer.error().status, 400) << text;
  }
}

TEST(HttpBodyFramer, BoundsExtensionsAndTrailers) {
  HttpBodyFramer framer = HttpBodyFramer::Chunked();
  framer.Consume(Bytes("0\r\n"));
  for (int i = 0; i < 1000 && framer.error().ok(); ++i)
    framer.Consume(Bytes("Trailer: 0123456789\r\n"));
  EXPECT_EQ(framer.error().status, 400);
}

TEST(HasToken, FindsAnElementInAList) {
  EXPECT_TRUE(HasToken("gzip;q=0.5, deflate", "gzip"));
  EXPECT_TRUE(HasToken("a,\tGZIP", "gzip"));
  EXPECT_FALSE(HasToken("gzipx, xgzip", "gzip"));
  EXPECT_FALSE(HasToken("", "gzip"));
}

}  // namespace
}  // namespace fastserve
