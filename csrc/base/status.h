// Status and Result<T>: how every layer reports failure. No exception crosses a layer.
// The one table of codes below is also the table of HTTP status, gRPC code and Python exception.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace fastserve {

// X(code, HTTP status, gRPC code, Python exception, Triton's name of the code)
// Source: KServe v2 and Triton's http_server.cc / grpc_server.cc error mapping.
#define FASTSERVE_STATUS_CODES(X)                                 \
  X(Unknown, 400, 2, UnknownError, "UNKNOWN")                     \
  X(Internal, 500, 13, InternalError, "INTERNAL")                 \
  X(NotFound, 404, 5, NotFoundError, "NOT_FOUND")                 \
  X(InvalidArgument, 400, 3, InvalidArgumentError, "INVALID_ARG") \
  X(Unavailable, 503, 14, UnavailableError, "UNAVAILABLE")        \
  X(Unsupported, 501, 12, UnsupportedError, "UNSUPPORTED")        \
  X(AlreadyExists, 400, 6, AlreadyExistsError, "ALREADY_EXISTS")  \
  X(Cancelled, 400, 1, CancelledError, "CANCELLED")

enum class StatusCode : std::uint8_t {
  kOk = 0,
#define FASTSERVE_X(name, http, grpc, exception, triton) k##name,
  FASTSERVE_STATUS_CODES(FASTSERVE_X)
#undef FASTSERVE_X
};

// HTTP status of a code; 200 for kOk.
int HttpStatus(StatusCode code);
// gRPC status code of a code; 0 for kOk.
int GrpcCode(StatusCode code);
// Triton's name of a code ("INVALID_ARG"); "OK" for kOk.
std::string_view StatusCodeName(StatusCode code);
// Name of the Python exception class of a code; empty for kOk.
std::string_view PythonExceptionName(StatusCode code);

// The outcome of an operation: OK, or a code and a message that carries the value and the limit.
// Cheap when OK (one null pointer). Movable and copyable. Not thread safe for concurrent writes.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message);

  static Status Ok() { return {}; }
#define FASTSERVE_X(name, http, grpc, exception, triton) \
  static Status name(std::string message) { return {StatusCode::k##name, std::move(message)}; }
  FASTSERVE_STATUS_CODES(FASTSERVE_X)
#undef FASTSERVE_X

  bool ok() const { return rep_ == nullptr; }
  StatusCode code() const { return rep_ ? rep_->code : StatusCode::kOk; }
  // Empty when OK.
  const std::string& message() const;

 private:
  struct Rep {
    StatusCode code;
    std::string message;
  };
  std::shared_ptr<const Rep> rep_;
};

// A value or the Status that explains why there is none. value() on an error is our own bug
// (undefined).
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}          // NOLINT(google-explicit-constructor)
  Result(Status status) : status_(std::move(status)) {}  // NOLINT(google-explicit-constructor)

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }
  T& value() & { return *value_; }
  const T& value() const& { return *value_; }
  T&& value() && { return std::move(*value_); }
  T& operator*() & { return *value_; }
  const T& operator*() const& { return *value_; }
  T&& operator*() && { return std::move(*value_); }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }

 private:
  Status status_;
  std::optional<T> value_;
};

#define FASTSERVE_RETURN_IF_ERROR(expression)                                      \
  do {                                                                             \
    if (::fastserve::Status status_ = (expression); !status_.ok()) return status_; \
  } while (false)

#define FASTSERVE_CONCAT_INNER(a, b) a##b
#define FASTSERVE_CONCAT(a, b) FASTSERVE_CONCAT_INNER(a, b)
#define FASTSERVE_ASSIGN_OR_RETURN_INNER(result, declaration, expression) \
  auto result = (expression);                                             \
  if (!result.ok()) return result.status();                               \
  declaration = std::move(result).value()
// FASTSERVE_ASSIGN_OR_RETURN(auto x, MakeX());
#define FASTSERVE_ASSIGN_OR_RETURN(declaration, expression) \
  FASTSERVE_ASSIGN_OR_RETURN_INNER(FASTSERVE_CONCAT(result_, __LINE__), declaration, expression)

}  // namespace fastserve
