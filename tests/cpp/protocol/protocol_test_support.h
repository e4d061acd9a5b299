// Buffers, tensors and parse calls shared by the tests of the codecs.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "inference/request.h"
#include "protocol/infer_json.h"
#include "protocol/infer_proto.h"

namespace fastserve {

// A buffer of exactly `bytes`, so that a sanitizer sees every read past its end.
inline BufferView BufferOf(std::string_view bytes) {
  auto* data = new char[bytes.size()];
  if (!bytes.empty()) std::memcpy(data, bytes.data(), bytes.size());
  return BufferView(WrapHostBuffer(data, bytes.size(), [data] { delete[] data; }));
}

inline std::string BytesOf(const BufferView& view) {
  if (view.size == 0) return {};
  return {reinterpret_cast<const char*>(view.data), view.size};
}

template <typename T>
std::string BytesOf(const std::vector<T>& values) {
  std::string bytes(values.size() * sizeof(T), '\0');
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

// The serialised form of a BYTES tensor.
inline std::string Serialized(const std::vector<std::string>& elements) {
  std::string bytes;
  for (const std::string& element : elements) AppendBytesElement(element, &bytes);
  return bytes;
}

inline Tensor TensorOf(std::string name, DataType type, std::vector<std::int64_t> shape,
                       std::string_view bytes) {
  return {std::move(name), type, Shape(shape.begin(), shape.end()), BufferOf(bytes)};
}

inline std::vector<std::int64_t> Dims(const Tensor& tensor) {
  return {tensor.shape.begin(), tensor.shape.end()};
}

// A request and what parsing it said.
struct Parsed {
  std::shared_ptr<InferRequest> request = std::make_shared<InferRequest>();
  Status status;

  const Tensor& input(std::size_t index = 0) const { return request->inputs.at(index); }
  bool ok() const { return status.ok(); }
  const std::string& message() const { return status.message(); }
};

inline Parsed ParseJson(std::string_view json, std::string_view binary = {},
                        InferJsonLimits limits = {}) {
  Parsed parsed;
  parsed.request->model_name = "model";
  parsed.status = ParseInferRequest(BufferOf(std::string(json) + std::string(binary)), json.size(),
                                    limits, parsed.request.get());
  return parsed;
}

inline Parsed ParseProto(std::string_view message) {
  Parsed parsed;
  parsed.status = ParseModelInferRequest(BufferOf(message), parsed.request.get());
  return parsed;
}

// {"inputs":[{"name":"INPUT",...}]} with the members given.
inline std::string OneInput(std::string_view members) {
  return R"({"inputs":[{"name":"INPUT",)" + std::string(members) + "}]}";
}

}  // namespace fastserve
