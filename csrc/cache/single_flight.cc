#include "cache/single_flight.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "inference/call_chain.h"

namespace fastserve {

namespace {

// Whether the model could have given this response: the requested outputs, each of its data type.
bool FitsRequest(const ModelSpec& spec, const InferRequest& request,
                 const InferResponse& response) {
  const auto fits = [&](const Tensor& output) {
    const TensorSpec* known = FindTensor(spec.outputs, output.name);
    if (known == nullptr) return false;
    if (request.outputs.empty()) return output.type == known->type;
    const auto requested = std::ranges::find(request.outputs, output.name, &RequestedOutput::name);
    if (requested == request.outputs.end()) return false;
    const bool classified = requested->classification_count != 0;
    return output.type == (classified ? DataType::kBytes : known->type);
  };
  const auto is_there = [&](const RequestedOutput& output) {
    return std::ranges::count(response.outputs, output.name, &Tensor::name) == 1;
  };
  return std::ranges::all_of(response.outputs, fits) &&
         std::ranges::all_of(request.outputs, is_there);
}

}  // namespace

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
    if (response == nullptr || !owner_->CouldAnswer(this, *response)) {
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
    const std::list<Waiter> waiters = owner_->Land(this);
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
  // --- guarded by the owner's mutex ---
  // Shared: each of those that wait is to have the leader's response.
  void Add(const RequestPtr& request, std::int64_t now_ns) {
    waiters.push_back({request, now_ns});
    places.emplace(request.get(), std::prev(waiters.end()));
    ShareWithWaiters();
  }
  RequestPtr Take(std::list<Waiter>::iterator place) {
    RequestPtr request = std::move(place->request);
    places.erase(request.get());
    waiters.erase(place);
    ShareWithWaiters();
    return request;
  }
  void ShareWithWaiters() const {
    if (leader != nullptr)
      leader->response_is_shared.store(!waiters.empty(), std::memory_order_relaxed);
  }

  std::list<Waiter> waiters;  // oldest first
  // By request, so that thousands that are cancelled stay cheap.
  std::unordered_map<const InferRequest*, std::list<Waiter>::iterator> places;
  InferRequest* leader = nullptr;  // being computed; kept alive by whoever computes it

 private:
  bool Lead(bool may_lend) {
    const RequestPtr next = owner_->TakeLeader(this);
    if (next == nullptr) return false;
    leader_sink_ = std::move(next->sink);
    next->sink = shared_from_this();
    return owner_->options_.model->Compute(next, may_lend);
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
  // A nested one does not wait: what it would wait for may stand behind its own caller.
  const bool follows = current != flights_.end() && request->timeout_us == 0 &&
                       current->second->priority == request->priority && !IsNested(*request);
  const std::shared_ptr<Flight> flight =
      follows ? current->second
              : std::make_shared<Flight>(shared_from_this(), key, *request, now_ns);
  // Under the mutex, so that a cancellation from now on finds the request in the flight.
  if (!request->SetCancelHook(flight)) {
    joined.cancelled = true;
    return joined;
  }
  flight->Add(request, now_ns);
  ++waiting_requests_;
  if (follows) return joined;
  // Nobody waits for a request with a timeout of its own either: it may expire early.
  if (current == flights_.end() && request->timeout_us == 0) flights_.emplace(key, flight);
  joined.own = flight;
  return joined;
}

bool SingleFlight::CouldAnswer(Flight* flight, const InferResponse& response) const {
  RequestPtr request;
  {
    const MutexLock lock(mutex_);
    if (flight->waiters.empty()) return false;
    request = flight->waiters.front().request;
  }
  return FitsRequest(*options_.spec, *request, response);
}

RequestPtr SingleFlight::TakeLeader(Flight* flight) {
  const MutexLock lock(mutex_);
  flight->leader = nullptr;
  if (flight->waiters.empty()) {
    EraseLocked(flight);
    return nullptr;
  }
  RequestPtr leader = flight->Take(flight->waiters.begin());
  flight->leader = leader.get();
  flight->ShareWithWaiters();
  --waiting_requests_;
  return leader;
}

std::list<SingleFlight::Waiter> SingleFlight::Land(Flight* flight) {
  const MutexLock lock(mutex_);
  EraseLocked(flight);
  waiting_requests_ -= flight->waiters.size();
  flight->leader = nullptr;
  flight->places.clear();
  return std::exchange(flight->waiters, {});
}

bool SingleFlight::Remove(Flight* flight, const RequestPtr& request) {
  const MutexLock lock(mutex_);
  const auto place = flight->places.find(request.get());
  if (place == flight->places.end()) return false;
  flight->Take(place->second);
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
