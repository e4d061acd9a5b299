// The load generator: sending threads against one server, started, watched and stopped.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "perf/load_loop.h"

namespace fastserve::perf {

// Purpose: sends prepared requests to a KServe v2 server in a closed or an open loop (see
// LoadOptions). Thread safety: Snapshot, Errors and finished from any thread; Stop once, from the
// owner.
class LoadGenerator {
 public:
  // Looks the server up and starts to send. Blocks for at most a few seconds.
  // Errors: Unavailable when no connection can be made; InvalidArgument for options that make no
  // sense.
  static Result<std::unique_ptr<LoadGenerator>> Start(const LoadOptions& options);

  // The beginning: all counts zero.
  const LoadSnapshot& beginning() const { return beginning_; }
  // Counts since the start; windows are differences (LoadSnapshot::Since). Does not block.
  LoadSnapshot Snapshot() const;
  // Texts of failures and their number.
  std::vector<std::pair<std::string, std::int64_t>> Errors() const { return errors_.Entries(); }
  // Every request of max_requests has ended.
  bool finished() const;
  // Sends nothing more and blocks until what is in flight has ended, at most `grace_ns`; the rest
  // counts as abandoned.
  void Stop(std::int64_t grace_ns);

 private:
  LoadGenerator() = default;

  ErrorLog errors_;
  LoadSnapshot beginning_;
  std::vector<std::unique_ptr<LoadLoop>> loops_;
};

struct UnaryReply {
  int grpc_status = -1;
  std::string grpc_message;
  std::string message;
};

// One gRPC call for what is asked before the load: `options` as for the generator, its first
// request is sent. Blocks. Errors: Unavailable when there is no answer within the request timeout.
Result<UnaryReply> CallOnce(const LoadOptions& options);

}  // namespace fastserve::perf
