#include "http/infer_call.h"

namespace fastserve {

InferReply ErrorReply(int http_status, std::string_view message) {
  InferReply reply;
  reply.status = http_status;
  reply.body.pieces.push_back({ErrorJson(message), {}});
  return reply;
}

InferReply ErrorReply(const Status& status) { return ErrorReply(HttpStatus(status.code()), status.message()); }

}  // namespace fastserve
