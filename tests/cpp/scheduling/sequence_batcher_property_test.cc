// Random operations on the sequence batcher and on a reference: the same batches, refusals and
// answers at the same times.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "scheduling/sequence_batcher.h"
#include "support/expected_answers.h"
#include "support/fake_clock.h"
#include "support/manual_backend.h"
#include "support/random.h"
#include "support/requests.h"
#include "support/sequence_reference.h"

namespace fastserve {
namespace {

constexpr std::uint64_t kIdleUs = 200;
constexpr int kSteps = 800;
constexpr int kIds = 8;
constexpr std::int64_t kMaxBatch = 3;

struct Setting {
  const char* name;
  SequenceStrategy strategy;
  std::int64_t places;
  std::uint64_t delay_us;
  double utilization;                   // direct
  std::vector<std::int64_t> preferred;  // oldest; not empty
  bool iterative;
};

// The batch that runs now on an idle instance: nullptr is a row without a request.
using Rows = std::vector<const ReferenceSequence*>;

std::int64_t WidthOf(const ReferenceSequence& sequence) {
  return sequence.queue.front().request->inputs[0].shape[1];
}

Rows ChooseRows(const Setting& setting, ReferenceTable* table, std::int64_t now_ns) {
  Rows ready;
  for (const std::uint64_t id : table->Ready(0)) ready.push_back(table->Find(id));
  if (ready.empty()) return {};
  std::int64_t earliest = INT64_MAX;
  for (const auto* sequence : ready) earliest = std::min(earliest, sequence->queue.front().arrival);
  const bool in_time = now_ns < earliest + static_cast<std::int64_t>(setting.delay_us) * kNsPerUs;
  Rows alike;
  for (const auto* sequence : ready) {
    if (WidthOf(*sequence) == WidthOf(*ready[0]) && std::ssize(alike) < kMaxBatch)
      alike.push_back(sequence);
  }
  if (setting.strategy == SequenceStrategy::kDirect) {
    const double wanted = setting.utilization * static_cast<double>(setting.places);
    if (in_time && static_cast<double>(ready.size()) < wanted) return {};
    Rows rows;
    for (const auto* sequence : alike) {
      const auto slot = static_cast<std::size_t>(sequence->place->slot);
      rows.resize(std::max(rows.size(), slot + 1));
      rows[slot] = sequence;
    }
    return rows;
  }
  for (auto size = std::ssize(alike); size > 0; --size) {
    if (std::ranges::count(setting.preferred, size) == 0) continue;
    alike.resize(static_cast<std::size_t>(size));
    return alike;
  }
  return in_time ? Rows() : alike;
}

class SequenceBatcherProperty : public ::testing::TestWithParam<Setting> {
 protected:
  SequenceBatcherProperty() {
    clock_.AddListener([this] { timer_.Poke(); });
    const Setting& setting = GetParam();
    spec_->dynamic_batching.enabled = false;
    SequenceBatchingSpec& batching = spec_->sequence_batching;
    batching.enabled = true;
    batching.strategy = setting.strategy;
    batching.max_sequence_idle_us = kIdleUs;
    batching.max_queue_delay_us = setting.delay_us;
    batching.minimum_slot_utilization = setting.utilization;
    batching.max_candidate_sequences = setting.places;
    batching.preferred_batch_sizes = setting.preferred;
    batching.iterative = setting.iterative;
    SequenceBatcher::Options options;
    options.spec = spec_;
    options.clock = &clock_;
    options.timer = &timer_;
    options.statistics = std::make_shared<ModelStatistics>();
    options.instances.push_back(std::make_unique<ManualInstance>(strings_));
    batcher_ = SequenceBatcher::Create(std::move(options)).value();
  }
  ~SequenceBatcherProperty() override {
    while (!running_.empty()) End();  // each may let the next batch begin
    batcher_->Stop();
  }

  void Step() {
    switch (random_.Below(10)) {
      case 0:
        return Advance(random_.Below(100) * kNsPerUs);
      case 1:
        return Cancel();
      case 2:
      case 3:
      case 4:
        return End();
      default:
        return Send();
    }
  }
  void Settle() {
    reference_.Expire(clock_.NowNs());
    if (running_.empty()) BeginBatch();
    ASSERT_EQ(strings_->AwaitStarted(batches_), batches_) << "batches";
    ASSERT_EQ(sink_->AwaitAtMostAMinute(expected_.size()), expected_.size()) << "answers";
    ASSERT_EQ(batcher_->pending_requests(), reference_.waiting());
    if (running_.empty()) return;
    ASSERT_EQ(strings_->last_started(), running_);
  }
  void BeginBatch() {
    const Rows rows = ChooseRows(GetParam(), &reference_, clock_.NowNs());
    std::vector<std::uint64_t> ids;
    for (const auto* sequence : rows) {
      running_.push_back(sequence == nullptr ? "" : sequence->queue.front().request->id);
      ids.push_back(sequence == nullptr ? 0 : sequence->id);
    }
    for (const std::uint64_t id : ids) {
      if (id != 0) reference_.Begin(id);
    }
    running_sequences_ = std::move(ids);
    batches_ += rows.empty() ? 0 : 1;
  }
  // From one deadline to the next: at each of them it matters who else is there by then.
  void Advance(std::int64_t ns) {
    const std::int64_t end_ns = clock_.NowNs() + ns;
    do {
      const std::int64_t now_ns = clock_.NowNs();
      clock_.Advance(std::min(end_ns, NextDeadline(now_ns)) - now_ns);
      AwaitDueCallbacks(clock_, &timer_);
      Settle();
    } while (clock_.NowNs() < end_ns && !HasFatalFailure());
  }
  std::int64_t NextDeadline(std::int64_t now_ns) {
    std::int64_t next = reference_.next_expiry();
    for (const std::uint64_t id : reference_.Ready(0)) {
      const std::int64_t arrival_ns = reference_.Find(id)->queue.front().arrival;
      const std::int64_t ready_at_ns =
          arrival_ns + static_cast<std::int64_t>(GetParam().delay_us) * kNsPerUs;
      if (ready_at_ns > now_ns) next = std::min(next, ready_at_ns);
    }
    return next;
  }
  void Send() {
    Advance(1);  // no two requests arrive at the same time
    const auto id = static_cast<std::uint64_t>(random_.Below(kIds) + 1);
    RequestPtr request = MakeRequest(std::to_string(sent_++), sink_, 0, 1,
                                     static_cast<int>(random_.Below(8) == 0 ? 2 : 1));
    request->spec = spec_;
    request->sequence_id = id;
    request->sequence_start = random_.Below(10) < 4;
    request->sequence_end = random_.Below(10) < 3;
    if (reference_.Add(request, id, clock_.NowNs())) {
      waiting_.push_back(request);
    } else {
      expected_[request->id] = StatusCode::kInvalidArgument;
    }
    batcher_->Enqueue(request, /*lend=*/false);
    Settle();
  }
  // Of one that waits, or was to run: those answer at once.
  void Cancel() {
    std::erase_if(waiting_, [this](const RequestPtr& request) {
      return expected_.contains(request->id) || std::ranges::count(running_, request->id) != 0;
    });
    if (waiting_.empty()) return;
    const RequestPtr victim =
        waiting_[static_cast<std::size_t>(random_.Below(std::ssize(waiting_)))];
    const auto id = std::get<std::uint64_t>(victim->sequence_id);
    for (const RequestPtr& orphan :
         reference_.Cancel(id, victim, asked_.contains(victim->id), clock_.NowNs())) {
      expected_[orphan->id] = StatusCode::kInvalidArgument;
    }
    expected_[victim->id] = StatusCode::kCancelled;
    victim->Cancel();
    Settle();
  }
  // Iterative: the backend asks for some requests once more.
  void End() {
    if (running_.empty()) return;
    std::vector<bool> again;
    for (std::size_t row = 0; row < running_.size(); ++row) {
      const std::string& name = running_[row];
      again.push_back(GetParam().iterative && !name.empty() && random_.Below(3) == 0 &&
                      asked_.insert(name).second);
      if (!name.empty() && !again.back()) expected_[name] = StatusCode::kOk;
      if (!name.empty()) reference_.Finish(running_sequences_[row], again[row], clock_.NowNs());
    }
    running_.clear();
    strings_->End(GetParam().iterative ? again : std::vector<bool>());
    // Each is sent back, or answered: the cancelled ones of them wait again.
    Settle();
  }

  FakeClock clock_;
  DeadlineTimer timer_{clock_};
  std::shared_ptr<ModelSpec> spec_ = MakeSpec("manual", kMaxBatch);
  std::shared_ptr<ManualStrings> strings_ = std::make_shared<ManualStrings>();
  std::shared_ptr<RecordingSink> sink_ = std::make_shared<RecordingSink>();
  ReferenceTable reference_{1, GetParam().places, static_cast<std::int64_t>(kIdleUs) * kNsPerUs};
  std::shared_ptr<SequenceBatcher> batcher_;
  RepeatableRandom random_{5};
  std::vector<std::string> running_;  // by row, "" without a request
  std::vector<std::uint64_t> running_sequences_;
  std::vector<RequestPtr> waiting_;             // and some that no longer do
  std::set<std::string> asked_;                 // ran and came back
  std::map<std::string, StatusCode> expected_;  // of those that have been answered
  std::size_t batches_ = 0;
  int sent_ = 0;
};

TEST_P(SequenceBatcherProperty, BehavesAsTheReference) {
  for (int step = 0; step < kSteps; ++step) {
    SCOPED_TRACE("step " + std::to_string(step));
    Step();
    ASSERT_FALSE(HasFatalFailure());
  }
  ExpectAnswers(*sink_, expected_, kSteps / 50,
                {StatusCode::kOk, StatusCode::kCancelled, StatusCode::kInvalidArgument});
}

INSTANTIATE_TEST_SUITE_P(
    Settings, SequenceBatcherProperty,
    ::testing::Values(
        Setting{"Direct", SequenceStrategy::kDirect, kMaxBatch, 0, 0, {kMaxBatch}, false},
        Setting{"DirectWaits", SequenceStrategy::kDirect, kMaxBatch, 80, 0.6, {kMaxBatch}, false},
        Setting{"Oldest", SequenceStrategy::kOldest, 5, 80, 0, {2}, false},
        Setting{"Iterative", SequenceStrategy::kOldest, 4, 0, 0, {kMaxBatch}, true}),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace fastserve
