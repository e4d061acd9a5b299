#include "scheduling/ensemble_stream.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace fastserve {

EnsembleStream::EnsembleStream(RequestPtr parent, std::size_t limit)
    : parent_(std::move(parent)), limit_(limit) {}

bool EnsembleStream::Begin(const RequestPtr& source) {
  const MutexLock lock(mutex_);
  if (source_ != nullptr) return false;
  source_ = source;
  return true;
}

RequestPtr EnsembleStream::source() const {
  const MutexLock lock(mutex_);
  return source_;
}

bool EnsembleStream::congested() const {
  const MutexLock lock(mutex_);
  return !HasRoomLocked();
}

void EnsembleStream::Add(InferResponse response) {
  if (response.outputs.empty()) return;
  const MutexLock lock(mutex_);
  if (closed_) return;
  ++on_their_way_;
  waiting_.push_back(std::move(response));
}

void EnsembleStream::AwaitReader() {
  // For the ensemble around this one, which has the same reasons not to hold the source.
  if (auto resources = source()->execution_resources())
    parent_->SetExecutionResources(std::move(resources));
  const bool slow = parent_->congested();
  {
    const MutexLock lock(mutex_);
    if (std::exchange(reader_is_slow_, slow) || !slow) return;
  }
  // After the flag: the hook may be called at once.
  if (!parent_->WaitForRoom(shared_from_this())) OnRoom(parent_);
}

void EnsembleStream::OnRoom(const RequestPtr& /*parent*/) {
  RequestPtr source;
  {
    const MutexLock lock(mutex_);
    reader_is_slow_ = false;
    if (HasRoomLocked()) source = source_;
  }
  if (source != nullptr) source->NotifyRoom();
}

bool EnsembleStream::HasRoomLocked() const {
  if (reader_is_slow_) return false;
  if (on_their_way_ < limit_) return true;
  // A step behind may need the resources that the source holds while it executes.
  const auto resources = source_ == nullptr ? nullptr : source_->execution_resources();
  return resources != nullptr && resources->any();
}

void EnsembleStream::Close() {
  const MutexLock lock(mutex_);
  closed_ = true;
}

std::optional<EnsembleStream::Arrival> EnsembleStream::Next() {
  std::deque<InferResponse> of_no_use;  // lets go of tensors, not under this lock
  const MutexLock lock(mutex_);
  if (next_ >= end_) of_no_use.swap(waiting_);
  if (waiting_.empty()) return std::nullopt;
  Arrival arrival{next_++, std::move(waiting_.front())};
  waiting_.pop_front();
  return arrival;
}

bool EnsembleStream::Enter(std::uint64_t number, std::shared_ptr<CancelHook> pass) {
  const MutexLock lock(mutex_);
  running_.emplace(number, std::move(pass));
  return number < end_;
}

void EnsembleStream::Finish(std::uint64_t number, Outcome outcome) {
  {
    const MutexLock lock(mutex_);
    running_.erase(number);
  }
  if (!outcome.failure.ok()) CancelFrom(number);
  // std::function wants to copy what it holds.
  auto made = std::make_shared<Outcome>(std::move(outcome));
  order_.Finish(number, [self = shared_from_this(), made] { self->Send(std::move(*made)); });
}

void EnsembleStream::Send(Outcome outcome) {
  sent_.sums.input_ns += outcome.sums.input_ns;
  sent_.sums.infer_ns += outcome.sums.infer_ns;
  sent_.sums.output_ns += outcome.sums.output_ns;
  if (sent_.failure.ok()) {
    if (outcome.failure.ok()) {
      parent_->Respond(std::move(outcome.response), /*final=*/false);
      AwaitReader();
    } else {
      sent_.failure = std::move(outcome.failure);
      sent_.reason = outcome.reason;
    }
  }
  RequestPtr source;
  {
    const MutexLock lock(mutex_);
    --on_their_way_;
    if (HasRoomLocked()) source = source_;
  }
  if (source != nullptr) source->NotifyRoom();
}

void EnsembleStream::CancelFrom(std::uint64_t number) {
  RequestPtr source;
  std::vector<std::shared_ptr<CancelHook>> passes;
  {
    const MutexLock lock(mutex_);
    if (number >= end_) return;  // whoever set the end cancels these, too
    end_ = number;
    source = source_;
    for (auto pass = running_.lower_bound(number); pass != running_.end(); ++pass)
      passes.push_back(pass->second);
  }
  if (source != nullptr) source->Cancel();
  for (const std::shared_ptr<CancelHook>& pass : passes) pass->OnCancel(parent_);
}

void EnsembleStream::End(std::function<void()> last) {
  std::uint64_t number = 0;
  {
    const MutexLock lock(mutex_);
    number = next_;
  }
  order_.Finish(number, std::move(last));
}

void EnsembleStream::AddTo(Outcome* end) const {
  end->sums.input_ns += sent_.sums.input_ns;
  end->sums.infer_ns += sent_.sums.infer_ns;
  end->sums.output_ns += sent_.sums.output_ns;
  if (sent_.failure.ok()) return;
  end->failure = sent_.failure;
  end->reason = sent_.reason;
}

}  // namespace fastserve
