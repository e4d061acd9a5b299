// The timeouts of one I/O thread: a binary min-heap whose entries can be taken out again in O(log
// n), so that a call that ends before its deadline leaves nothing behind.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

namespace fastserve {

class TimeoutHeap;

// One timeout: armed at most once at a time. Belongs to the object that waits; must be cancelled
// before it is destroyed (its destructor does so). Not thread safe.
class Timeout {
 public:
  explicit Timeout(std::function<void()> fire) : fire_(std::move(fire)) {}
  ~Timeout();
  Timeout(const Timeout&) = delete;
  Timeout& operator=(const Timeout&) = delete;

  bool armed() const { return heap_ != nullptr; }

 private:
  friend class TimeoutHeap;
  std::function<void()> fire_;
  TimeoutHeap* heap_ = nullptr;
  std::size_t index_ = 0;
};

// Invariants: 1. entries_[0] is the earliest. 2. entries_[i].timeout->index_ == i.
class TimeoutHeap {
 public:
  static constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

  // (Re-)arms for `deadline_ns`; kNever disarms.
  void Arm(Timeout* timeout, std::int64_t deadline_ns);
  void Disarm(Timeout* timeout);
  // kNever when empty.
  std::int64_t next_deadline_ns() const {
    return entries_.empty() ? kNever : entries_.front().deadline_ns;
  }
  // Fires, disarmed, everything due at `now_ns`. A timeout may arm itself and others again while it
  // fires.
  void FireDue(std::int64_t now_ns);
  std::size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    std::int64_t deadline_ns;
    Timeout* timeout;
  };
  void SiftUp(std::size_t index);
  void SiftDown(std::size_t index);
  void Place(std::size_t index, Entry entry);
  std::vector<Entry> entries_;
};

}  // namespace fastserve
