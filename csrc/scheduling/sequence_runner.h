// One instance of a sequence model, with the batch that it runs and the memory for it.
#pragma once

#include <cstddef>
#include <vector>

#include "backend/backend.h"
#include "scheduling/model_statistics.h"
#include "scheduling/sequence_states.h"

namespace fastserve {

class SequenceBatcher;

// Owned by its SequenceBatcher; belongs to the thread that runs the batch. One batch at a time,
// whatever the backend's depth: the next one may need the states that this one makes.
class SequenceRunner final : public ExecutionObserver {
 public:
  SequenceRunner(SequenceBatcher* batcher, std::size_t index, BackendInstance* instance)
      : batcher_(*batcher), index_(index), instance_(*instance) {}

  // Executes `rows`. Every request is completed, or rescheduled, and the sequences are given back
  // before OnExecuted returns.
  void Run(SequenceRows rows);
  void OnExecuted(Execution* execution, Status status) override;

 private:
  // Outputs -> responses and states.
  Status TakeOutputs();
  void Finish(const Status& status);
  void Record(bool succeeded);
  void RespondAll();
  void FailAll(const Status& status);
  bool Rescheduled(std::size_t row) const {
    return row < execution_.rescheduled.size() && execution_.rescheduled[row];
  }

  SequenceBatcher& batcher_;
  const std::size_t index_;  // of the instance
  BackendInstance& instance_;
  SequenceRows rows_;
  Execution execution_;
  BatchTimes times_;
  std::vector<InferResponse> responses_;
};

}  // namespace fastserve
