// What becomes of a response's bytes: compared with the expected ones, or the first of them kept
// for an error text.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace fastserve::perf {

// Takes a body in pieces of any size. Not thread safe.
class ResponseBody {
 public:
  // `expected` (may be null) must outlive the response; at most `keep_bytes` bytes are kept.
  // `skip_bytes` leading bytes are neither compared nor kept (gRPC's length prefix).
  void Reset(const std::string* expected, std::size_t keep_bytes, std::size_t skip_bytes);
  void Append(std::string_view bytes);

  std::size_t size() const { return size_; }
  const std::string& kept() const { return kept_; }
  // True when nothing was expected, or exactly these bytes arrived.
  bool matches() const { return expected_ == nullptr || (same_ && size_ == expected_->size()); }

 private:
  const std::string* expected_ = nullptr;
  std::size_t keep_bytes_ = 0;
  std::size_t skip_bytes_ = 0;
  std::size_t size_ = 0;
  bool same_ = true;
  std::string kept_;
};

}  // namespace fastserve::perf
