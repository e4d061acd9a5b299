#include "protocol/parameters.h"

#include <charconv>
#include <cstdlib>
#include <string>
#include <utility>

namespace fastserve {

namespace {

constexpr std::string_view kEmptyFinalResponse = "triton_enable_empty_final_response";

struct TypeNames {
  std::string_view json;
  std::string_view proto;
};
constexpr TypeNames kBoolNames{"boolean", "bool_param"};
constexpr TypeNames kUnsignedNames{"unsigned-integer", "int64_param or uint64_param"};
constexpr TypeNames kSequenceIdNames{"unsigned-integer or string", "int64_param or string_param"};

Status WrongType(std::string_view key, ParameterDialect dialect, const TypeNames& expected) {
  if (dialect == ParameterDialect::kJson) return JsonTypeError(key, expected.json);
  return Status::InvalidArgument("invalid value type for '" + std::string(key) +
                                 "' parameter, expected " + std::string(expected.proto) + ".");
}

Status SetBool(std::string_view key, const Parameter& value, ParameterDialect dialect,
               bool* field) {
  const bool* flag = std::get_if<bool>(&value);
  if (flag == nullptr) return WrongType(key, dialect, kBoolNames);
  *field = *flag;
  return Status::Ok();
}

Status SetUnsigned(std::string_view key, const Parameter& value, ParameterDialect dialect,
                   std::uint64_t* field) {
  const auto number = AsUnsigned(value);
  if (number.has_value()) {
    *field = *number;
    return Status::Ok();
  }
  if (dialect == ParameterDialect::kProto && std::holds_alternative<std::int64_t>(value)) {
    return Status::InvalidArgument("invalid value for '" + std::string(key) +
                                   "', expected value >= 0.");
  }
  return WrongType(key, dialect, kUnsignedNames);
}

Status SetSequenceId(const Parameter& value, ParameterDialect dialect, InferRequest* request) {
  if (const auto* text = std::get_if<std::string>(&value)) {
    request->sequence_id = *text;
  } else if (const auto number = AsUnsigned(value)) {
    request->sequence_id = *number;
  } else if (const auto* wrapped = std::get_if<std::int64_t>(&value);
             wrapped != nullptr && dialect == ParameterDialect::kProto) {
    // Clients put uint64 ids above 2^63 into int64_param: the same bits.
    request->sequence_id = static_cast<std::uint64_t>(*wrapped);
  } else {
    return WrongType("sequence_id", dialect, kSequenceIdNames);
  }
  return Status::Ok();
}

Status ApplyTritonParameter(std::string_view key, const Parameter& value, InferRequest* request) {
  if (key != kEmptyFinalResponse) {
    return Status::InvalidArgument(
        "Parameter \"" + std::string(key) +
        "\" is a reserved parameter and cannot be specified: parameter keys starting with "
        "'triton_' are reserved for Triton usage. Only the following keys starting with "
        "'triton_' are allowed: " +
        std::string(kEmptyFinalResponse));
  }
  const bool* flag = std::get_if<bool>(&value);
  if (flag == nullptr) {
    return Status::InvalidArgument(
        "invalid value type for '" + std::string(key) +
        "' parameter, expected bool_param. Parameter keys starting with 'triton_' are "
        "reserved for Triton usage.");
  }
  request->enable_empty_final_response = *flag;
  return Status::Ok();
}

}  // namespace

std::optional<std::uint64_t> AsUnsigned(const Parameter& value) {
  if (const auto* number = std::get_if<std::uint64_t>(&value)) return *number;
  if (const auto* number = std::get_if<std::int64_t>(&value); number != nullptr && *number >= 0) {
    return static_cast<std::uint64_t>(*number);
  }
  return std::nullopt;
}

Status JsonTypeError(std::string_view key, std::string_view expected) {
  const std::string name(expected);
  return Status::InvalidArgument("Unable to parse '" + std::string(key) +
                                 "': attempt to access JSON non-" + name + " as " + name);
}

Status ParameterTypeError(std::string_view key) {
  return Status::InvalidArgument(
      "parameter '" + std::string(key) +
      "' has invalid type. It should be either 'int', 'bool', or 'string'.");
}

Parameter NumberParameter(std::string_view text) {
  const char* const begin = text.data();
  const char* const end = begin + text.size();
  std::int64_t integer = 0;
  if (const auto [stop, code] = std::from_chars(begin, end, integer);
      code == std::errc() && stop == end) {
    return integer;
  }
  std::uint64_t large = 0;
  if (const auto [stop, code] = std::from_chars(begin, end, large);
      code == std::errc() && stop == end) {
    return large;
  }
  return std::strtod(std::string(text).c_str(), nullptr);
}

Status SharedMemoryNotOffered(std::string_view kind, std::string_view tensor_name,
                              std::string_view region) {
  return Status::Unsupported("Client shared memory is disabled: " + std::string(kind) + " '" +
                             std::string(tensor_name) + "' asks for shared memory region '" +
                             std::string(region) + "' (shared_memory_region)");
}

Status ApplyRequestParameter(std::string_view key, Parameter value, ParameterDialect dialect,
                             InferRequest* request) {
  if (key == "sequence_id") return SetSequenceId(value, dialect, request);
  if (key == "sequence_start") return SetBool(key, value, dialect, &request->sequence_start);
  if (key == "sequence_end") return SetBool(key, value, dialect, &request->sequence_end);
  if (key == "priority") return SetUnsigned(key, value, dialect, &request->priority);
  if (key == "timeout") return SetUnsigned(key, value, dialect, &request->timeout_us);
  if (key == "binary_data_output")
    return SetBool(key, value, dialect, &request->binary_data_output);
  if (key == "headers") {
    return Status::InvalidArgument(
        "Parameter \"headers\" is a reserved parameter and cannot be specified");
  }
  if (key.starts_with("triton_")) return ApplyTritonParameter(key, value, request);
  request->parameters.insert_or_assign(std::string(key), std::move(value));
  return Status::Ok();
}

}  // namespace fastserve
