// A second reading of a JSON array of numbers, once the type and the number of its elements are
// known.
#pragma once

#include <cstddef>

#include "base/status.h"
#include "protocol/json_tensor_data.h"

namespace fastserve {

// Adds the elements of the array, nested or not, to `data`, which has begun. The text was read in
// place before and holds no strings. Errors: InvalidArgument with data->error().
Status ReplayNumbers(char* text, std::size_t size, JsonTensorData* data);

}  // namespace fastserve
