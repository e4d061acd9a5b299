// The rules for request parameters, written once for JSON and protobuf. Reserved names set fields
// of the request, names that a client may not use are refused, everything else is handed to the
// model. Source: Triton protocol extension_parameters.md, extension_sequence.md,
// extension_schedule_policy.md.
#pragma once

#include <string_view>

#include "base/status.h"
#include "inference/request.h"

namespace fastserve {

// How the value arrived; only the texts of errors differ.
enum class ParameterDialect : std::uint8_t { kJson, kProto };

// Stores one parameter of a request; of a name given twice the last value holds. Integers arrive as
// int64 when they fit. Errors: InvalidArgument for a reserved name or a reserved name's value of
// the wrong type.
Status ApplyRequestParameter(std::string_view key, Parameter value, ParameterDialect dialect,
                             InferRequest* request);

// The error for a tensor that asks for a shared memory region. `kind` is "input" or "output".
Status SharedMemoryNotOffered(std::string_view kind, std::string_view tensor_name,
                              std::string_view region);

// InvalidArgument "Unable to parse 'KEY': attempt to access JSON non-EXPECTED as EXPECTED".
Status JsonTypeError(std::string_view key, std::string_view expected);

// The error for a parameter that is null, an array or an object.
Status ParameterTypeError(std::string_view key);

// The value of a JSON number: an integer keeps its exact value, anything else is a double.
Parameter NumberParameter(std::string_view text);

// The value of a parameter that must be an unsigned integer; nullopt when it is not.
std::optional<std::uint64_t> AsUnsigned(const Parameter& value);

}  // namespace fastserve
