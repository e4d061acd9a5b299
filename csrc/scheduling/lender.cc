#include "scheduling/lender.h"

#include <algorithm>
#include <utility>

namespace fastserve {

namespace {
thread_local Lender* running_lender = nullptr;
}  // namespace

Lender::~Lender() {
  for (const auto& scheduler : pending_) scheduler->WakeWorker();
}

bool Lender::Run() {
  if (pending_.empty()) return false;
  Lender* const outer = std::exchange(running_lender, this);
  bool ran = false;
  // A response may submit the next request from inside the run: take schedulers until none is left.
  while (!pending_.empty()) {
    const std::shared_ptr<Scheduler> scheduler = std::move(pending_.back());
    pending_.pop_back();
    ran = scheduler->RunLent() || ran;
  }
  running_lender = outer;
  return ran;
}

void Lender::Add(std::shared_ptr<Scheduler> scheduler) {
  if (std::find(pending_.begin(), pending_.end(), scheduler) == pending_.end()) {
    pending_.push_back(std::move(scheduler));
  }
}

Lender* Lender::Current() { return running_lender; }

}  // namespace fastserve
