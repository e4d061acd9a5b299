// The rules of sequences, written down without regard to time: a list that is looked through.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <list>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "scheduling/sequence.h"

namespace fastserve {

// What a request was like when it was sent, or came back: a scheduler may change it meanwhile.
struct ReferenceRequest {
  RequestPtr request;
  bool start = false;
  bool end = false;
  std::int64_t arrival = 0;
};

struct ReferenceSequence {
  std::uint64_t id = 0;
  std::deque<ReferenceRequest> queue;  // a rescheduled request is at the front again
  std::optional<ReferenceRequest> running;
  std::optional<SequencePlace> place;
  bool cut = false;  // the last START was cancelled
  std::int64_t idle_since = 0;
  std::uint64_t turn = 0;
  std::uint64_t number = 0;

  bool ready() const { return place && !running && !queue.empty(); }
  bool idle() const { return place && !running && queue.empty(); }
  bool ended() const { return queue.empty() ? running && running->end : queue.back().end; }
};

class ReferenceTable {
 public:
  ReferenceTable(std::size_t instances, std::int64_t places, std::int64_t idle_ns)
      : instances_(instances), places_(places), idle_ns_(idle_ns) {}

  ReferenceSequence* Find(std::uint64_t id) {
    for (auto& sequence : all_) {
      if (sequence.id == id) return &sequence;
    }
    return nullptr;
  }

  bool Add(const RequestPtr& request, std::uint64_t id, std::int64_t now) {
    Expire(now);
    ReferenceSequence* sequence = Find(id);
    const bool joins = sequence != nullptr && !sequence->cut && !sequence->ended();
    if (!request->sequence_start && !joins) return false;
    if (sequence == nullptr) {
      sequence = &all_.emplace_back();
      sequence->id = id;
      sequence->number = ++numbers_;
    }
    if (request->sequence_start) sequence->cut = false;
    sequence->queue.push_back({request, request->sequence_start, request->sequence_end, now});
    Update(id, now);
    return true;
  }
  void Begin(std::uint64_t id) {
    ReferenceSequence* sequence = Find(id);
    sequence->running = sequence->queue.front();
    sequence->queue.pop_front();
    sequence->turn = 0;
  }
  void Finish(std::uint64_t id, bool again, std::int64_t now) {
    ReferenceSequence* sequence = Find(id);
    ReferenceRequest done = *std::exchange(sequence->running, std::nullopt);
    if (again) {
      done.start = false;
      done.arrival = now;
      sequence->queue.push_front(done);
    } else if (done.end) {
      sequence->place.reset();
      sequence->turn = 0;
    }
    Update(id, now, /*was_used=*/true);
  }
  // The requests that lost their START.
  std::vector<RequestPtr> Cancel(std::uint64_t id, const RequestPtr& request, bool rescheduled,
                                 std::int64_t now) {
    ReferenceSequence* sequence = Find(id);
    auto at = std::ranges::find(sequence->queue, request, &ReferenceRequest::request);
    const ReferenceRequest gone = *at;
    at = sequence->queue.erase(at);
    std::vector<RequestPtr> orphans;
    if (rescheduled) {
      if (gone.end) {
        sequence->place.reset();
        sequence->turn = 0;
      }
    } else if (gone.start) {
      const auto next =
          std::find_if(at, sequence->queue.end(),
                       [](const ReferenceRequest& follower) { return follower.start; });
      for (auto orphan = at; orphan != next; ++orphan) orphans.push_back(orphan->request);
      if (next == sequence->queue.end()) sequence->cut = true;
      sequence->queue.erase(at, next);
    }
    Update(id, now, /*was_used=*/true);
    return orphans;
  }
  void Expire(std::int64_t now) {
    all_.remove_if([&](const ReferenceSequence& sequence) {
      return sequence.idle() && sequence.idle_since + idle_ns_ <= now;
    });
    FillPlaces();
  }

  // When the next sequence will have been idle for too long; INT64_MAX = none is idle.
  std::int64_t next_expiry() const {
    std::int64_t next = INT64_MAX;
    for (const auto& sequence : all_) {
      if (sequence.idle()) next = std::min(next, sequence.idle_since + idle_ns_);
    }
    return next;
  }

  std::vector<std::uint64_t> Ready(std::size_t instance) const {
    std::vector<const ReferenceSequence*> ready;
    for (const auto& sequence : all_) {
      if (sequence.ready() && sequence.place->instance == instance) ready.push_back(&sequence);
    }
    std::ranges::sort(ready, {}, &ReferenceSequence::turn);
    std::vector<std::uint64_t> ids;
    for (const auto* sequence : ready) ids.push_back(sequence->id);
    return ids;
  }
  std::size_t waiting() const {
    std::size_t count = 0;
    for (const auto& sequence : all_) count += sequence.queue.size();
    return count;
  }
  std::size_t size() const { return all_.size(); }

 private:
  void Update(std::uint64_t id, std::int64_t now, bool was_used = false) {
    ReferenceSequence* sequence = Find(id);
    if (!sequence->running && sequence->queue.empty() && (!sequence->place || sequence->cut)) {
      all_.remove_if([id](const ReferenceSequence& other) { return other.id == id; });
    } else {
      if (was_used && sequence->idle()) {
        sequence->idle_since = now;
        sequence->turn = 0;
      }
      if (sequence->ready() && sequence->turn == 0) sequence->turn = ++turns_;
    }
    FillPlaces();
  }
  void FillPlaces() {
    for (;;) {
      ReferenceSequence* first = nullptr;
      for (auto& sequence : all_) {
        if (sequence.place || sequence.queue.empty() || sequence.running) continue;
        if (first == nullptr || Arrival(sequence) < Arrival(*first)) first = &sequence;
      }
      if (first == nullptr) return;
      first->place = FreePlace();
      if (!first->place) return;
      first->turn = ++turns_;
    }
  }
  static std::pair<std::int64_t, std::uint64_t> Arrival(const ReferenceSequence& sequence) {
    return {sequence.queue.front().arrival, sequence.number};
  }
  std::optional<SequencePlace> FreePlace() const {
    std::vector<std::set<std::int64_t>> used(instances_);
    for (const auto& sequence : all_) {
      if (sequence.place) used[sequence.place->instance].insert(sequence.place->slot);
    }
    const auto roomiest =
        std::ranges::min_element(used, {}, [](const auto& set) { return set.size(); });
    for (std::int64_t slot = 0; slot < places_; ++slot) {
      if (!roomiest->contains(slot))
        return SequencePlace{static_cast<std::size_t>(roomiest - used.begin()), slot};
    }
    return std::nullopt;
  }

  const std::size_t instances_;
  const std::int64_t places_;
  const std::int64_t idle_ns_;
  std::list<ReferenceSequence> all_;
  std::uint64_t turns_ = 0;
  std::uint64_t numbers_ = 0;
};

}  // namespace fastserve
