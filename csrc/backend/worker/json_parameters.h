// Parameters as the worker's packets carry them.
#pragma once

#include <string_view>

#include "base/status.h"
#include "inference/response.h"

namespace fastserve {

// A JSON object of numbers, strings and booleans ("" is an empty one); of a name given twice the
// last value holds. Errors: InvalidArgument, which names the parameter.
Result<Parameters> ParseParameters(std::string_view text);

}  // namespace fastserve
