// The answer to one request, or one of several when the model is decoupled.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "base/status.h"
#include "inference/tensor.h"

namespace fastserve {

// A protocol parameter. uint64 keeps large unsigned values of gRPC exact.
using Parameter = std::variant<bool, std::int64_t, std::uint64_t, double, std::string>;
using Parameters = std::map<std::string, Parameter, std::less<>>;

// `outputs` hold views into the batch's output buffer: keep the response short-lived, or copy out
// (see ARCHITECTURE.md).
struct InferResponse {
  Status status;
  std::string model_name;
  std::int64_t model_version = 0;
  std::string id;
  std::vector<Tensor> outputs;
  Parameters parameters;
  // The final response of a decoupled model that says only that no more come: it has no tensors,
  // and a front end shows it only to those who asked for it.
  bool flags_only = false;
};

}  // namespace fastserve
