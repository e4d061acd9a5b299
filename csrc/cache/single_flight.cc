#include "cache/single_flight.h"

#include <utility>

namespace fastserve {

// The requests of one key: those that wait, and the leader while it is computed.
//
//   looking up -> led (again, when the leader was cancelled) -> landed
//
// It is the sink of the leader, the cancel hook of those that wait and the observer of the lookup.
// Invariant: a waiting request is owned by the flight; whoever takes it out completes it.
class SingleFlight::Flight final : public ResponseSink,
                                   public CancelHook,
                                   public LookupObserver,
                                   public std::enable_shared_from_this<Flight> {
 public:
  Flight(std::shared_ptr<SingleFlight> owner, const RequestKey& flight_key,
         const InferRequest& first, std::int64_t now_ns)
      : key(flight_key),
        priority(first.priority),
        owner_(std::move(owner)),
        lookup_start_ns_(now_ns),
        lookup_end_ns_(now_ns) {}

  // Looks the key up, if that takes time, else computes. True when left for a lender.
  bool Start(bool may_lend) {
    if (owner_->options_.cache->StartLookup(key, shared_from_this())) return false;
    lookup_end_ns_ = Now();
    return Lead(may_lend);
  }

  void OnLookup(CachedResponse response) override {
    lookup_end_ns_ = Now();
    if (response == nullptr) {
      Lead(/*may_lend=*/false);
      return;
    }
    for (const Waiter& waiter : owner_->Land(this)) {
      CacheHit times;
      times.lookup_ns = lookup_end_ns_ - waiter.since_ns;
      owner_->AnswerHit(waiter.request, *response, times);
    }
  }

  void OnResponse(const RequestPtr& request, InferResponse response, bool final) override {
    const std::shared_ptr<ResponseSink> sink = std::move(leader_sink_);
    if (!response.status.ok()) {
      const bool cancelled = request->failure_reason == FailureReason::kCanceled;
      sink->OnResponse(request, std::move(response), final);
      cancelled ? static_cast<void>(Lead(/*may_lend=*/false)) : ComputeEach();
      return;
    }
    const std::int64_t insert_start_ns = Now();
    owner_->options_.cache->Insert(key, response);
    const std::int64_t landed_ns = Now();
    // Inserted first: a request that finds no flight any more finds the response.
    const std::vector<Waiter> waiters = owner_->Land(this);
    const InferResponse shared = waiters.empty() ? InferResponse() : response;
    owner_->options_.model->OnCacheMiss(lookup_ns() + landed_ns - insert_start_ns);
    sink->OnResponse(request, std::move(response), final);
    for (const Waiter& waiter : waiters) {
      CacheHit times;
      times.queue_ns = landed_ns - waiter.since_ns;
      owner_->AnswerHit(waiter.request, shared, times);
    }
  }

  void OnCancel(const RequestPtr& request) override {
    if (!owner_->Remove(this, request)) return;
    request->Fail(Status::Cancelled("request cancelled while it waited for an identical one"),
                  FailureReason::kCanceled);
  }

  const RequestKey key;
  const std::uint64_t priority;
  // Guarded by the owner's mutex. By request, so that thousands that are cancelled stay cheap.
  std::unordered_map<const InferRequest*, Waiter> waiters;

 private:
  bool Lead(bool may_lend) {
    const RequestPtr leader = owner_->TakeLeader(this);
    if (leader == nullptr) return false;
    leader->response_is_shared = true;
    leader_sink_ = std::move(leader->sink);
    leader->sink = shared_from_this();
    return owner_->options_.model->Compute(leader, may_lend);
  }

  // The leader failed.
  void ComputeEach() {
    for (const Waiter& waiter : owner_->Land(this)) {
      owner_->options_.model->OnCacheMiss(lookup_ns());
      owner_->ComputeOrFail(waiter.request);
    }
  }

  std::int64_t Now() const { return owner_->options_.clock->NowNs(); }
  std::int64_t lookup_ns() const { return lookup_end_ns_ - lookup_start_ns_; }

  const std::shared_ptr<SingleFlight> owner_;
  const std::int64_t lookup_start_ns_;
  // Of the thread that starts, then of those that the lookup and the leader's scheduler hand it to.
  std::int64_t lookup_end_ns_;
  std::shared_ptr<ResponseSink> leader_sink_;
};

bool SingleFlight::Submit(const RequestPtr& request, bool may_lend) {
  const std::int64_t start_ns = options_.clock->NowNs();
  const RequestKey key = options_.cache->KeyOf(options_.scope, *request);
  CachedResponse found = options_.cache->Find(key);
  if (found == nullptr) {
    const Joined joined = Join(key, request, start_ns);
    if (joined.own != nullptr) return joined.own->Start(may_lend);
    if (joined.cancelled) {
      request->Fail(Status::Cancelled("request cancelled before it was queued"),
                    FailureReason::kCanceled);
      return false;
    }
    if (joined.found == nullptr) return false;  // it waits
    found = joined.found;
  }
  CacheHit times;
  times.lookup_ns = options_.clock->NowNs() - start_ns;
  AnswerHit(request, *found, times);
  return false;
}

SingleFlight::Joined SingleFlight::Join(const RequestKey& key, const RequestPtr& request,
                                        std::int64_t now_ns) {
  Joined joined;
  const MutexLock lock(mutex_);
  const auto current = flights_.find(key);
  // Landed since the caller looked: a flight inserts its response before it leaves the map.
  if (current == flights_.end()) joined.found = options_.cache->Find(key);
  if (joined.found != nullptr) return joined;
  const bool follows = current != flights_.end() && request->timeout_us == 0 &&
                       current->second->priority == request->priority;
  const std::shared_ptr<Flight> flight =
      follows ? current->second
              : std::make_shared<Flight>(shared_from_this(), key, *request, now_ns);
  // Under the mutex, so that a cancellation from now on finds the request in the flight.
  if (!request->SetCancelHook(flight)) {
    joined.cancelled = true;
    return joined;
  }
  flight->waiters.emplace(request.get(), Waiter{request, now_ns});
  ++waiting_requests_;
  if (follows) return joined;
  // Nobody waits for a request with a timeout of its own either: it may expire early.
  if (current == flights_.end() && request->timeout_us == 0) flights_.emplace(key, flight);
  joined.own = flight;
  return joined;
}

RequestPtr SingleFlight::TakeLeader(Flight* flight) {
  const MutexLock lock(mutex_);
  if (flight->waiters.empty()) {
    EraseLocked(flight);
    return nullptr;
  }
  RequestPtr leader = std::move(flight->waiters.begin()->second.request);
  flight->waiters.erase(flight->waiters.begin());
  --waiting_requests_;
  return leader;
}

std::vector<SingleFlight::Waiter> SingleFlight::Land(Flight* flight) {
  const MutexLock lock(mutex_);
  EraseLocked(flight);
  waiting_requests_ -= flight->waiters.size();
  std::vector<Waiter> waiters;
  waiters.reserve(flight->waiters.size());
  for (auto& [unused, waiter] : flight->waiters) waiters.push_back(std::move(waiter));
  flight->waiters.clear();
  return waiters;
}

bool SingleFlight::Remove(Flight* flight, const RequestPtr& request) {
  const MutexLock lock(mutex_);
  if (flight->waiters.erase(request.get()) == 0) return false;
  --waiting_requests_;
  return true;
}

void SingleFlight::EraseLocked(Flight* flight) {
  const auto found = flights_.find(flight->key);
  // A flight that others may not join is not in the map, though another one of its key may be.
  if (found != flights_.end() && found->second.get() == flight) flights_.erase(found);
}

void SingleFlight::AnswerHit(const RequestPtr& request, const InferResponse& cached,
                             CacheHit times) {
  const std::int64_t build_start_ns = options_.clock->NowNs();
  InferResponse response = cached;
  response.model_name = options_.spec->name;
  response.model_version = options_.spec->version;
  response.id = request->id;
  const std::int64_t now_ns = options_.clock->NowNs();
  times.lookup_ns += now_ns - build_start_ns;
  times.request_ns = now_ns - request->timestamps.request_start;
  options_.model->OnCacheHit(times);
  request->SetCancelHook(nullptr);  // it may own the flight that holds it
  request->Respond(std::move(response), /*final=*/true);
}

void SingleFlight::ComputeOrFail(const RequestPtr& request) {
  bool stopping = false;
  {
    const MutexLock lock(mutex_);
    stopping = stopping_;
  }
  if (!stopping) {
    options_.model->Compute(request, /*may_lend=*/false);
    return;
  }
  request->Fail(Status::Unavailable("model '" + options_.spec->name + "' is being unloaded"),
                FailureReason::kOther);
}

void SingleFlight::Stop() {
  const MutexLock lock(mutex_);
  stopping_ = true;
}

std::uint64_t SingleFlight::waiting_requests() const {
  const MutexLock lock(mutex_);
  return waiting_requests_;
}

}  // namespace fastserve
