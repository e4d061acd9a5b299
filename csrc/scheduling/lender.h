// A thread that lends itself to the models it submits requests to.
#pragma once

#include <memory>
#include <vector>

#include "scheduling/scheduler.h"

namespace fastserve {

// Between Engine::Submit and Run it holds the cheap work that the thread itself will execute, so
// that a request to a fast model needs no thread switch. Not thread safe: one per I/O thread, used
// by that thread only.
class Lender {
 public:
  Lender() = default;
  ~Lender();  // leaves what was not run to the schedulers' own threads
  Lender(const Lender&) = delete;
  Lender& operator=(const Lender&) = delete;

  // Executes batches of the models submitted to since the last Run, on this thread, as long as they
  // are idle, measured to be cheap, and need no waiting; hands everything else to the instances'
  // threads. Responses arrive through their sinks during the call. Returns true when it executed
  // anything.
  bool Run();
  bool empty() const { return pending_.empty(); }

  // For whoever submits: `scheduler` was given a request with lend = true. It is kept alive (and
  // with it, by a shared pointer of its model's, the model) until Run.
  void Add(std::shared_ptr<Scheduler> scheduler);
  // The lender whose Run this thread is in, else null: a step of an ensemble that ends there goes
  // on with the next one without a thread switch.
  static Lender* Current();

 private:
  std::vector<std::shared_ptr<Scheduler>> pending_;
};

}  // namespace fastserve
