// Which sequences are alive, where each has its place, and which of them can run: the bookkeeping
// of sequence batching, without threads, timers or tensors.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "scheduling/sequence.h"

namespace fastserve {

// A sequence begins with a request that says START and ends when one that says END has run, or when
// nothing was asked of it for the idle time. While it lives it has a place on one instance, or
// waits for one in the backlog:
//
//     START -> backlog -> ready <-> running          END has run: gone, or to the backlog when a
//                 (placed)  ^          |             START follows it
//                           +-- idle <-+             idle too long: gone
//
// Invariants: 1. a place has one sequence; 2. no sequence is in the backlog while a place is free;
// 3. the backlog is served in order of its sequences' arrival; 4. a sequence with a place is
// exactly one of ready, running and idle. Not thread safe: guarded by the batcher's mutex.
// Operations are O(log n) in the sequences, O(instances) where a place is given. Source: Triton
// user guide, "Sequence Batcher"; the rules for cancelled requests are our own.
class SequenceTable {
 public:
  struct Options {
    std::size_t instances = 1;
    std::int64_t places_per_instance = 1;
    std::int64_t max_idle_ns = 0;
  };
  struct Turn {
    std::uint64_t ticket = 0;
    Sequence* sequence = nullptr;
    auto operator<=>(const Turn&) const = default;
  };
  using Ready = std::set<Turn>;

  explicit SequenceTable(const Options& options)
      : options_(options), instances_(options.instances) {}

  // Appends a request to its sequence. False, and the request is not taken, when it lacks the START
  // that its sequence needs.
  bool Add(const RequestPtr& request, std::int64_t now_ns);
  // Takes a waiting request out, as if it had never been sent; false when it does not wait here.
  // Those that follow a START taken out, up to the next START, have lost their sequence: they are
  // appended to `orphans`.
  bool Remove(const RequestPtr& request, std::int64_t now_ns, std::vector<RequestPtr>* orphans);

  // Sequences of an instance whose next request can run, in the order in which they became ready.
  const Ready& ready(std::size_t instance) const { return instances_[instance].ready; }
  // The sequence's next request runs now. The sequence is ready.
  void Begin(Sequence* sequence);
  // Its request has run. `again`: it is to run once more before the others.
  void Finish(Sequence* sequence, bool again, std::int64_t now_ns);

  // Ends the sequences that were idle for too long.
  void Expire(std::int64_t now_ns);
  // When the next sequence will have been idle for too long; 0 = none is idle.
  std::int64_t next_expiry_ns() const {
    return idle_.empty() ? 0 : idle_.begin()->first + options_.max_idle_ns;
  }
  // Takes all waiting requests out. Afterwards only Finish may be called.
  void TakeAll(std::vector<RequestPtr>* requests);

  std::size_t waiting() const { return waiting_; }
  std::size_t size() const { return sequences_.size(); }
  bool Contains(const SequenceId& id) const { return Find(id) != nullptr; }
  // Requests that wait in the backlog. Linear in its sequences: for tests and test aids.
  std::size_t CountBacklogRequests() const;

 private:
  struct Instance {
    Ready ready;
    std::int64_t used = 0;  // places taken
    std::int64_t next = 0;  // places from here on were never taken
    std::set<std::int64_t> freed;
  };

  Sequence* Find(const SequenceId& id) const;
  static bool Accepts(const Sequence& sequence);
  // Takes the sequence out of the set that it is in.
  void Detach(Sequence* sequence);
  // Puts it into the set that it belongs to now, or ends it.
  void Settle(Sequence* sequence, std::int64_t now_ns);
  void FillPlaces(std::int64_t now_ns);
  // The instance with the most room; null when there is none.
  Instance* Roomiest();
  void GivePlace(Sequence* sequence, Instance* instance);
  void LeavePlace(Sequence* sequence);

  const Options options_;
  std::vector<Instance> instances_;
  std::map<SequenceId, std::unique_ptr<Sequence>> sequences_;
  // By arrival of the request at the front.
  std::map<std::pair<std::int64_t, std::uint64_t>, Sequence*> backlog_;
  std::set<std::pair<std::int64_t, Sequence*>> idle_;
  std::uint64_t last_number_ = 0;
  std::uint64_t last_ticket_ = 0;
  std::size_t waiting_ = 0;
};

}  // namespace fastserve
