// The engine as the models that it runs see it.
#pragma once

#include <atomic>
#include <functional>
#include <string>

#include "backend/inference_host.h"
#include "base/mutex.h"
#include "engine/inflight_counter.h"

namespace fastserve {

class Engine;

// Shared with backends, whose last threads may outlive the engine. Thread safe.
class EngineHost final : public InferenceHost {
 public:
  using ControlHandler = std::function<void(std::string, std::function<void(std::string)>)>;

  void Attach(Engine* engine) { engine_.store(engine, std::memory_order_seq_cst); }
  // From now on everything fails. Blocks until nothing is in the engine any more.
  void Detach();
  void SetControlHandler(ControlHandler handler) EXCLUDES(mutex_);

  void Submit(const RequestPtr& request, bool allow_decoupled) override;
  void Control(std::string call, std::function<void(std::string)> done) override EXCLUDES(mutex_);

 private:
  // Null when there is none any more; then, and after use, Leave.
  Engine* Enter();
  void Leave() { inside_.Done(); }

  std::atomic<Engine*> engine_{nullptr};
  InflightCounter inside_;
  Mutex mutex_;
  ControlHandler control_ GUARDED_BY(mutex_);
};

}  // namespace fastserve
