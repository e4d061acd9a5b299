#include "inference/validation.h"

#include <algorithm>
#include <boost/container/small_vector.hpp>
#include <limits>
#include <string>
#include <string_view>

namespace fastserve {

namespace {

using Names = boost::container::small_vector<std::string_view, 16>;

// How many names an error lists: enough for any real model, too few for a client to blow the
// message up.
constexpr std::size_t kMostListedNames = 64;

// InvalidArgument as Triton words it when it knows the request.
Status Invalid(const InferRequest& request, std::string_view text) {
  const std::string_view id = request.id.empty() ? std::string_view("<id_unknown>") : request.id;
  std::string message = "[request id: ";
  message.append(id).append("] ").append(text);
  return Status::InvalidArgument(std::move(message));
}

// "'X' for model 'M'"
std::string Place(std::string_view name, const ModelSpec& spec) {
  std::string place = "'";
  return place.append(name).append("' for model '").append(spec.name).append("'");
}

// "['A','B']"
std::string QuotedList(const Names& names) {
  std::string list = "[";
  for (std::size_t i = 0; i < std::min(names.size(), kMostListedNames); ++i) {
    if (i > 0) list += ',';
    list.append("'").append(names[i]).append("'");
  }
  if (names.size() > kMostListedNames) list += ",...";
  return list + "]";
}

template <typename Named>
Names NamesOf(const std::vector<Named>& tensors) {
  Names names;
  for (const Named& tensor : tensors) names.push_back(tensor.name);
  return names;
}

// Sorts, so that thousands of names from a client stay cheap.
template <typename Named>
Status CheckDistinct(std::string_view kind, const std::vector<Named>& tensors) {
  if (tensors.size() < 2) return Status::Ok();
  Names names = NamesOf(tensors);
  std::ranges::sort(names);
  const auto twice = std::ranges::adjacent_find(names);
  if (twice == names.end()) return Status::Ok();
  return Status::InvalidArgument(std::string(kind) + " '" + std::string(*twice) +
                                 "' already exists in request");
}

Status CheckOutputNames(const InferRequest& request) {
  FASTSERVE_RETURN_IF_ERROR(CheckDistinct("output", request.outputs));
  for (const RequestedOutput& output : request.outputs) {
    if (FindTensor(request.spec->outputs, output.name) == nullptr) {
      return Status::InvalidArgument("unexpected inference output " +
                                     Place(output.name, *request.spec));
    }
  }
  return Status::Ok();
}

// The error for a wrong number of inputs, or for a required one that is not there.
Status MissingInputs(const InferRequest& request) {
  const std::vector<TensorSpec>& expected = request.spec->inputs;
  const Names given = NamesOf(request.inputs);
  const auto required =
      static_cast<std::size_t>(std::ranges::count(expected, false, &TensorSpec::optional));
  Names missing;
  for (const TensorSpec& input : expected) {
    if (!input.optional && std::ranges::find(given, input.name) == given.end())
      missing.push_back(input.name);
  }
  std::string range = std::to_string(expected.size()) + " inputs";
  if (required != expected.size()) {
    range = "number of inputs between " + std::to_string(required) + " and " +
            std::to_string(expected.size());
  }
  return Invalid(request, "expected " + range + " but got " + std::to_string(given.size()) +
                              " inputs for model '" + request.spec->name + "'. Got input(s) " +
                              QuotedList(given) + ", but missing required input(s) " +
                              QuotedList(missing) + ". Please provide all required input(s).");
}

// On success every input has a specification and every required one is there.
Status CheckInputNames(const InferRequest& request) {
  FASTSERVE_RETURN_IF_ERROR(CheckDistinct("input", request.inputs));
  const std::vector<TensorSpec>& expected = request.spec->inputs;
  const auto required =
      static_cast<std::size_t>(std::ranges::count(expected, false, &TensorSpec::optional));
  if (request.inputs.size() > expected.size() || request.inputs.size() < required)
    return MissingInputs(request);
  std::size_t required_given = 0;
  for (const Tensor& input : request.inputs) {
    const TensorSpec* spec = FindTensor(expected, input.name);
    if (spec == nullptr) {
      return Status::InvalidArgument("unexpected inference input " +
                                     Place(input.name, *request.spec));
    }
    if (!spec->optional) ++required_given;
  }
  return required_given == required ? Status::Ok() : MissingInputs(request);
}

// The specification's order, so that requests share batches in whatever order clients list inputs.
void SortInputs(InferRequest* request) {
  const auto place = [&specs = request->spec->inputs](const Tensor& input) {
    return FindTensor(specs, input.name);
  };
  if (!std::ranges::is_sorted(request->inputs, {}, place))
    std::ranges::sort(request->inputs, {}, place);
}

Status CheckDimsGiven(const InferRequest& request, const Tensor& input) {
  if (std::ranges::all_of(input.shape, [](std::int64_t dim) { return dim >= 0; }))
    return Status::Ok();
  return Invalid(request, "All input dimensions should be specified for input " +
                              Place(input.name, *request.spec) + ", got " +
                              ShapeToString(input.shape));
}

// All inputs of a model that batches have the same first dimension, within the limit; it becomes
// the request's.
Status CheckBatchSize(InferRequest* request) {
  const ModelSpec& spec = *request->spec;
  request->batch_size = 1;
  if (spec.max_batch_size == 0) return Status::Ok();
  for (const Tensor& input : request->inputs) {
    if (input.shape.empty()) {
      return Invalid(*request, "input '" + input.name +
                                   "' has no shape but model requires batch dimension for '" +
                                   spec.name + "'");
    }
    if (input.shape[0] != request->inputs[0].shape[0]) {
      return Invalid(*request, "input '" + input.name +
                                   "' batch size does not match other inputs for '" + spec.name +
                                   "'");
    }
  }
  if (!request->inputs.empty()) request->batch_size = request->inputs[0].shape[0];
  if (request->batch_size > spec.max_batch_size) {
    return Invalid(*request, "inference request batch-size must be <= " +
                                 std::to_string(spec.max_batch_size) + " for '" + spec.name + "'");
  }
  if (request->batch_size == 0) {
    return Invalid(*request, "inference request batch-size must be >= 1 for '" + spec.name + "'");
  }
  return Status::Ok();
}

Status CheckDataType(const InferRequest& request, const Tensor& input, const TensorSpec& spec) {
  if (input.type == spec.type) return Status::Ok();
  return Invalid(request, "inference input '" + input.name + "' data-type is '" +
                              std::string(DataTypeName(input.type)) + "', but model '" +
                              request.spec->name + "' expects '" +
                              std::string(DataTypeName(spec.type)) + "'");
}

Status UnexpectedShape(const InferRequest& request, const Tensor& input, const TensorSpec& spec) {
  const bool batches = request.spec->max_batch_size > 0;
  Shape expected = spec.dims;
  if (batches) expected.insert(expected.begin(), -1);
  std::string text = "unexpected shape for input " + Place(input.name, *request.spec) +
                     ". Expected " + ShapeToString(expected) + ", got " +
                     ShapeToString(input.shape) + ".";
  if (batches) {
    text +=
        " NOTE: Setting a non-zero max_batch_size in the model config requires a batch dimension "
        "to be prepended to each "
        "input shape. If you want to specify the full shape including the batch dim in your input "
        "dims config, try setting "
        "max_batch_size to zero. See the model configuration docs for more info on max_batch_size.";
  }
  return Invalid(request, text);
}

Status CheckShape(const InferRequest& request, const Tensor& input, const TensorSpec& spec) {
  std::span<const std::int64_t> dims = input.shape;
  if (request.spec->max_batch_size > 0) dims = dims.subspan(1);
  const auto fits = [](std::int64_t dim, std::int64_t expected) {
    return expected == -1 || dim == expected;
  };
  if (std::ranges::equal(dims, spec.dims, fits)) return Status::Ok();
  return UnexpectedShape(request, input, spec);
}

Status TooLarge(const InferRequest& request, const Tensor& input) {
  return Invalid(request, "shape " + ShapeToString(input.shape) + " of input " +
                              Place(input.name, *request.spec) +
                              " is too large: its size must be below 2^63 bytes");
}

Status CheckByteSize(const InferRequest& request, const Tensor& input) {
  const std::optional<std::int64_t> count = ElementCount(input.shape);
  if (!count) return TooLarge(request, input);
  if (input.type == DataType::kBytes) {
    const Status elements = CheckBytesElements(Place(input.name, *request.spec),
                                               {input.data.data, input.data.size}, *count);
    return elements.ok() ? elements : Invalid(request, elements.message());
  }
  std::int64_t expected = 0;
  if (__builtin_mul_overflow(*count, static_cast<std::int64_t>(DataTypeByteSize(input.type)),
                             &expected)) {
    return TooLarge(request, input);
  }
  if (static_cast<std::size_t>(expected) == input.data.size) return Status::Ok();
  return Invalid(request, "input byte size mismatch for input " + Place(input.name, *request.spec) +
                              ". Expected " + std::to_string(expected) + ", got " +
                              std::to_string(input.data.size));
}

// Batch inputs tell a backend sizes in 32 bits. A request that is alone too large for them must not
// fail the others of its batch.
Status CheckFitsBatchInputs(const InferRequest& request) {
  constexpr std::int64_t kMax = std::numeric_limits<std::int32_t>::max();
  for (const BatchInputSpec& batch_input : request.spec->batch_inputs) {
    const auto source = std::ranges::find(request.inputs, batch_input.source_input, &Tensor::name);
    if (source == request.inputs.end()) continue;
    const bool fits = ElementCount(source->shape).value_or(INT64_MAX) <= kMax &&
                      std::ranges::all_of(source->shape, [](auto dim) { return dim <= kMax; });
    if (fits) continue;
    return Invalid(request, "shape " + ShapeToString(source->shape) + " of input " +
                                Place(source->name, *request.spec) +
                                " is too large: the sizes in batch input '" + batch_input.name +
                                "' must be below 2^31");
  }
  return Status::Ok();
}

}  // namespace

// Names first, then the batch, then each input by itself: the order in which Triton finds faults.
Status ValidateRequest(InferRequest* request) {
  FASTSERVE_RETURN_IF_ERROR(CheckOutputNames(*request));
  FASTSERVE_RETURN_IF_ERROR(CheckInputNames(*request));
  SortInputs(request);
  for (const Tensor& input : request->inputs)
    FASTSERVE_RETURN_IF_ERROR(CheckDimsGiven(*request, input));
  FASTSERVE_RETURN_IF_ERROR(CheckBatchSize(request));
  request->input_bytes = 0;
  for (const Tensor& input : request->inputs) {
    const TensorSpec& spec = *FindTensor(request->spec->inputs, input.name);
    FASTSERVE_RETURN_IF_ERROR(CheckDataType(*request, input, spec));
    FASTSERVE_RETURN_IF_ERROR(CheckShape(*request, input, spec));
    FASTSERVE_RETURN_IF_ERROR(CheckByteSize(*request, input));
    request->input_bytes += input.data.size;
  }
  return request->spec->batch_inputs.empty() ? Status::Ok() : CheckFitsBatchInputs(*request);
}

bool IsReservedParameter(std::string_view key) {
  constexpr std::string_view kReserved[] = {"sequence_id",       "sequence_start", "sequence_end",
                                            "priority",          "timeout",        "headers",
                                            "binary_data_output"};
  return key.starts_with("triton_") || std::ranges::find(kReserved, key) != std::end(kReserved);
}

}  // namespace fastserve
