#include "cache/request_key.h"

#include <algorithm>
#include <bit>
#include <span>
#include <string_view>
#include <variant>

#include "cache/blake2b.h"

namespace fastserve {

namespace {

// Every piece of variable size is preceded by its size, so no two requests have the same encoding.
template <typename Hasher>
class KeyWriter {
 public:
  explicit KeyWriter(Hasher* hasher) : hasher_(*hasher) {}

  void Word(std::uint64_t word) { hasher_.AddWord(word); }
  void Bytes(std::span<const std::byte> bytes) {
    hasher_.AddWord(bytes.size());
    hasher_.AddBytes(bytes);
  }
  void Text(std::string_view text) { Bytes(std::as_bytes(std::span(text.data(), text.size()))); }

  void Request(const InferRequest& request) {
    Word(request.outputs.size());
    for (const RequestedOutput& output : request.outputs) {
      Text(output.name);
      Word(output.classification_count);
    }
    Word(request.parameters.size());
    for (const auto& [name, parameter] : request.parameters) {
      Text(name);
      ParameterValue(parameter);
    }
    Word(request.inputs.size());
    for (const Tensor& input : request.inputs) Input(input);
  }

 private:
  void ParameterValue(const Parameter& parameter) {
    Word(parameter.index());
    if (const auto* text = std::get_if<std::string>(&parameter)) {
      Text(*text);
    } else if (const auto* real = std::get_if<double>(&parameter)) {
      Word(std::bit_cast<std::uint64_t>(*real));
    } else if (const auto* natural = std::get_if<std::uint64_t>(&parameter)) {
      Word(*natural);
    } else if (const auto* integer = std::get_if<std::int64_t>(&parameter)) {
      Word(static_cast<std::uint64_t>(*integer));
    } else {
      Word(std::get<bool>(parameter) ? 1 : 0);
    }
  }

  void Input(const Tensor& input) {
    Text(input.name);
    Word(static_cast<std::uint64_t>(input.type));
    Word(input.shape.size());
    for (const std::int64_t dim : input.shape) Word(static_cast<std::uint64_t>(dim));
    Bytes({input.data.data, input.data.size});
  }

  Hasher& hasher_;
};

bool BelongsToServer(const Tensor& input) {
  if (input.data.owner == nullptr) return true;
  const MemoryType type = input.data.owner->memory_type();
  return type == MemoryType::kHost || type == MemoryType::kPinned;
}

bool InSequence(const InferRequest& request) {
  const auto* number = std::get_if<std::uint64_t>(&request.sequence_id);
  const bool has_id =
      number != nullptr ? *number != 0 : !std::get<std::string>(request.sequence_id).empty();
  return has_id || request.sequence_start || request.sequence_end;
}

}  // namespace

RequestKey KeyInProcess(const SipHasher::Key& secret, const CacheScope& scope,
                        const InferRequest& request) {
  SipHasher hasher(secret);
  hasher.AddWord(scope.generation);
  KeyWriter<SipHasher>(&hasher).Request(request);
  const auto digest = hasher.Finish();
  return {{digest[0], digest[1], 0, 0}};
}

RequestKey KeyAcrossServers(const CacheScope& scope, const InferRequest& request) {
  Blake2b hasher;
  KeyWriter<Blake2b> writer(&hasher);
  writer.Text(scope.model_name);
  writer.Word(static_cast<std::uint64_t>(scope.model_version));
  writer.Text(scope.fingerprint);
  writer.Request(request);
  return {hasher.Finish()};
}

bool IsCacheable(const InferRequest& request) {
  return !InSequence(request) && std::ranges::all_of(request.inputs, BelongsToServer);
}

}  // namespace fastserve
