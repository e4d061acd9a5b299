// What one worker is executing: its batches, and the requests that it may still answer.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "backend/backend.h"
#include "inference/request.h"

namespace fastserve {

// A batch that the worker has.
struct RunningExecution {
  std::uint64_t id = 0;
  std::uint64_t first_handle = 0;  // of its requests, by their place in the batch
  Execution* execution = nullptr;
  ExecutionObserver* observer = nullptr;
  std::int64_t sent_ns = 0;
  std::int64_t held_until_ns = 0;  // by the reader of a request that has ended; 0: never
  // Of a decoupled model: which requests are to come again; empty: none.
  std::vector<bool> rescheduled = {};
};

// Fails an execution that no worker has, with the requests of a decoupled model.
void FailExecution(const ModelSpec& spec, Execution* execution, ExecutionObserver* observer,
                   const Status& status);

// Not thread safe. Invariants: 1. ids and handles are never used twice; 2. a request of a decoupled
// model stays open until it is closed, also after its execution has ended.
class ExecutionTable {
 public:
  // Opens the requests of a decoupled model, but for rows of a sequence batch that have none.
  RunningExecution Add(Execution* execution, ExecutionObserver* observer, std::int64_t now_ns,
                       const ModelSpec& spec);
  // Null when there is none of that id.
  const RunningExecution* Find(std::uint64_t id) const;
  // Removes it: it has ended.
  void End(std::uint64_t id, std::int64_t now_ns);
  // Null when nothing runs.
  const RunningExecution* oldest() const { return running_.empty() ? nullptr : &running_.front(); }
  // When the oldest one can have begun: sent, the one before it ended, and a reader that it waited
  // for had caught up. Nothing runs: nullopt.
  std::optional<std::int64_t> oldest_start_ns() const;

  // Those of one execution with the handles from `first` on, as far as it runs or they are open.
  std::vector<RequestPtr> Requests(std::uint64_t first, std::uint32_t count) const;
  // Null when it is not open.
  RequestPtr Open(std::uint64_t handle) const;
  // A request has been sent a response.
  void Responded(std::int64_t now_ns) { last_news_ns_ = now_ns; }
  // Open requests whose executions have ended.
  std::size_t left_open() const { return left_; }
  // Since when there are some, or since the last response. nullopt: there are none.
  std::optional<std::int64_t> quiet_since_ns() const;
  // `held_until_ns`: until when its sender waited for its reader; 0: never.
  void Close(std::uint64_t handle, std::int64_t held_until_ns);
  // A request of an execution that runs is to come again. False when there is none.
  bool Reschedule(std::uint64_t handle);
  // The handles under which a request was sent.
  std::vector<std::uint64_t> HandlesOf(const InferRequest& request) const;

  // Everything, for the end of the worker.
  std::deque<RunningExecution> TakeRunning() { return std::exchange(running_, {}); }
  std::vector<RequestPtr> TakeOpen();

  bool empty() const { return running_.empty() && open_.empty(); }
  std::size_t running() const { return running_.size(); }

 private:
  struct OpenRequest {
    RequestPtr request;
    bool is_left = false;  // its execution has ended
  };

  std::deque<RunningExecution> running_;       // in the order in which they were sent
  std::map<std::uint64_t, OpenRequest> open_;  // by handle
  std::uint64_t last_id_ = 0;
  std::uint64_t next_handle_ = 1;
  std::int64_t last_end_ns_ = 0;  // of one that was the oldest
  std::size_t left_ = 0;          // of open_, those that are left
  std::int64_t last_news_ns_ = 0;
};

}  // namespace fastserve
