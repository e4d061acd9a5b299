// Runs the infer calls of one event loop: parses and submits all of a loop turn together, then
// lends the loop's thread to the cheap models among them, so that their batches form over all
// connections and need no thread switch.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "engine/engine.h"
#include "http/completion_queue.h"
#include "http/infer_call.h"
#include "http/parse_thread.h"

namespace fastserve {

// Event loop thread only. Replies arrive through queue().
class InferRunner : public InferStarter {
 public:
  // `schedule` asks the event loop to call Run soon; called once for all calls of a turn.
  InferRunner(std::shared_ptr<Engine> engine, InferJsonLimits limits,
              std::function<void()> schedule);
  ~InferRunner() override;

  void Start(InferCall call) override;
  // Parses, submits and executes. Touches nothing of the event loop, so the caller releases its
  // global lock meanwhile; calls queue()->DeliverWaiting() afterwards.
  void Run();

  // Runs `task`, which parses `json_bytes`: now, or on another thread when that takes long.
  void Parse(std::size_t json_bytes, std::function<void()> task);

  const InferJsonLimits& limits() const { return limits_; }
  const std::shared_ptr<CompletionQueue>& queue() const { return queue_; }
  Engine& engine() const { return *engine_; }

 private:
  // Parses and submits, or fails the request. Any thread.
  Status Parse(const InferCall& call) const;
  void Submit(InferCall* call, Lender* lender) const;

  const std::shared_ptr<Engine> engine_;
  const InferJsonLimits limits_;
  const std::function<void()> schedule_;
  const std::shared_ptr<CompletionQueue> queue_;
  Lender lender_;
  std::vector<InferCall> started_;
  std::vector<InferCall> running_;
  ParseThread parse_thread_;  // last: its tasks use the members above
};

}  // namespace fastserve
