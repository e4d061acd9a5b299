#include "scheduling/sequence_table.h"

#include <utility>

namespace fastserve {

namespace {

std::pair<std::int64_t, std::uint64_t> BacklogKey(const Sequence& sequence) {
  return {sequence.front()->timestamps.queue_start, sequence.number};
}

}  // namespace

Sequence* SequenceTable::Find(const SequenceId& id) const {
  const auto found = sequences_.find(id);
  return found == sequences_.end() ? nullptr : found->second.get();
}

// Whether a request without START may follow what was sent last.
bool SequenceTable::Accepts(const Sequence& sequence) {
  if (sequence.awaits_start) return false;
  const InferRequest* last = sequence.waiting.back();
  if (last == nullptr) last = sequence.again ? sequence.again.get() : sequence.running.get();
  return last == nullptr || !last->sequence_end;
}

bool SequenceTable::Add(const RequestPtr& request, std::int64_t now_ns) {
  Expire(now_ns);
  Sequence* sequence = Find(request->sequence_id);
  if (!request->sequence_start && (sequence == nullptr || !Accepts(*sequence))) return false;
  if (sequence == nullptr) {
    auto created = std::make_unique<Sequence>();
    created->id = request->sequence_id;
    created->number = ++last_number_;
    sequence = sequences_.emplace(created->id, std::move(created)).first->second.get();
  }
  const bool busy = sequence->running != nullptr || sequence->front() != nullptr;
  if (!busy) Detach(sequence);
  if (request->sequence_start) sequence->awaits_start = false;
  sequence->waiting.PushBack(request);
  ++waiting_;
  if (!busy) {
    Settle(sequence, now_ns);
    FillPlaces(now_ns);
  }
  return true;
}

bool SequenceTable::Remove(const RequestPtr& request, std::int64_t now_ns,
                           std::vector<RequestPtr>* orphans) {
  Sequence* sequence = Find(request->sequence_id);
  if (sequence == nullptr) return false;
  const bool again = sequence->again == request;
  if (!again && request->queue_link.self == nullptr) return false;
  Detach(sequence);
  --waiting_;
  if (again) {
    sequence->again = nullptr;
    if (request->sequence_end) LeavePlace(sequence);  // nothing else would end it
  } else {
    InferRequest* next = request->queue_link.next;
    (void)sequence->waiting.Remove(request.get());
    while (request->sequence_start && next != nullptr && !next->sequence_start) {
      InferRequest* orphan = std::exchange(next, next->queue_link.next);
      orphans->push_back(sequence->waiting.Remove(orphan));
      --waiting_;
    }
    if (request->sequence_start && next == nullptr) sequence->awaits_start = true;
  }
  Settle(sequence, now_ns);
  FillPlaces(now_ns);
  return true;
}

void SequenceTable::Begin(Sequence* sequence) {
  Detach(sequence);
  sequence->ready_ticket = 0;
  sequence->running = sequence->again ? std::exchange(sequence->again, nullptr)
                                      : sequence->waiting.Remove(sequence->waiting.front());
  --waiting_;
}

void SequenceTable::Finish(Sequence* sequence, bool again, std::int64_t now_ns) {
  RequestPtr done = std::exchange(sequence->running, nullptr);
  if (again) {
    sequence->again = std::move(done);
    ++waiting_;
  } else if (done->sequence_end) {
    LeavePlace(sequence);
  }
  Settle(sequence, now_ns);
  FillPlaces(now_ns);
}

void SequenceTable::Expire(std::int64_t now_ns) {
  while (!idle_.empty() && next_expiry_ns() <= now_ns) {
    Sequence* sequence = idle_.begin()->second;
    idle_.erase(idle_.begin());
    LeavePlace(sequence);
    sequences_.erase(sequences_.find(sequence->id));
  }
  FillPlaces(now_ns);
}

void SequenceTable::TakeAll(std::vector<RequestPtr>* requests) {
  for (Instance& instance : instances_) instance.ready.clear();
  backlog_.clear();
  idle_.clear();
  for (const auto& [id, sequence] : sequences_) {
    if (sequence->again) requests->push_back(std::exchange(sequence->again, nullptr));
    while (InferRequest* front = sequence->waiting.front())
      requests->push_back(sequence->waiting.Remove(front));
  }
  waiting_ = 0;
}

std::size_t SequenceTable::CountBacklogRequests() const {
  std::size_t count = 0;
  for (const auto& [key, sequence] : backlog_) count += sequence->waiting.size();
  return count;
}

void SequenceTable::Detach(Sequence* sequence) {
  if (sequence->running) return;
  if (sequence->front() == nullptr) {
    idle_.erase({sequence->idle_since_ns, sequence});
  } else if (sequence->place) {
    instances_[sequence->place->instance].ready.erase({sequence->ready_ticket, sequence});
  } else {
    backlog_.erase(BacklogKey(*sequence));
  }
}

void SequenceTable::Settle(Sequence* sequence, std::int64_t now_ns) {
  if (sequence->running) return;
  if (sequence->front() != nullptr) {
    if (!sequence->place) {
      backlog_.emplace(BacklogKey(*sequence), sequence);
      return;
    }
    if (sequence->ready_ticket == 0) sequence->ready_ticket = ++last_ticket_;
    instances_[sequence->place->instance].ready.insert({sequence->ready_ticket, sequence});
  } else if (sequence->place && !sequence->awaits_start) {
    sequence->ready_ticket = 0;
    sequence->idle_since_ns = now_ns;
    idle_.emplace(now_ns, sequence);
  } else {
    LeavePlace(sequence);
    sequences_.erase(sequences_.find(sequence->id));
  }
}

void SequenceTable::FillPlaces(std::int64_t now_ns) {
  while (!backlog_.empty()) {
    Instance* instance = Roomiest();
    if (instance == nullptr) return;
    Sequence* sequence = backlog_.begin()->second;
    backlog_.erase(backlog_.begin());
    GivePlace(sequence, instance);
    Settle(sequence, now_ns);
  }
}

SequenceTable::Instance* SequenceTable::Roomiest() {
  Instance* best = nullptr;
  for (Instance& instance : instances_) {
    if (instance.used == options_.places_per_instance) continue;
    if (best == nullptr || instance.used < best->used) best = &instance;
  }
  return best;
}

// The lowest free slot, so that the rows of direct batches stay close together.
void SequenceTable::GivePlace(Sequence* sequence, Instance* instance) {
  ++instance->used;
  const auto index = static_cast<std::size_t>(instance - instances_.data());
  if (instance->freed.empty()) {
    sequence->place = SequencePlace{index, instance->next++};
    return;
  }
  sequence->place = SequencePlace{index, *instance->freed.begin()};
  instance->freed.erase(instance->freed.begin());
}

void SequenceTable::LeavePlace(Sequence* sequence) {
  sequence->states.clear();
  sequence->ready_ticket = 0;
  if (!sequence->place) return;
  Instance& instance = instances_[sequence->place->instance];
  instance.freed.insert(sequence->place->slot);
  --instance.used;
  sequence->place.reset();
}

}  // namespace fastserve
