// Which deadlines of a scheduler the engine's timer already knows.
#pragma once

#include <cstdint>
#include <set>

namespace fastserve {

// A scheduler never takes a callback of the timer back: one that comes early only makes it look at
// its queue. So that callbacks do not pile up, none is scheduled beside one that comes no later,
// and a later one that is scheduled already is found again after the earlier one has run. Not
// thread safe: guarded by the scheduler's mutex.
class ArmedDeadlines {
 public:
  // True: nothing comes by then, so schedule it.
  bool Add(std::int64_t deadline_ns) {
    if (!deadlines_.empty() && *deadlines_.begin() <= deadline_ns) return false;
    deadlines_.insert(deadline_ns);
    return true;
  }
  // The callback of that deadline has come.
  void Remove(std::int64_t deadline_ns) { deadlines_.erase(deadline_ns); }

 private:
  std::set<std::int64_t> deadlines_;
};

}  // namespace fastserve
