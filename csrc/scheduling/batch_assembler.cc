#include "scheduling/batch_assembler.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "inference/response_output.h"
#include "scheduling/ragged_batch.h"

namespace fastserve {

namespace {

// One tensor of the rows of all requests' input number `index`.
Result<Tensor> GatherInput(const Execution& execution, std::size_t index) {
  const Tensor& first = execution.requests.front()->inputs[index];
  std::size_t size = 0;
  for (const RequestPtr& request : execution.requests) size += request->inputs[index].data.size;
  BufferPtr buffer = AllocateHostBuffer(size);
  if (buffer == nullptr) {
    return Status::Unavailable("no memory for a batch of " + std::to_string(size) +
                               " bytes of input '" + first.name + "'");
  }
  std::byte* out = buffer->data();
  for (const RequestPtr& request : execution.requests) {
    const BufferView& data = request->inputs[index].data;
    if (data.size != 0) std::memcpy(out, data.data, data.size);
    out += data.size;
  }
  CountCopiedBytes(size);
  Tensor gathered{first.name, first.type, first.shape, BufferView(std::move(buffer))};
  gathered.shape[0] = execution.batch_size;
  return gathered;
}

// The one dimension of a ragged input: the elements of all requests.
Shape FlatShape(const Execution& execution, std::size_t index) {
  std::int64_t elements = 0;
  for (const RequestPtr& request : execution.requests)
    elements += ElementCount(request->inputs[index].shape).value_or(0);
  return Shape(1, elements);
}

void CollectRequestedOutputs(Execution* execution) {
  std::vector<std::string>& names = execution->requested_outputs;
  names.clear();
  for (const RequestPtr& request : execution->requests) {
    if (request->outputs.empty()) {
      names.clear();
      return;
    }
    for (const RequestedOutput& output : request->outputs) {
      if (std::find(names.begin(), names.end(), output.name) == names.end())
        names.push_back(output.name);
    }
  }
}

// Where each request's rows of one output begin, as byte offsets; one more entry for the end.
Result<std::vector<std::size_t>> RequestOffsets(const Execution& execution, const Tensor& output) {
  const std::size_t count = execution.requests.size();
  if (output.shape.empty() || output.shape[0] != execution.batch_size) {
    return Status::Internal("output '" + output.name + "' has shape " +
                            ShapeToString(output.shape) + ", expected a first dimension of " +
                            std::to_string(execution.batch_size) + ", the size of the batch");
  }
  std::vector<std::size_t> offsets(count + 1, 0);
  const std::span<const std::int64_t> dims = output.shape;
  const std::int64_t row_elements = ElementCount(dims.subspan(1)).value_or(0);
  std::vector<std::size_t> row_offsets;
  if (output.type == DataType::kBytes) {
    const std::span<const std::byte> bytes(output.data.data, output.data.size);
    FASTSERVE_ASSIGN_OR_RETURN(
        row_offsets, BytesRowOffsets(output.name, bytes, execution.batch_size, row_elements));
  }
  const std::size_t row_bytes =
      static_cast<std::size_t>(row_elements) * DataTypeByteSize(output.type);
  std::size_t row = 0;
  for (std::size_t i = 0; i < count; ++i) {
    row += static_cast<std::size_t>(execution.requests[i]->batch_size);
    offsets[i + 1] = row_offsets.empty() ? row * row_bytes : row_offsets[row];
  }
  return offsets;
}

Status SplitOutput(const ModelSpec& spec, const Execution& execution, Tensor* output,
                   std::vector<InferResponse>* responses) {
  const BatchOutputSpec* scatter =
      spec.batch_outputs.empty() ? nullptr : FindBatchOutput(spec, output->name);
  if (scatter != nullptr) {
    FASTSERVE_ASSIGN_OR_RETURN(std::vector<Tensor> parts,
                               ScatterOutput(spec, *scatter, execution, *output));
    for (std::size_t i = 0; i < parts.size(); ++i) {
      AddOutput(spec, std::move(parts[i]), *execution.requests[i], &(*responses)[i]);
    }
    return Status::Ok();
  }
  if (execution.requests.size() == 1) {
    AddOutput(spec, std::move(*output), *execution.requests[0], &responses->front());
    return Status::Ok();
  }
  FASTSERVE_ASSIGN_OR_RETURN(const std::vector<std::size_t> offsets,
                             RequestOffsets(execution, *output));
  for (std::size_t i = 0; i < execution.requests.size(); ++i) {
    const InferRequest& request = *execution.requests[i];
    Tensor rows{output->name, output->type, output->shape,
                output->data.Slice(offsets[i], offsets[i + 1] - offsets[i])};
    rows.shape[0] = request.batch_size;
    AddOutput(spec, std::move(rows), request, &(*responses)[i]);
  }
  return Status::Ok();
}

}  // namespace

void CountRows(Execution* execution) {
  execution->batch_size = 0;
  for (const RequestPtr& request : execution->requests)
    execution->batch_size += request->batch_size;
}

Status AssembleBatch(const ModelSpec& spec, Execution* execution) {
  const bool batching = spec.max_batch_size > 0;
  InferRequest& first = *execution->requests.front();
  const bool alone = execution->requests.size() == 1;
  CountRows(execution);
  CollectRequestedOutputs(execution);
  execution->inputs.clear();
  execution->outputs.clear();
  for (std::size_t i = 0; i < first.inputs.size(); ++i) {
    if (alone) {
      execution->inputs.push_back(first.inputs[i]);
    } else {
      FASTSERVE_ASSIGN_OR_RETURN(Tensor gathered, GatherInput(*execution, i));
      execution->inputs.push_back(std::move(gathered));
    }
    Tensor& input = execution->inputs.back();
    const TensorSpec* input_spec = FindTensor(spec.inputs, input.name);
    if (input_spec == nullptr) continue;
    if (input_spec->allow_ragged_batch) {
      input.shape = FlatShape(*execution, i);
    } else {
      ApplyReshape(*input_spec, /*to_backend=*/true, batching, &input.shape);
    }
  }
  return spec.batch_inputs.empty() ? Status::Ok() : AppendBatchInputs(spec, execution);
}

Status SplitBatch(const ModelSpec& spec, Execution* execution,
                  std::vector<InferResponse>* responses) {
  responses->clear();
  responses->reserve(execution->requests.size());
  for (const RequestPtr& request : execution->requests) {
    InferResponse& response = responses->emplace_back();
    response.model_name = spec.name;
    response.model_version = spec.version;
    response.id = request->id;
    response.outputs.reserve(execution->outputs.size());
  }
  for (Tensor& output : execution->outputs) {
    FASTSERVE_RETURN_IF_ERROR(SplitOutput(spec, *execution, &output, responses));
  }
  return Status::Ok();
}

}  // namespace fastserve
