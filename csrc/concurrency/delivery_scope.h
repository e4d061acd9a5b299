// Collects what a thread hands to other threads while it completes a batch, so that each receiver
// is woken once and finds all of it.
#pragma once

#include <memory>
#include <vector>

namespace fastserve {

// A queue with a receiver that may be asleep. Thread safe.
class Delivery {
 public:
  virtual ~Delivery() = default;
  // Gets what was queued on its way: wakes the receiver, or, when `may_linger` says that this
  // thread has nothing more urgent to do, does the receiver's work here. Does not block.
  virtual void Deliver(bool may_linger) = 0;
};

// While one exists on a thread, Defer collects the deliveries of that thread; the outermost scope
// delivers each once when it ends. Used by one thread.
class DeliveryScope {
 public:
  DeliveryScope();
  ~DeliveryScope();
  DeliveryScope(const DeliveryScope&) = delete;
  DeliveryScope& operator=(const DeliveryScope&) = delete;

  // False when this thread has no scope: the caller delivers at once.
  static bool Defer(const std::shared_ptr<Delivery>& delivery);
  // What Deliver is told; false until set.
  void set_may_linger(bool may_linger) { may_linger_ = may_linger; }

 private:
  const bool outermost_;
  bool may_linger_ = false;
  std::vector<std::shared_ptr<Delivery>> deliveries_;
};

}  // namespace fastserve
