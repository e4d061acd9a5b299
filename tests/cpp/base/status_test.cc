#include "base/status.h"

#include <gtest/gtest.h>

#include <memory>

namespace fastserve {
namespace {

struct Row {
  StatusCode code;
  int http;
  int grpc;
  const char* exception;
  const char* triton;
};

constexpr Row kTable[] = {
#define FASTSERVE_X(name, http, grpc, exception, triton) \
  {StatusCode::k##name, http, grpc, #exception, triton},
    FASTSERVE_STATUS_CODES(FASTSERVE_X)
#undef FASTSERVE_X
};

TEST(StatusCodes, MapAsTheTableSays) {
  for (const Row& row : kTable) {
    EXPECT_EQ(HttpStatus(row.code), row.http);
    EXPECT_EQ(GrpcCode(row.code), row.grpc);
    EXPECT_EQ(StatusCodeName(row.code), row.triton);
    EXPECT_EQ(PythonExceptionName(row.code), row.exception);
  }
}

// Against the documents, not against the table itself: what Triton's clients see.
TEST(StatusCodes, AreThoseThatTritonsClientsKnow) {
  EXPECT_EQ(HttpStatus(StatusCode::kOk), 200);
  EXPECT_EQ(HttpStatus(StatusCode::kInvalidArgument), 400);
  EXPECT_EQ(HttpStatus(StatusCode::kUnavailable), 503);
  EXPECT_EQ(HttpStatus(StatusCode::kUnsupported), 501);
  EXPECT_EQ(GrpcCode(StatusCode::kOk), 0);
  EXPECT_EQ(GrpcCode(StatusCode::kCancelled), 1);
  EXPECT_EQ(GrpcCode(StatusCode::kInvalidArgument), 3);
  EXPECT_EQ(GrpcCode(StatusCode::kNotFound), 5);
  EXPECT_EQ(GrpcCode(StatusCode::kUnavailable), 14);
  EXPECT_EQ(StatusCodeName(StatusCode::kOk), "OK");
  EXPECT_EQ(StatusCodeName(StatusCode::kInvalidArgument), "INVALID_ARG");
}

TEST(Status, IsOkByDefaultAndKeepsItsMessage) {
  EXPECT_TRUE(Status().ok());
  EXPECT_EQ(Status().message(), "");
  const Status status = Status::NotFound("no model");
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_EQ(status.message(), "no model");
  Status copy = status;
  copy = Status::Internal("other");
  EXPECT_EQ(status.message(), "no model");
}

Result<std::unique_ptr<int>> MakePositive(int value) {
  if (value <= 0) return Status::InvalidArgument("not positive");
  return std::make_unique<int>(value);
}

Result<int> Double(int value) {
  FASTSERVE_ASSIGN_OR_RETURN(const std::unique_ptr<int> positive, MakePositive(value));
  return *positive * 2;
}

TEST(Result, CarriesAValueOrTheReason) {
  const Result<int> good = Double(3);
  ASSERT_TRUE(good.ok());
  EXPECT_EQ(*good, 6);
  EXPECT_TRUE(good.status().ok());
  const Result<int> bad = Double(-1);
  ASSERT_FALSE(bad.ok());
  EXPECT_EQ(bad.status().message(), "not positive");
}

}  // namespace
}  // namespace fastserve
