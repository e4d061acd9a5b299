// What the configuration says of ragged batches: tensors that the scheduler makes of a batch for
// the model (`batch_input`), and outputs that go back in the shapes of an input (`batch_output`).
// Source: Triton's BatchInput and BatchOutput (model_config.proto), user guide ragged_batching.md.
#pragma once

#include <cstdint>
#include <string>

#include "inference/data_type.h"

namespace fastserve {

// One value per request of the batch where nothing else is said. The element count of a request is
// that of its source input with all rows; shapes are those that the backend sees (after `reshape`),
// without the batch dimension.
enum class BatchInputKind : std::uint8_t {
  kElementCount,
  kAccumulatedElementCount,          // of the requests up to and with this one
  kAccumulatedElementCountWithZero,  // one entry more: a 0 in front
  kMaxElementCountAsShape,           // zeros, as many as the largest request has elements
  kItemShape,                        // one row per row of the batch: [rows,rank]
  kItemShapeFlatten,                 // the same in one dimension; both only of models that batch
};

// An input of the model that no request may send.
struct BatchInputSpec {
  std::string name;  // config target_name
  BatchInputKind kind = BatchInputKind::kElementCount;
  DataType type = DataType::kInt32;  // or kFp32
  std::string source_input;          // a required input
};

// An output that holds the requests' elements behind one another (kind
// BATCH_SCATTER_WITH_INPUT_SHAPE): each -1 of its configured shape, with the batch dimension, is
// the source input's dimension at that place.
struct BatchOutputSpec {
  std::string name;  // config target_name
  std::string source_input;
};

}  // namespace fastserve
