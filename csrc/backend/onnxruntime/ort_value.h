// Tensors in and out of ONNX Runtime's values, without copies where the memory allows.
#pragma once

#include <span>
#include <vector>

#include "backend/onnxruntime/ort_runtime.h"
#include "base/status.h"
#include "inference/tensor.h"

namespace fastserve {

// The values of one run, reused from run to run so that a run allocates no arrays. Owns the values.
// Not thread safe.
class OrtInputs {
 public:
  explicit OrtInputs(const OrtRuntime& runtime) : runtime_(runtime) {}
  ~OrtInputs() { Clear(); }
  OrtInputs(const OrtInputs&) = delete;
  OrtInputs& operator=(const OrtInputs&) = delete;

  // Makes one value per tensor, over the tensor's own bytes: the tensors must stay alive until
  // Clear. Copied (and counted by CountCopiedBytes) are BYTES, into strings, bytes not aligned to
  // their element, and what may be an index or a shape, where another process can write: it might
  // change what the library has checked. Errors: InvalidArgument (device memory, malformed BYTES),
  // Internal.
  Status Set(const std::vector<Tensor>& tensors);
  void Clear();

  const char* const* names() const { return names_.data(); }
  const ort::Value* const* values() const { return values_.data(); }
  std::size_t size() const { return values_.size(); }
  // Whether `data` lies in the bytes of one of the values, which are not the library's own.
  bool Covers(const void* data) const;

 private:
  Status Add(const Tensor& tensor);
  Status AddOverBytes(const Tensor& tensor);
  Status AddStrings(const Tensor& tensor);

  const OrtRuntime& runtime_;
  std::vector<const char*> names_;
  std::vector<ort::Value*> values_;
  std::vector<std::span<const std::byte>> bytes_;
  std::vector<BufferPtr> copies_;
};

// Turns what a run returned into a tensor, and owns it from then on: `tensor`'s buffer gives the
// value back. Copies BYTES into their serialised form, and an output that is one of `inputs`
// unchanged (a model may pass an input through; the bytes are not the value's own then).
// `tensor->name` is left alone. Errors: Internal.
Status TakeOutput(const OrtRuntime& runtime, OrtHandle<ort::Value> value, const OrtInputs& inputs,
                  Tensor* tensor);

}  // namespace fastserve
