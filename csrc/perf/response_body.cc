// Incremental comparison and bounded keeping of a response's body.
#include "perf/response_body.h"

#include <algorithm>

namespace fastserve::perf {

void ResponseBody::Reset(const std::string* expected, std::size_t keep_bytes,
                         std::size_t skip_bytes) {
  expected_ = expected;
  keep_bytes_ = keep_bytes;
  skip_bytes_ = skip_bytes;
  size_ = 0;
  same_ = true;
  kept_.clear();
}

void ResponseBody::Append(std::string_view bytes) {
  const std::size_t skipped = std::min(skip_bytes_, bytes.size());
  skip_bytes_ -= skipped;
  bytes.remove_prefix(skipped);
  if (bytes.empty()) return;
  if (expected_ != nullptr && same_) {
    same_ = size_ + bytes.size() <= expected_->size() &&
            expected_->compare(size_, bytes.size(), bytes) == 0;
  }
  if (kept_.size() < keep_bytes_) kept_.append(bytes.substr(0, keep_bytes_ - kept_.size()));
  size_ += bytes.size();
}

}  // namespace fastserve::perf
