// Random operations on the dynamic batcher and on a reference that keeps everything in one list and
// looks through it: the same batches, refusals and answers at the same times.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "scheduling/dynamic_batcher.h"
#include "support/expected_answers.h"
#include "support/fake_clock.h"
#include "support/manual_backend.h"
#include "support/random.h"
#include "support/requests.h"

namespace fastserve {
namespace {

constexpr int kSteps = 800;

struct Waiting {
  RequestPtr request;
  std::int64_t arrival_ns = 0;
  std::uint32_t level = 0;  // 1 is the most urgent
  std::int64_t deadline_ns = INT64_MAX;
  bool delayed = false;

  std::int64_t width() const { return request->inputs[0].shape[1]; }
};

class Reference {
 public:
  Reference(const DynamicBatchingSpec& spec, std::int64_t max_batch_size)
      : spec_(spec), max_batch_size_(max_batch_size) {}

  // False: its level is full.
  bool Add(const RequestPtr& request, std::int64_t now_ns) {
    const bool in_range = request->priority >= 1 && request->priority <= spec_.priority_levels;
    Waiting entry{.request = request,
                  .arrival_ns = now_ns,
                  .level = in_range ? static_cast<std::uint32_t>(request->priority)
                                    : spec_.default_priority_level,
                  .deadline_ns = INT64_MAX,
                  .delayed = false};
    const QueuePolicySpec& policy = PolicyOf(entry);
    const auto in_level =
        std::ranges::count(waiting_, entry.level, [](const Waiting& w) { return w.level; });
    if (policy.max_queue_size != 0 && in_level >= static_cast<std::int64_t>(policy.max_queue_size))
      return false;
    std::uint64_t timeout_us = policy.default_timeout_us;
    if (policy.allow_timeout_override && request->timeout_us != 0 &&
        (timeout_us == 0 || request->timeout_us < timeout_us)) {
      timeout_us = request->timeout_us;
    }
    if (timeout_us != 0)
      entry.deadline_ns = now_ns + static_cast<std::int64_t>(timeout_us) * kNsPerUs;
    waiting_.push_back(entry);
    return true;
  }
  // What is answered because its time is up; what is to be delayed is delayed.
  std::vector<RequestPtr> Expire(std::int64_t now_ns) {
    std::vector<RequestPtr> rejected;
    for (Waiting& entry : waiting_) {
      if (entry.delayed || entry.deadline_ns > now_ns) continue;
      entry.delayed = PolicyOf(entry).timeout_action == TimeoutAction::kDelay;
      if (!entry.delayed) rejected.push_back(entry.request);
    }
    for (const RequestPtr& request : rejected) Remove(request);
    return rejected;
  }
  void Remove(const RequestPtr& request) {
    std::erase_if(waiting_, [&](const Waiting& entry) { return entry.request == request; });
  }
  // Takes a batch that somebody else chose. False: it is not one of the front of the queue.
  bool Take(const std::vector<std::string>& ids) {
    Sort();
    if (ids.empty() || ids.size() > waiting_.size()) return false;
    std::int64_t rows = 0;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      rows += waiting_[i].request->batch_size;
      if (waiting_[i].request->id != ids[i] || waiting_[i].width() != waiting_[0].width())
        return false;
    }
    if (rows > max_batch_size_) return false;
    if (ids.size() < waiting_.size()) {
      const Waiting& next = waiting_[ids.size()];
      const bool fits = rows + next.request->batch_size <= max_batch_size_;
      if (fits && next.width() == waiting_[0].width()) ++small_batches_;
    }
    TakeFirst(ids.size());
    return true;
  }
  // The batch that runs now on an idle instance; empty: it waits.
  std::vector<RequestPtr> Form(std::int64_t now_ns) {
    Sort();
    std::int64_t rows = 0;
    std::int64_t oldest_ns = INT64_MAX;
    std::size_t count = 0;
    std::size_t preferred = 0;  // requests of the largest preferred batch
    for (; count < waiting_.size() && rows < max_batch_size_; ++count) {
      const Waiting& next = waiting_[count];
      if (next.width() != waiting_[0].width() || rows + next.request->batch_size > max_batch_size_)
        break;
      rows += next.request->batch_size;
      oldest_ns = std::min(oldest_ns, next.arrival_ns);
      if (IsPreferred(rows)) preferred = count + 1;
    }
    const bool may_grow = count == waiting_.size() && rows < max_batch_size_;
    const auto delay_ns = static_cast<std::int64_t>(spec_.max_queue_delay_us) * kNsPerUs;
    if (preferred != 0) count = preferred;
    const bool waits =
        preferred == 0 && may_grow && rows < Largest() && now_ns < oldest_ns + delay_ns;
    return waits ? std::vector<RequestPtr>() : TakeFirst(count);
  }
  const std::vector<Waiting>& waiting() const { return waiting_; }
  // Of those taken, which could have had more requests.
  int small_batches() const { return small_batches_; }

 private:
  void Sort() {
    std::ranges::stable_sort(waiting_, {}, [](const Waiting& w) {
      return std::tuple(w.level, w.delayed, w.delayed ? w.deadline_ns : w.arrival_ns);
    });
  }
  const QueuePolicySpec& PolicyOf(const Waiting& entry) const {
    const auto own = spec_.priority_queue_policy.find(entry.level);
    return own == spec_.priority_queue_policy.end() ? spec_.default_queue_policy : own->second;
  }
  bool IsPreferred(std::int64_t rows) const {
    const auto& sizes = spec_.preferred_batch_sizes;
    return sizes.empty() ? rows == max_batch_size_ : std::ranges::count(sizes, rows) != 0;
  }
  std::int64_t Largest() const {
    const auto& sizes = spec_.preferred_batch_sizes;
    return sizes.empty() ? max_batch_size_ : std::ranges::max(sizes);
  }
  std::vector<RequestPtr> TakeFirst(std::size_t count) {
    std::vector<RequestPtr> batch;
    for (std::size_t i = 0; i < count; ++i) batch.push_back(waiting_[i].request);
    waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(count));
    return batch;
  }

  const DynamicBatchingSpec spec_;
  const std::int64_t max_batch_size_;
  std::vector<Waiting> waiting_;
  int small_batches_ = 0;
};

// A REJECT level, a DELAY level that is the default, and one with a short queue.
std::shared_ptr<ModelSpec> ThreeLevels() {
  auto spec = MakeSpec("manual", 8);
  DynamicBatchingSpec& batching = spec->dynamic_batching;
  batching.priority_levels = 3;
  batching.default_priority_level = 2;
  batching.default_queue_policy.timeout_action = TimeoutAction::kDelay;
  batching.default_queue_policy.default_timeout_us = 300;
  batching.default_queue_policy.allow_timeout_override = true;
  QueuePolicySpec urgent;
  urgent.allow_timeout_override = true;
  batching.priority_queue_policy[1] = urgent;
  QueuePolicySpec patient;
  patient.max_queue_size = 4;
  patient.default_timeout_us = 500;
  batching.priority_queue_policy[3] = patient;
  return spec;
}

struct Setting {
  const char* name;
  std::vector<std::int64_t> preferred;
  std::uint64_t delay_us;
  std::size_t instances;
  bool preserve_ordering;
  bool self_tuning;
};

class DynamicBatcherProperty : public ::testing::TestWithParam<Setting> {
 protected:
  DynamicBatcherProperty() {
    clock_.AddListener([this] { timer_.Poke(); });
    spec_->dynamic_batching.preferred_batch_sizes = GetParam().preferred;
    spec_->dynamic_batching.max_queue_delay_us = GetParam().delay_us;
    spec_->dynamic_batching.preserve_ordering = GetParam().preserve_ordering;
    spec_->dynamic_batching.self_tuning = GetParam().self_tuning;
    reference_ = std::make_unique<Reference>(spec_->dynamic_batching, spec_->max_batch_size);
    DynamicBatcher::Options options;
    options.spec = spec_;
    options.clock = &clock_;
    options.timer = &timer_;
    options.statistics = std::make_shared<ModelStatistics>();
    // What tunes itself decides for itself; then this thread knows when it has decided.
    options.own_threads = !GetParam().self_tuning;
    for (std::size_t i = 0; i < GetParam().instances; ++i)
      options.instances.push_back(std::make_unique<ManualInstance>(strings_));
    batcher_ = DynamicBatcher::Create(std::move(options)).value();
  }
  ~DynamicBatcherProperty() override {
    while (!running_.empty()) End();  // each may let the next batch begin
    batcher_->Stop();
  }

  void Step() {
    switch (random_.Below(8)) {
      case 0:
      case 1:
        return Advance(random_.Below(120) * kNsPerUs);
      case 2:
        return Cancel();
      case 3:
        return End();
      default:
        return Send();
    }
  }
  // Until both agree.
  void Settle() {
    const std::int64_t now_ns = clock_.NowNs();
    for (const RequestPtr& request : reference_->Expire(now_ns))
      expected_[request->id] = StatusCode::kUnavailable;
    GetParam().self_tuning ? Follow() : Predict(now_ns);
    ASSERT_EQ(sink_->AwaitAtMostAMinute(expected_.size()), expected_.size()) << "answers";
  }
  void Predict(std::int64_t now_ns) {
    const std::size_t before = batches_;
    std::vector<std::vector<std::string>> expected;
    while (running_.size() < GetParam().instances && !reference_->waiting().empty()) {
      const std::vector<RequestPtr> batch = reference_->Form(now_ns);
      if (batch.empty()) break;
      std::vector<std::string>& ids = expected.emplace_back();
      for (const RequestPtr& request : batch) ids.push_back(request->id);
      Begin(ids);
    }
    ASSERT_EQ(strings_->AwaitStarted(batches_), batches_) << "batches";
    std::vector<std::vector<std::string>> begun = strings_->started_after(before);
    std::ranges::sort(begun);  // instances begin side by side
    std::ranges::sort(expected);
    ASSERT_EQ(begun, expected);
  }
  // How many rows it takes and how long it waits is its own choice; the order and the limits are
  // not.
  void Follow() {
    while (batcher_->RunLent()) {
    }
    for (const std::vector<std::string>& ids : strings_->started_after(batches_)) {
      ASSERT_TRUE(reference_->Take(ids)) << "a batch of " << ids.size() << " from " << ids[0];
      Begin(ids);
    }
    ASSERT_LE(running_.size(), GetParam().instances);
  }
  void Begin(const std::vector<std::string>& ids) {
    running_.push_back(ids);
    unanswered_.emplace(batches_++, std::pair(ids, /*ended=*/false));
  }
  void Advance(std::int64_t ns) {
    clock_.Advance(ns);
    AwaitDueCallbacks(clock_, &timer_);
    Settle();
  }
  void Send() {
    Advance(1);  // no two requests arrive at the same time
    RequestPtr request =
        MakeRequest(std::to_string(sent_++), sink_, 0, static_cast<int>(1 + random_.Below(3)),
                    static_cast<int>(random_.Below(6) == 0 ? 2 : 1));
    request->priority = static_cast<std::uint64_t>(random_.Below(5));
    if (random_.Below(3) == 0) request->timeout_us = static_cast<std::uint64_t>(random_.Below(400));
    if (!reference_->Add(request, clock_.NowNs()))
      expected_[request->id] = StatusCode::kUnavailable;
    batcher_->Enqueue(request, /*lend=*/false);
    Settle();
  }
  void Cancel() {
    const auto& waiting = reference_->waiting();
    if (waiting.empty()) return;
    const RequestPtr victim =
        waiting[static_cast<std::size_t>(random_.Below(std::ssize(waiting)))].request;
    reference_->Remove(victim);
    expected_[victim->id] = StatusCode::kCancelled;
    victim->Cancel();
    Settle();
  }
  // Of any running batch. With preserve_ordering its answers wait for those of the batches before.
  void End() {
    if (running_.empty()) return;
    const auto any = running_.begin() + random_.Below(std::ssize(running_));
    const std::vector<std::string> ids = std::move(*any);
    running_.erase(any);
    for (auto& [number, batch] : unanswered_) batch.second |= batch.first == ids;
    for (auto batch = unanswered_.begin(); batch != unanswered_.end();) {
      if (!batch->second.second) {
        if (GetParam().preserve_ordering) break;
        ++batch;
        continue;
      }
      for (const std::string& id : batch->second.first) {
        expected_[id] = StatusCode::kOk;
        expected_order_.push_back(id);
      }
      batch = unanswered_.erase(batch);
    }
    strings_->EndOf(ids.at(0));
    Settle();
  }
  // With time and idle instances nothing is left waiting.
  void ExpectTheQueueToEmpty() {
    for (int round = 0; round < kSteps; ++round) {
      if (running_.empty() && reference_->waiting().empty()) return;
      Advance(1'000 * kNsPerMs);
      End();
    }
    FAIL() << reference_->waiting().size() << " requests wait for ever";
  }
  void ExpectTheOrderOfAnswers() {
    std::vector<std::string> order;
    for (const auto& answer : sink_->Await(expected_.size())) {
      if (answer.response.status.ok()) order.push_back(answer.id);
    }
    EXPECT_EQ(order, expected_order_);
  }

  FakeClock clock_;
  DeadlineTimer timer_{clock_};
  std::shared_ptr<ModelSpec> spec_ = ThreeLevels();
  std::shared_ptr<ManualStrings> strings_ = std::make_shared<ManualStrings>();
  std::shared_ptr<RecordingSink> sink_ = std::make_shared<RecordingSink>();
  std::unique_ptr<Reference> reference_;
  std::shared_ptr<DynamicBatcher> batcher_;
  RepeatableRandom random_{11};
  std::vector<std::vector<std::string>> running_;  // the ids of each batch
  // By the order of their formation: the ids, and whether it has ended.
  std::map<std::size_t, std::pair<std::vector<std::string>, bool>> unanswered_;
  std::map<std::string, StatusCode> expected_;  // of those that have been answered
  std::vector<std::string> expected_order_;     // of the answers that are OK
  std::size_t batches_ = 0;
  int sent_ = 0;
};

TEST_P(DynamicBatcherProperty, BehavesAsTheReference) {
  for (int step = 0; step < kSteps; ++step) {
    SCOPED_TRACE("step " + std::to_string(step));
    Step();
    ASSERT_FALSE(HasFatalFailure());
  }
  ExpectTheQueueToEmpty();
  ExpectAnswers(*sink_, expected_, kSteps / 50,
                {StatusCode::kOk, StatusCode::kCancelled, StatusCode::kUnavailable});
  ExpectTheOrderOfAnswers();
  if (GetParam().self_tuning) {
    EXPECT_GT(reference_->small_batches(), 0) << "it only did what the default does";
  }
}

INSTANTIATE_TEST_SUITE_P(Settings, DynamicBatcherProperty,
                         ::testing::Values(Setting{"Default", {}, 0, 1, false, false},
                                           Setting{"Delay", {}, 150, 1, false, false},
                                           Setting{"PreferredSizes", {2, 5}, 100, 1, false, false},
                                           Setting{"TwoInstances", {}, 0, 2, false, false},
                                           Setting{"TwoInstancesDelay", {}, 150, 2, false, false},
                                           Setting{"PreserveOrdering", {2, 5}, 100, 3, true, false},
                                           Setting{"SelfTuned", {}, 0, 1, false, true},
                                           Setting{"SelfTunedInOrder", {}, 0, 2, true, true}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace fastserve
