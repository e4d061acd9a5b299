#include "base/status.h"

namespace fastserve {

namespace {
const std::string kEmptyMessage;
}  // namespace

Status::Status(StatusCode code, std::string message)
    : rep_(std::make_shared<const Rep>(Rep{code, std::move(message)})) {}

const std::string& Status::message() const { return rep_ ? rep_->message : kEmptyMessage; }

int HttpStatus(StatusCode code) {
  switch (code) {
    case StatusCode::kOk:
      return 200;
#define FASTSERVE_X(name, http, grpc, exception, triton) \
  case StatusCode::k##name:                              \
    return http;
      FASTSERVE_STATUS_CODES(FASTSERVE_X)
#undef FASTSERVE_X
  }
  return 500;
}

int GrpcCode(StatusCode code) {
  switch (code) {
    case StatusCode::kOk:
      return 0;
#define FASTSERVE_X(name, http, grpc, exception, triton) \
  case StatusCode::k##name:                              \
    return grpc;
      FASTSERVE_STATUS_CODES(FASTSERVE_X)
#undef FASTSERVE_X
  }
  return 2;
}

std::string_view StatusCodeName(StatusCode code) {
  switch (code) {
    case StatusCode::kOk:
      return "OK";
#define FASTSERVE_X(name, http, grpc, exception, triton) \
  case StatusCode::k##name:                              \
    return triton;
      FASTSERVE_STATUS_CODES(FASTSERVE_X)
#undef FASTSERVE_X
  }
  return "UNKNOWN";
}

std::string_view PythonExceptionName(StatusCode code) {
  switch (code) {
    case StatusCode::kOk:
      return {};
#define FASTSERVE_X(name, http, grpc, exception, triton) \
  case StatusCode::k##name:                              \
    return #exception;
      FASTSERVE_STATUS_CODES(FASTSERVE_X)
#undef FASTSERVE_X
  }
  return "UnknownError";
}

}  // namespace fastserve
