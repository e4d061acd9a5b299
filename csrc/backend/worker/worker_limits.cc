#include "backend/worker/worker_limits.h"

#include <charconv>
#include <cmath>
#include <string>

namespace fastserve {

namespace {

constexpr double kNsInSecond = 1e9;
constexpr double kLongestSeconds = 1e9;
constexpr const char* kInitializeSetting = "stub-timeout-seconds";

const std::string* FindParameter(const ModelSpec& spec, const char* name) {
  const auto found = spec.parameters.find(name);
  return found == spec.parameters.end() ? nullptr : &found->second;
}

template <typename T>
bool ParseAll(const std::string& text, T* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size();
}

Status Wrong(const ModelSpec& spec, const char* name, const std::string& text,
             const char* expected) {
  return Status::InvalidArgument("model '" + spec.name + "': parameter '" + name + "' is '" + text +
                                 "', expected " + expected);
}

Result<std::uint64_t> ReadCount(const ModelSpec& spec, const char* name) {
  const std::string* text = FindParameter(spec, name);
  std::uint64_t value = 0;
  if (text == nullptr || ParseAll(*text, &value)) return value;
  return Wrong(spec, name, *text, "a whole number of at least 0 (0: no limit)");
}

Result<std::int64_t> ParseSeconds(const ModelSpec& spec, const char* name,
                                  const std::string& text) {
  double seconds = 0;
  if (!ParseAll(text, &seconds) || !(seconds >= 0 && seconds <= kLongestSeconds))
    return Wrong(spec, name, text, "a number of seconds from 0 (no limit) to 1e9");
  return static_cast<std::int64_t>(std::llround(seconds * kNsInSecond));
}

Result<std::int64_t> ReadSeconds(const ModelSpec& spec, const char* name) {
  const std::string* text = FindParameter(spec, name);
  return text == nullptr ? std::int64_t{0} : ParseSeconds(spec, name, *text);
}

}  // namespace

Result<WorkerLimits> ReadWorkerLimits(const ModelSpec& spec) {
  WorkerLimits limits;
  FASTSERVE_ASSIGN_OR_RETURN(limits.execution_timeout_ns,
                             ReadSeconds(spec, "EXECUTION_TIMEOUT_SECONDS"));
  FASTSERVE_ASSIGN_OR_RETURN(limits.memory_limit_bytes, ReadCount(spec, "MEMORY_LIMIT_BYTES"));
  FASTSERVE_ASSIGN_OR_RETURN(limits.max_requests, ReadCount(spec, "MAX_REQUESTS_BEFORE_RESTART"));
  const SequenceBatchingSpec& sequences = spec.sequence_batching;
  if (limits.max_requests != 0 && sequences.enabled && sequences.states.empty()) {
    return Status::InvalidArgument(
        "model '" + spec.name +
        "': a new worker would not know the sequences that the one before it has begun; remove "
        "parameter 'MAX_REQUESTS_BEFORE_RESTART' (it needs 'sequence_batching { state }')");
  }
  if (const auto setting = spec.backend_config.find(kInitializeSetting);
      setting != spec.backend_config.end()) {
    FASTSERVE_ASSIGN_OR_RETURN(limits.initialize_limit_ns,
                               ParseSeconds(spec, kInitializeSetting, setting->second));
  }
  return limits;
}

}  // namespace fastserve
