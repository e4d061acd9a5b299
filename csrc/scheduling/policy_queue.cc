#include "scheduling/policy_queue.h"

#include <algorithm>

#include "base/clock.h"

namespace fastserve {

namespace {
// Longest timeout that still fits in a deadline: 146 years.
constexpr std::uint64_t kMaxTimeoutUs = INT64_MAX / kNsPerUs / 2;
}  // namespace

PolicyQueue::PolicyQueue(const DynamicBatchingSpec& spec)
    : levels_(std::max(spec.priority_levels, 1U)),
      default_level_(
          std::clamp(spec.default_priority_level, 1U, std::max(spec.priority_levels, 1U)) - 1) {
  for (Level& level : levels_) level.policy = spec.default_queue_policy;
  for (const auto& [priority, policy] : spec.priority_queue_policy) {
    if (priority >= 1 && priority <= levels_.size()) levels_[priority - 1].policy = policy;
  }
}

PolicyQueue::~PolicyQueue() {
  while (InferRequest* request = front()) Remove(request);
}

std::uint32_t PolicyQueue::LevelOf(const InferRequest& request) const {
  const std::uint64_t priority = request.priority;
  if (priority == 0 || priority > levels_.size()) return default_level_;
  return static_cast<std::uint32_t>(priority - 1);
}

std::uint64_t PolicyQueue::TimeoutUs(const InferRequest& request) const {
  const QueuePolicySpec& rules = policy(LevelOf(request));
  std::uint64_t timeout_us = rules.default_timeout_us;
  if (rules.allow_timeout_override && request.timeout_us != 0) {
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
  raw->queue_link.level = LevelOf(*raw);
  raw->queue_link.delayed = false;
  first_level_ = std::min(first_level_, raw->queue_link.level);
  Link(&levels_[raw->queue_link.level].lanes[0], std::move(request));
}

RequestPtr PolicyQueue::Remove(InferRequest* request) {
  QueueLink& link = request->queue_link;
  if (link.self == nullptr) return nullptr;
  if (link.deadline_ns != 0) deadlines_.erase({link.deadline_ns, request});
  link.deadline_ns = 0;
  RequestPtr owned = Unlink(&levels_[link.level].lanes[link.delayed ? 1 : 0], request);
  const auto is_empty = [](const Level& level) {
    return level.lanes[0].head == nullptr && level.lanes[1].head == nullptr;
  };
  while (first_level_ + 1 < levels_.size() && is_empty(levels_[first_level_])) ++first_level_;
  return owned;
}

InferRequest* PolicyQueue::FirstFrom(std::uint32_t level) const {
  for (; level < levels_.size(); ++level) {
    for (const Lane& lane : levels_[level].lanes) {
      if (lane.head != nullptr) return lane.head;
    }
  }
  return nullptr;
}

InferRequest* PolicyQueue::Next(const InferRequest* request) const {
  const QueueLink& link = request->queue_link;
  if (link.next != nullptr) return link.next;
  const Lane& delayed = levels_[link.level].lanes[1];
  if (!link.delayed && delayed.head != nullptr) return delayed.head;
  return FirstFrom(link.level + 1);
}

void PolicyQueue::Expire(std::int64_t now_ns, std::vector<RequestPtr>* rejected) {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now_ns) {
    InferRequest* request = deadlines_.begin()->second;
    Level& level = levels_[request->queue_link.level];
    RequestPtr owned = Remove(request);
    if (level.policy.timeout_action == TimeoutAction::kReject) {
      rejected->push_back(std::move(owned));
    } else {
      request->queue_link.delayed = true;
      first_level_ = std::min(first_level_, request->queue_link.level);
      Link(&level.lanes[1], std::move(owned));
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
