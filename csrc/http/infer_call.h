// One infer request between a front end's bytes and the core: what goes in, and the reply that
// comes back to the event loop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "base/status.h"
#include "inference/request.h"
#include "memory/byte_budget.h"
#include "protocol/infer_json.h"
#include "protocol/wire.h"

namespace fastserve {

// What the client gets: the body of a successful inference, or {"error": ...}.
struct InferReply {
  int status = 200;
  std::size_t json_size = 0;  // 0: the whole body is JSON
  WireMessage body;
};

// The reply that reports a failure, by the status table.
InferReply ErrorReply(const Status& status);
InferReply ErrorReply(int http_status, std::string_view message);

// How many of the first bytes of a body are JSON: the value of Inference-Header-Content-Length, or
// all when it is absent. Errors: InvalidArgument with Triton's texts when it is no number or not
// within the body.
Result<std::size_t> InferJsonSize(std::optional<std::string_view> header, std::uint64_t body_size);

// Who waits for a reply. Called on the event loop's thread.
class ReplyTarget {
 public:
  virtual ~ReplyTarget() = default;
  virtual void OnReply(InferReply reply) = 0;
};

// A received request that has not been parsed. `request` has its model name and version. A body
// without JSON (json_size 0) is a raw request.
struct InferCall {
  RequestPtr request;
  BufferView body;
  ByteClaim body_claim;  // given back when it is parsed: the engine counts the inputs
  std::size_t json_size = 0;
  std::shared_ptr<ReplyTarget> target;
};

// Takes calls; answers each exactly once through its target, later, never inside Start. Event loop
// thread only.
class InferStarter {
 public:
  virtual ~InferStarter() = default;
  virtual void Start(InferCall call) = 0;
};

}  // namespace fastserve
