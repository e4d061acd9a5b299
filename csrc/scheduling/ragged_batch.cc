#include "scheduling/ragged_batch.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

namespace fastserve {

namespace {

constexpr std::int64_t kMaxInt32 = std::numeric_limits<std::int32_t>::max();

// What the source input of one request says of it.
struct Item {
  Shape shape;  // as the backend sees it, with the batch dimension where the model batches
  std::int64_t elements = 0;
};

std::size_t BatchDims(const ModelSpec& spec) { return spec.max_batch_size > 0 ? 1 : 0; }

Shape BackendShape(const ModelSpec& spec, const Tensor& input) {
  const TensorSpec* input_spec = FindTensor(spec.inputs, input.name);
  const std::size_t batch_dims = BatchDims(spec);
  if (input_spec == nullptr || !input_spec->has_reshape || input.shape.size() < batch_dims)
    return input.shape;
  const std::span<const std::int64_t> shape = input.shape;
  Shape mapped = MapReshape(input_spec->dims, input_spec->reshape, shape.subspan(batch_dims));
  mapped.insert(mapped.begin(), shape.begin(),
                shape.begin() + static_cast<std::ptrdiff_t>(batch_dims));
  return mapped;
}

// Null when the request has no such input: only a warm-up sample can.
const Tensor* FindInput(const InferRequest& request, const std::string& name) {
  const auto found = std::ranges::find(request.inputs, name, &Tensor::name);
  return found == request.inputs.end() ? nullptr : &*found;
}

Result<std::vector<Item>> ItemsOf(const ModelSpec& spec, const Execution& execution,
                                  const BatchInputSpec& batch_input) {
  std::vector<Item> items;
  for (const RequestPtr& request : execution.requests) {
    const Tensor* source = FindInput(*request, batch_input.source_input);
    if (source == nullptr || source->shape.size() < BatchDims(spec)) {
      return Status::InvalidArgument("batch input '" + batch_input.name + "' needs input '" +
                                     batch_input.source_input + "'");
    }
    items.push_back({BackendShape(spec, *source), ElementCount(source->shape).value_or(0)});
  }
  return items;
}

// The shape of each row of the batch, one behind the other.
std::vector<std::int64_t> RowShapes(const std::vector<Item>& items) {
  std::vector<std::int64_t> values;
  for (const Item& item : items) {
    for (std::int64_t row = 0; row < item.shape[0]; ++row)
      values.insert(values.end(), item.shape.begin() + 1, item.shape.end());
  }
  return values;
}

std::vector<std::int64_t> Counts(const std::vector<Item>& items, bool accumulated) {
  std::vector<std::int64_t> values;
  for (const Item& item : items) {
    const std::int64_t before = accumulated && !values.empty() ? values.back() : 0;
    values.push_back(before + item.elements);
  }
  return values;
}

// The values of the tensor. Empty for kMaxElementCountAsShape, whose values mean nothing.
std::vector<std::int64_t> ValuesOf(BatchInputKind kind, const std::vector<Item>& items) {
  std::vector<std::int64_t> values;
  switch (kind) {
    case BatchInputKind::kElementCount:
      return Counts(items, /*accumulated=*/false);
    case BatchInputKind::kAccumulatedElementCount:
      return Counts(items, /*accumulated=*/true);
    case BatchInputKind::kAccumulatedElementCountWithZero:
      values = Counts(items, /*accumulated=*/true);
      values.insert(values.begin(), 0);
      return values;
    case BatchInputKind::kMaxElementCountAsShape:
      return values;
    case BatchInputKind::kItemShape:
    case BatchInputKind::kItemShapeFlatten:
      return RowShapes(items);
  }
  return values;
}

Shape ShapeOf(BatchInputKind kind, const std::vector<Item>& items,
              const std::vector<std::int64_t>& values) {
  if (kind == BatchInputKind::kMaxElementCountAsShape)
    return Shape(1, std::ranges::max(items, {}, &Item::elements).elements);
  const auto count = static_cast<std::int64_t>(values.size());
  if (kind != BatchInputKind::kItemShape) return Shape(1, count);
  std::int64_t rows = 0;
  for (const Item& item : items) rows += item.shape[0];
  Shape shape(1, rows);
  shape.push_back(static_cast<std::int64_t>(items.front().shape.size()) - 1);
  return shape;
}

template <typename T>
void Write(const std::vector<std::int64_t>& values, std::byte* out) {
  for (const std::int64_t value : values) {
    const T element = static_cast<T>(value);
    std::memcpy(out, &element, sizeof(element));
    out += sizeof(element);
  }
}

Result<Tensor> MakeBatchInput(const ModelSpec& spec, const Execution& execution,
                              const BatchInputSpec& batch_input) {
  FASTSERVE_ASSIGN_OR_RETURN(const std::vector<Item> items, ItemsOf(spec, execution, batch_input));
  const std::vector<std::int64_t> values = ValuesOf(batch_input.kind, items);
  const bool integers = batch_input.type == DataType::kInt32;
  if (integers && !values.empty() && std::ranges::max(values) > kMaxInt32) {
    return Status::InvalidArgument("the batch has " + std::to_string(std::ranges::max(values)) +
                                   " elements of input '" + batch_input.source_input +
                                   "', batch input '" + batch_input.name + "' counts up to " +
                                   std::to_string(kMaxInt32));
  }
  Tensor tensor;
  tensor.name = batch_input.name;
  tensor.type = batch_input.type;
  tensor.shape = ShapeOf(batch_input.kind, items, values);
  const std::size_t size = TensorByteSize(tensor.type, tensor.shape).value_or(SIZE_MAX);
  BufferPtr buffer = AllocateHostBuffer(size);
  if (buffer == nullptr) {
    return Status::Unavailable("no memory for the " + std::to_string(size) +
                               " bytes of batch input '" + batch_input.name + "'");
  }
  if (values.empty() && size != 0) std::memset(buffer->data(), 0, size);
  integers ? Write<std::int32_t>(values, buffer->data()) : Write<float>(values, buffer->data());
  tensor.data = BufferView(std::move(buffer));
  return tensor;
}

// The configured shape with its -1s from the source input's shape. Keeps a -1 where the source has
// no dimension: the caller finds that it has no element count.
Shape ScatteredShape(const ModelSpec& spec, const BatchOutputSpec& batch_output,
                     const InferRequest& request) {
  Shape shape;
  if (const TensorSpec* target = FindTensor(spec.outputs, batch_output.name)) shape = target->dims;
  shape.insert(shape.begin(), BatchDims(spec), -1);
  const Tensor* source = FindInput(request, batch_output.source_input);
  const Shape from = source == nullptr ? Shape() : BackendShape(spec, *source);
  for (std::size_t i = 0; i < std::min(shape.size(), from.size()); ++i) {
    if (shape[i] == -1) shape[i] = from[i];
  }
  return shape;
}

// Where each element of the output begins, and the end; only for strings.
Result<std::vector<std::size_t>> ElementOffsets(const Tensor& output, std::int64_t elements) {
  if (output.type != DataType::kBytes) return std::vector<std::size_t>();
  return BytesRowOffsets(output.name, {output.data.data, output.data.size}, elements, 1);
}

}  // namespace

std::vector<std::string> CountedInputs(const ModelSpec& spec) {
  std::vector<std::string> inputs;
  for (const BatchInputSpec& batch_input : spec.batch_inputs) {
    const bool counts = batch_input.type == DataType::kInt32 &&
                        batch_input.kind != BatchInputKind::kMaxElementCountAsShape;
    if (counts && std::ranges::find(inputs, batch_input.source_input) == inputs.end())
      inputs.push_back(batch_input.source_input);
  }
  return inputs;
}

bool BatchElements::Add(const InferRequest& request) {
  bool fits = true;
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    const Tensor* input = FindInput(request, inputs_[i]);
    if (input == nullptr) continue;
    // A tensor without elements may still have a dimension that does not fit.
    std::int64_t most = ElementCount(input->shape).value_or(INT64_MAX);
    for (const std::int64_t dim : input->shape) most = std::max(most, dim);
    elements_[i] = std::min(elements_[i] + std::min(most, kMaxInt32 + 1), kMaxInt32 + 1);
    fits = fits && elements_[i] <= kMaxInt32;
  }
  return fits;
}

Status AppendBatchInputs(const ModelSpec& spec, Execution* execution) {
  for (const BatchInputSpec& batch_input : spec.batch_inputs) {
    FASTSERVE_ASSIGN_OR_RETURN(Tensor tensor, MakeBatchInput(spec, *execution, batch_input));
    execution->inputs.push_back(std::move(tensor));
  }
  return Status::Ok();
}

Result<std::vector<Tensor>> ScatterOutput(const ModelSpec& spec,
                                          const BatchOutputSpec& batch_output,
                                          const Execution& execution, const Tensor& output) {
  const std::int64_t available = ElementCount(output.shape).value_or(0);
  FASTSERVE_ASSIGN_OR_RETURN(const std::vector<std::size_t> offsets,
                             ElementOffsets(output, available));
  const auto offset = [&, size = DataTypeByteSize(output.type)](std::int64_t element) {
    const auto index = static_cast<std::size_t>(element);
    return offsets.empty() ? index * size : offsets[index];
  };
  std::vector<Tensor> parts;
  std::int64_t begin = 0;
  for (const RequestPtr& request : execution.requests) {
    Shape shape = ScatteredShape(spec, batch_output, *request);
    const std::int64_t elements = ElementCount(shape).value_or(INT64_MAX);
    if (elements > available - begin) {
      return Status::Internal(
          "output '" + output.name + "' has shape " + ShapeToString(output.shape) +
          ", too few elements for " + ShapeToString(shape) + ", the shape of request " +
          std::to_string(parts.size()) + " by its input '" + batch_output.source_input + "'");
    }
    const std::size_t first = offset(begin);
    begin += elements;
    parts.push_back(Tensor{output.name, output.type, std::move(shape),
                           output.data.Slice(first, offset(begin) - first)});
  }
  if (begin == available) return parts;
  return Status::Internal("output '" + output.name + "' has shape " + ShapeToString(output.shape) +
                          ", expected " + std::to_string(begin) +
                          " elements, the shapes of input '" + batch_output.source_input +
                          "' of all requests together");
}

}  // namespace fastserve
