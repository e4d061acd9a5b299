#include "backend/worker/execute_packet.h"

#include <cstring>
#include <utility>
#include <variant>

#include "protocol/json_writer.h"

namespace fastserve {

namespace {

// Where each of `rows` rows of an assembled input begins, and the end.
Result<std::vector<std::size_t>> RowBegins(const Tensor& input, std::int64_t rows) {
  if (input.shape.empty() || input.shape[0] != rows) {
    return Status::Internal("input '" + input.name + "' has shape " + ShapeToString(input.shape) +
                            ", expected a first dimension of " + std::to_string(rows));
  }
  const std::span<const std::int64_t> dims = input.shape;
  const std::int64_t row_elements = ElementCount(dims.subspan(1)).value_or(0);
  if (input.type == DataType::kBytes) {
    return BytesRowOffsets(input.name, {input.data.data, input.data.size}, rows, row_elements);
  }
  const std::size_t row_bytes =
      static_cast<std::size_t>(row_elements) * DataTypeByteSize(input.type);
  std::vector<std::size_t> begins;
  for (std::int64_t row = 0; row <= rows; ++row)
    begins.push_back(static_cast<std::size_t>(row) * row_bytes);
  // Whoever assembled it, nothing behind its bytes is read.
  if (begins.back() != input.data.size) {
    return Status::Internal("input '" + input.name + "' of type " +
                            std::string(DataTypeName(input.type)) + " and shape " +
                            ShapeToString(input.shape) + " has " + std::to_string(input.data.size) +
                            " bytes, expected " + std::to_string(begins.back()));
  }
  return begins;
}

void WriteCorrelation(const InferRequest& request, PacketWriter* writer) {
  if (const auto* text = std::get_if<std::string>(&request.sequence_id)) {
    writer->U8(1);
    writer->Text(*text);
    return;
  }
  writer->U8(0);
  writer->U64(std::get<std::uint64_t>(request.sequence_id));
}

// The states are asked for whatever the client wants.
void WriteRequestedOutputs(const ModelSpec& spec, const InferRequest& request,
                           PacketWriter* writer) {
  const std::vector<StateSpec>& states = spec.sequence_batching.states;
  const bool all = request.outputs.empty();
  writer->U16(static_cast<std::uint16_t>(all ? 0 : request.outputs.size() + states.size()));
  if (all) return;
  for (const RequestedOutput& output : request.outputs) writer->Text(output.name);
  for (const StateSpec& state : states) writer->Text(state.output_name);
}

void WriteHead(const ModelSpec& spec, const InferRequest& request, std::uint64_t handle,
               PacketWriter* writer) {
  writer->U64(handle);
  writer->U32((request.sequence_start ? kSequenceStart : 0) |
              (request.sequence_end ? kSequenceEnd : 0));
  writer->U64(request.timeout_us);
  WriteCorrelation(request, writer);
  writer->Text(request.id);
  std::string parameters;
  if (!request.parameters.empty()) AppendJsonParameters(request.parameters, &parameters);
  writer->Text(parameters);
  writer->Text("");  // no trace
  WriteRequestedOutputs(spec, request, writer);
}

}  // namespace

Result<BatchInputs> BatchInputs::Of(const ModelSpec& spec, const Execution& execution) {
  BatchInputs batch(&spec, &execution);
  if (spec.sequence_batching.enabled) FASTSERVE_RETURN_IF_ERROR(batch.SliceRows());
  return batch;
}

Status BatchInputs::SliceRows() {
  rows_.resize(request_count());
  for (const Tensor& input : execution_->inputs) {
    if (spec_->max_batch_size == 0) {
      rows_.front().push_back(input);
      continue;
    }
    FASTSERVE_ASSIGN_OR_RETURN(const std::vector<std::size_t> begins,
                               RowBegins(input, execution_->batch_size));
    std::size_t row = 0;
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      const auto count = static_cast<std::size_t>(request(i).batch_size);
      if (row + count >= begins.size())
        return Status::Internal("the requests of a batch have more rows than the batch");
      Tensor slice{input.name, input.type, input.shape,
                   input.data.Slice(begins[row], begins[row + count] - begins[row])};
      slice.shape[0] = request(i).batch_size;
      rows_[i].push_back(std::move(slice));
      row += count;
    }
  }
  return Status::Ok();
}

Shape BatchInputs::ShapeOf(const Tensor& input) const {
  Shape shape = input.shape;
  if (!rows_.empty()) return shape;
  const TensorSpec* configured = FindTensor(spec_->inputs, input.name);
  if (configured != nullptr)
    ApplyReshape(*configured, /*to_backend=*/true, spec_->max_batch_size > 0, &shape);
  return shape;
}

std::size_t BatchInputs::byte_size() const {
  std::size_t size = 0;
  for (std::size_t i = 0; i < request_count(); ++i) {
    for (const Tensor& input : inputs(i)) size += PlacedSize(input.data.size);
  }
  return size;
}

void CopyInputs(const BatchInputs& batch, const ArenaBlock& block) {
  std::byte* at = block.data();
  for (std::size_t i = 0; i < batch.request_count(); ++i) {
    for (const Tensor& input : batch.inputs(i)) {
      if (input.data.size == 0) continue;
      std::memcpy(at, input.data.data, input.data.size);
      CountCopiedBytes(input.data.size);
      at += PlacedSize(input.data.size);
    }
  }
}

void WriteExecute(const BatchInputs& batch, std::uint64_t execution, std::uint64_t first_handle,
                  const ArenaBlock* block, PacketWriter* writer) {
  writer->U64(execution);
  writer->U32(static_cast<std::uint32_t>(batch.request_count()));
  writer->Range(block == nullptr ? BlockRange{}
                                 : BlockRange{block->segment(), block->offset(), block->size()});
  std::uint64_t offset = 0;
  for (std::size_t i = 0; i < batch.request_count(); ++i) {
    WriteHead(batch.spec(), batch.request(i), batch.is_asked(i) ? first_handle + i : 0, writer);
    const std::span<const Tensor> inputs = batch.inputs(i);
    writer->U16(static_cast<std::uint16_t>(inputs.size()));
    for (const Tensor& input : inputs) {
      writer->Text(input.name);
      writer->U8(static_cast<std::uint8_t>(input.type));
      writer->Dims(batch.ShapeOf(input));
      writer->U64(input.data.size == 0 ? 0 : offset);
      writer->U64(input.data.size);
      offset += PlacedSize(input.data.size);
    }
  }
}

}  // namespace fastserve
