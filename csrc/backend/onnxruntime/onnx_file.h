// Reads what an ONNX file declares as inputs and outputs, without a session: only the file's field
// headers and the small messages that describe tensors are read, never the weights. Source:
// onnx.proto (ModelProto, GraphProto, ValueInfoProto, TypeProto, TensorShapeProto) of
// https://github.com/onnx/onnx
#pragma once

#include <string>
#include <vector>

#include "backend/backend.h"
#include "base/status.h"

namespace fastserve {

// An input or output as the file declares it.
struct OnnxValue {
  TensorSignature
      tensor;  // type is kInvalid when it is not a tensor, or of an element type the protocol lacks
  std::string
      kind;  // "tensor", "sequence", "map", "optional", "sparse tensor" or "unknown", for messages
  bool has_shape = false;  // false: not even the rank is declared
};

struct OnnxGraph {
  std::vector<OnnxValue> inputs;  // without those that an initializer gives a default
  std::vector<OnnxValue> outputs;
};

// Reads with pread, so a file that shrinks meanwhile is an error and not a SIGBUS. Blocks. Errors:
// Unavailable (cannot be read), InvalidArgument (is not an ONNX model; says where it stops making
// sense).
Result<OnnxGraph> ReadOnnxGraph(const std::string& path);

}  // namespace fastserve
