// Replies on their way to an event loop from whichever thread completed the request.
#pragma once

#include <memory>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "concurrency/delivery_scope.h"
#include "http/infer_call.h"

namespace fastserve {

// Wakes its event loop through an eventfd, at most once for all replies that wait. Push is thread
// safe and never blocks for long; everything else belongs to the thread that constructed the queue.
class CompletionQueue final : public Delivery,
                              public std::enable_shared_from_this<CompletionQueue> {
 public:
  struct Completion {
    std::shared_ptr<ReplyTarget> target;
    InferReply reply;
  };

  CompletionQueue();
  ~CompletionQueue() override;
  CompletionQueue(const CompletionQueue&) = delete;
  CompletionQueue& operator=(const CompletionQueue&) = delete;

  // Readable when DeliverWaiting has something to do; -1 when the system gave none.
  int fd() const { return event_fd_; }

  void Push(Completion completion) EXCLUDES(mutex_);
  void Deliver(bool may_linger) override;  // wakes the loop: Python's event loop lets nobody in
  // Hands every waiting reply to its target.
  void DeliverWaiting() EXCLUDES(mutex_);
  // DeliverWaiting, called because fd() is readable.
  void DeliverAfterWake();

  // While set, replies pushed by the owning thread need no wake-up: it promises to call
  // DeliverWaiting.
  void set_delivery_promised(bool promised) { delivery_promised_ = promised; }

 private:
  void Wake() const;

  const std::thread::id owner_;
  int event_fd_;
  bool delivery_promised_ = false;  // read and written by the owner only
  std::vector<Completion> delivering_;
  Mutex mutex_;
  std::vector<Completion> waiting_ GUARDED_BY(mutex_);
};

}  // namespace fastserve
