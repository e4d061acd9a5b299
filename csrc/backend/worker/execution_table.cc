#include "backend/worker/execution_table.h"

#include <algorithm>
#include <utility>

namespace fastserve {

void FailExecution(const ModelSpec& spec, Execution* execution, ExecutionObserver* observer,
                   const Status& status) {
  if (spec.decoupled) {
    for (const RequestPtr& request : execution->requests) {
      if (request->sink != nullptr) request->Fail(status, FailureReason::kBackend);
    }
  }
  observer->OnExecuted(execution, status);
}

RunningExecution ExecutionTable::Add(Execution* execution, ExecutionObserver* observer,
                                     std::int64_t now_ns, const ModelSpec& spec) {
  RunningExecution& added = running_.emplace_back();
  added.id = ++last_id_;
  added.first_handle = next_handle_;
  added.execution = execution;
  added.observer = observer;
  added.sent_ns = now_ns;
  next_handle_ += execution->requests.size();
  for (std::size_t i = 0; spec.decoupled && i < execution->requests.size(); ++i) {
    if (!spec.sequence_batching.enabled || execution->requests[i]->sink != nullptr)
      open_.emplace(added.first_handle + i, OpenRequest{execution->requests[i]});
  }
  return added;
}

const RunningExecution* ExecutionTable::Find(std::uint64_t id) const {
  const auto found = std::ranges::find(running_, id, &RunningExecution::id);
  return found == running_.end() ? nullptr : &*found;
}

void ExecutionTable::End(std::uint64_t id, std::int64_t now_ns) {
  // Of executions side by side, one that ends says nothing of those before it.
  if (!running_.empty() && running_.front().id == id) last_end_ns_ = now_ns;
  const bool none_was_left = left_ == 0;
  if (const RunningExecution* const ended = Find(id); ended != nullptr && !open_.empty()) {
    const std::uint64_t end = ended->first_handle + ended->execution->requests.size();
    for (auto at = open_.lower_bound(ended->first_handle); at != open_.end() && at->first < end;
         ++at) {
      at->second.is_left = true;
      ++left_;
    }
  }
  // Later it is no news: a coroutine has only begun.
  if (none_was_left) last_news_ns_ = now_ns;
  std::erase_if(running_, [id](const RunningExecution& running) { return running.id == id; });
}

std::optional<std::int64_t> ExecutionTable::oldest_start_ns() const {
  if (running_.empty()) return std::nullopt;
  const RunningExecution& oldest = running_.front();
  return std::max({oldest.sent_ns, oldest.held_until_ns, last_end_ns_});
}

std::vector<RequestPtr> ExecutionTable::Requests(std::uint64_t first, std::uint32_t count) const {
  std::vector<RequestPtr> found;
  for (const RunningExecution& running : running_) {
    const std::vector<RequestPtr>& requests = running.execution->requests;
    for (std::size_t i = 0; i < requests.size(); ++i) {
      // Below `first` the difference wraps around, and is no less than any count.
      if (running.first_handle + i - first < count) found.push_back(requests[i]);
    }
  }
  if (!found.empty()) return found;
  for (auto at = open_.lower_bound(first); at != open_.end() && at->first - first < count; ++at)
    found.push_back(at->second.request);
  return found;
}

RequestPtr ExecutionTable::Open(std::uint64_t handle) const {
  const auto found = open_.find(handle);
  return found == open_.end() ? nullptr : found->second.request;
}

std::optional<std::int64_t> ExecutionTable::quiet_since_ns() const {
  if (left_ == 0) return std::nullopt;
  return last_news_ns_;
}

void ExecutionTable::Close(std::uint64_t handle, std::int64_t held_until_ns) {
  if (const auto found = open_.find(handle); found != open_.end()) {
    if (found->second.is_left) --left_;
    open_.erase(found);
  }
  for (RunningExecution& running : running_) {
    if (handle >= running.first_handle &&
        handle - running.first_handle < running.execution->requests.size())
      running.held_until_ns = std::max(running.held_until_ns, held_until_ns);
  }
}

bool ExecutionTable::Reschedule(std::uint64_t handle) {
  for (RunningExecution& running : running_) {
    const std::size_t count = running.execution->requests.size();
    if (handle < running.first_handle || handle - running.first_handle >= count) continue;
    running.rescheduled.resize(count, false);
    running.rescheduled[handle - running.first_handle] = true;
    return true;
  }
  return false;
}

std::vector<std::uint64_t> ExecutionTable::HandlesOf(const InferRequest& request) const {
  std::vector<std::uint64_t> handles;
  for (const RunningExecution& running : running_) {
    const std::vector<RequestPtr>& requests = running.execution->requests;
    for (std::size_t i = 0; i < requests.size(); ++i) {
      if (requests[i].get() == &request) handles.push_back(running.first_handle + i);
    }
  }
  for (const auto& [handle, open] : open_) {
    if (open.request.get() == &request && std::ranges::find(handles, handle) == handles.end())
      handles.push_back(handle);
  }
  return handles;
}

std::vector<RequestPtr> ExecutionTable::TakeOpen() {
  std::vector<RequestPtr> taken;
  taken.reserve(open_.size());
  left_ = 0;
  for (auto& [handle, open] : std::exchange(open_, {})) taken.push_back(std::move(open.request));
  return taken;
}

}  // namespace fastserve
