// Responses and keys for the tests of the response cache.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "cache/request_key.h"
#include "support/requests.h"

namespace fastserve {

inline RequestKey KeyNumber(std::uint64_t number) { return {{number, number * 31, 0, 0}}; }

// One FP32 output X of shape [1, values].
inline InferResponse ResponseOf(const std::vector<float>& values) {
  InferResponse response;
  response.model_name = "m";
  response.id = "leader";
  Tensor output;
  output.name = "X";
  output.type = DataType::kFp32;
  output.shape = MakeShape({1, static_cast<std::int64_t>(values.size())});
  output.data = ViewOfFloats(values);
  response.outputs.push_back(std::move(output));
  return response;
}

}  // namespace fastserve
