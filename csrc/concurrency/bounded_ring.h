// A bounded first-in-first-out ring for many producers and many consumers, after Dmitry Vyukov's
// bounded MPMC queue.
// Source: https://www.1024cores.net/home/lock-free-algorithms/queues/bounded-mpmc-queue
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "concurrency/cache_line.h"

namespace fastserve {

// Never blocks and never allocates after construction. Any number of threads may call anything.
// Each cell has a turn that counts up as the cell changes hands: position p is free to be written
// when turn == p, holds a value when turn == p + 1, and is free for the next lap when turn == p +
// capacity.
// Invariants:
// 1. Values leave in the order of the positions that their producers claimed.
// 2. A producer that is suspended between claiming and publishing hides the values behind it, and
//    TryPop fails until it goes on. So wake the ring's sleepers after TryPush, never before.
// 3. A cell keeps the moved-from value until it is written again.
// T: default constructible, nothrow move assignable.
template <class T>
class BoundedRing {
 public:
  // Room for at least `capacity` values, rounded up to a power of two (2 or more).
  explicit BoundedRing(std::size_t capacity)
      : mask_(std::bit_ceil(capacity < 2 ? std::size_t{2} : capacity) - 1),
        cells_(new Cell[mask_ + 1]) {
    // Nobody else has the ring yet: sharing it publishes these stores.
    for (std::size_t i = 0; i <= mask_; ++i) cells_[i].turn.store(i, std::memory_order_relaxed);
  }
  BoundedRing(const BoundedRing&) = delete;
  BoundedRing& operator=(const BoundedRing&) = delete;

  std::size_t capacity() const { return mask_ + 1; }

  // Moves `value` in; false when the ring is full, and `value` is untouched.
  bool TryPush(T&& value) {
    std::size_t position = 0;
    Cell* cell = Claim(&push_position_, /*turn_offset=*/0, &position);
    if (cell == nullptr) return false;
    cell->value = std::move(value);
    // Pairs with the acquire in the Claim of TryPop.
    cell->turn.store(position + 1, std::memory_order_release);
    return true;
  }

  // Moves the oldest value out; false when the ring is empty.
  bool TryPop(T* value) {
    std::size_t position = 0;
    Cell* cell = Claim(&pop_position_, /*turn_offset=*/1, &position);
    if (cell == nullptr) return false;
    *value = std::move(cell->value);
    // Pairs with the acquire in the Claim of TryPush.
    cell->turn.store(position + mask_ + 1, std::memory_order_release);
    return true;
  }

  // Values in the ring, exact only when nobody else uses it.
  std::size_t ApproximateSize() const {
    const std::size_t popped = pop_position_.load(std::memory_order_relaxed);
    const std::size_t pushed = push_position_.load(std::memory_order_relaxed);
    const auto size = static_cast<std::ptrdiff_t>(pushed - popped);
    return size > 0 ? static_cast<std::size_t>(size) : 0;
  }

 private:
  // Cells are packed: neighbours share cache lines, but a ring per model stays small.
  struct Cell {
    std::atomic<std::size_t> turn{0};
    T value{};
  };

  // Takes the next position whose cell has turn == position + turn_offset; null when that cell's
  // turn has not come.
  Cell* Claim(std::atomic<std::size_t>* next, std::size_t turn_offset, std::size_t* position) {
    // Relaxed: the position only says where to look; the cell's turn carries the value from thread
    // to thread.
    std::size_t claimed = next->load(std::memory_order_relaxed);
    while (true) {
      Cell* cell = &cells_[claimed & mask_];
      // Pairs with the release stores above.
      const std::size_t turn = cell->turn.load(std::memory_order_acquire);
      const auto lag = static_cast<std::ptrdiff_t>(turn - (claimed + turn_offset));
      if (lag < 0) return nullptr;
      if (lag > 0) {
        claimed = next->load(std::memory_order_relaxed);
      } else if (next->compare_exchange_weak(claimed, claimed + 1, std::memory_order_relaxed)) {
        *position = claimed;
        return cell;
      }
    }
  }

  const std::size_t mask_;
  const std::unique_ptr<Cell[]> cells_;
  alignas(kCacheLineBytes) std::atomic<std::size_t> push_position_{0};  // producers
  alignas(kCacheLineBytes) std::atomic<std::size_t> pop_position_{0};   // consumers
};

}  // namespace fastserve
