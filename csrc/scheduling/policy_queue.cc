#include "scheduling/policy_queue.h"

#include <algorithm>

namespace fastserve {

namespace {
constexpr std::int64_t kNsPerUs = 1000;
// Longest timeout that still fits in a deadline: 146 years.
constexpr std::uint64_t kMaxTimeoutUs = INT64_MAX / kNsPerUs / 2;
}  // namespace

PolicyQueue::~PolicyQueue() {
  while (InferRequest* request = front()) Remove(request);
}

std::uint64_t PolicyQueue::TimeoutUs(const InferRequest& request) const {
  std::uint64_t timeout_us = policy_.default_timeout_us;
  if (policy_.allow_timeout_override && request.timeout_us != 0) {
    timeout_us = timeout_us == 0 ? request.timeout_us : std::min(timeout_us, request.timeout_us);
  }
  return std::min(timeout_us, kMaxTimeoutUs);
}

void PolicyQueue::Push(RequestPtr request) {
  InferRequest* raw = request.get();
  if (const std::uint64_t timeout_us = TimeoutUs(*raw); timeout_us != 0) {
    raw->queue_link.deadline_ns =
        raw->timestamps.queue_start + static_cast<std::int64_t>(timeout_us) * kNsPerUs;
    deadlines_.emplace(raw->queue_link.deadline_ns, raw);
  }
  Link(&lanes_[0], std::move(request));
}

RequestPtr PolicyQueue::Remove(InferRequest* request) {
  QueueLink& link = request->queue_link;
  if (link.self == nullptr) return nullptr;
  if (link.deadline_ns != 0) deadlines_.erase({link.deadline_ns, request});
  link.deadline_ns = 0;
  return Unlink(&lanes_[link.delayed ? 1 : 0], request);
}

InferRequest* PolicyQueue::Next(const InferRequest* request) const {
  const QueueLink& link = request->queue_link;
  if (link.next != nullptr || link.delayed) return link.next;
  return lanes_[1].head;
}

void PolicyQueue::Expire(std::int64_t now_ns, std::vector<RequestPtr>* rejected) {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now_ns) {
    InferRequest* request = deadlines_.begin()->second;
    RequestPtr owned = Remove(request);
    if (policy_.timeout_action == TimeoutAction::kReject) {
      rejected->push_back(std::move(owned));
    } else {
      request->queue_link.delayed = true;
      Link(&lanes_[1], std::move(owned));
    }
  }
}

void PolicyQueue::Link(Lane* lane, RequestPtr request) {
  InferRequest* raw = request.get();
  QueueLink& link = raw->queue_link;
  link.self = std::move(request);
  link.previous = lane->tail;
  link.next = nullptr;
  (lane->tail != nullptr ? lane->tail->queue_link.next : lane->head) = raw;
  lane->tail = raw;
}

RequestPtr PolicyQueue::Unlink(Lane* lane, InferRequest* request) {
  QueueLink& link = request->queue_link;
  (link.previous != nullptr ? link.previous->queue_link.next : lane->head) = link.next;
  (link.next != nullptr ? link.next->queue_link.previous : lane->tail) = link.previous;
  link.previous = link.next = nullptr;
  return std::move(link.self);
}

}  // namespace fastserve
