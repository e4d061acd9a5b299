#include "scheduling/batch_policy.h"

#include <algorithm>

#include "scheduling/ragged_batch.h"

namespace fastserve {

namespace {

bool SameRowShape(const Tensor& x, const Tensor& y) {
  return x.shape.size() == y.shape.size() &&
         std::equal(x.shape.begin() + 1, x.shape.end(), y.shape.begin() + 1);
}

}  // namespace

bool SameBatchShape(const InferRequest& a, const InferRequest& b,
                    std::span<const std::string> ragged) {
  if (a.inputs.size() != b.inputs.size()) return false;
  for (std::size_t i = 0; i < a.inputs.size(); ++i) {
    const Tensor& x = a.inputs[i];
    const Tensor& y = b.inputs[i];
    if (x.name != y.name) return false;
    if (SameRowShape(x, y)) continue;
    if (std::ranges::find(ragged, x.name) == ragged.end()) return false;
  }
  return true;
}

BatchPolicy::BatchPolicy(const ModelSpec& spec)
    : dynamic_(spec.dynamic_batching.enabled && spec.max_batch_size > 0),
      max_batch_size_(std::max(spec.max_batch_size, 1)),
      max_queue_delay_ns_(static_cast<std::int64_t>(
          std::min<std::uint64_t>(spec.dynamic_batching.max_queue_delay_us, INT64_MAX / 4000) *
          1000)),
      ragged_(RaggedInputs(spec)),
      counted_(CountedInputs(spec)),
      preferred_(spec.dynamic_batching.preferred_batch_sizes) {
  if (preferred_.empty()) preferred_.push_back(max_batch_size_);
  std::sort(preferred_.begin(), preferred_.end());
}

bool BatchPolicy::IsPreferred(std::int64_t batch_size) const {
  return std::binary_search(preferred_.begin(), preferred_.end(), batch_size);
}

// A request of more rows or elements than the limit is a batch of its own.
BatchPolicy::Prefix BatchPolicy::LongestPrefix(const PolicyQueue& queue,
                                               std::int64_t row_limit) const {
  const InferRequest* head = queue.front();
  Prefix prefix;
  BatchElements elements(counted_);
  for (const InferRequest* request = head; request != nullptr; request = queue.Next(request)) {
    const bool fits = prefix.all.batch_size + request->batch_size <= row_limit &&
                      SameBatchShape(*head, *request, ragged_);
    if (!(elements.Add(*request) && fits) && request != head) {
      prefix.closed = true;
      break;
    }
    prefix.oldest_ns = std::min(prefix.oldest_ns, request->timestamps.queue_start);
    prefix.all.batch_size += request->batch_size;
    ++prefix.all.request_count;
    if (IsPreferred(prefix.all.batch_size)) prefix.preferred = prefix.all;
    if (prefix.all.batch_size >= max_batch_size_) break;
  }
  return prefix;
}

BatchChoice BatchPolicy::Choose(const PolicyQueue& queue, std::int64_t now_ns) const {
  const InferRequest* head = queue.front();
  if (head == nullptr) return {};
  if (!dynamic_) return {1, head->batch_size, 0};

  auto [all, preferred, oldest_ns, closed] = LongestPrefix(queue, max_batch_size_);
  if (preferred.request_count != 0) return preferred;
  if (closed || max_queue_delay_ns_ == 0 || all.batch_size >= preferred_.back()) return all;
  const std::int64_t ready_at_ns = oldest_ns + max_queue_delay_ns_;
  if (ready_at_ns > now_ns) all.ready_at_ns = ready_at_ns;
  return all;
}

BatchChoice BatchPolicy::ChooseTuned(const PolicyQueue& queue, const SelfTuning& tuning,
                                     std::int64_t now_ns) const {
  const std::int64_t row_limit = tuning.row_limit();
  const Prefix prefix = LongestPrefix(queue, row_limit);
  BatchChoice choice = prefix.all;
  if (choice.request_count == 0 || prefix.closed || choice.batch_size >= row_limit) return choice;
  const std::int64_t until_ns = tuning.WaitUntilNs(choice.batch_size, now_ns);
  // Nobody's timeout passes because of a wait that its configuration does not ask for.
  const std::int64_t timeout_ns = queue.next_deadline_ns();
  if (until_ns > now_ns && (timeout_ns == 0 || timeout_ns > until_ns))
    choice.ready_at_ns = until_ns;
  return choice;
}

}  // namespace fastserve
