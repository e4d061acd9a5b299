#include "scheduling/sequence_assembler.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>
#include <variant>

#include "scheduling/batch_assembler.h"
#include "scheduling/tensor_rows.h"

namespace fastserve {

namespace {

// A request of zeros with the shapes of another one, for the rows whose sequence has nothing to do.
Result<RequestPtr> EmptyRequest(const InferRequest& like) {
  auto request = std::make_shared<InferRequest>();
  request->model_name = like.model_name;
  request->spec = like.spec;
  request->outputs = like.outputs;
  for (const Tensor& input : like.inputs) {
    FASTSERVE_ASSIGN_OR_RETURN(Tensor zeros, ZeroTensor(input.name, input.type, input.shape));
    request->inputs.push_back(std::move(zeros));
  }
  return request;
}

template <typename T>
void AppendNumber(T value, std::string* bytes) {
  bytes->append(reinterpret_cast<const char*>(&value), sizeof(value));
}

bool ControlIsTrue(ControlKind kind, const Sequence* row) {
  if (row == nullptr) return false;
  if (kind == ControlKind::kReady) return true;
  return kind == ControlKind::kStart ? row->running->sequence_start : row->running->sequence_end;
}

void AppendFlag(const ControlSpec& control, const Sequence* row, std::string* bytes) {
  const bool is_true = ControlIsTrue(control.kind, row);
  const double value = is_true ? control.true_value : control.false_value;
  if (control.type == DataType::kInt32) {
    AppendNumber(static_cast<std::int32_t>(value), bytes);
  } else if (control.type == DataType::kFp32) {
    AppendNumber(static_cast<float>(value), bytes);
  } else {
    AppendNumber(static_cast<std::uint8_t>(value != 0), bytes);
  }
}

// CheckSequenceRequest has seen to it that the id fits the type.
void AppendCorrelationId(const ControlSpec& control, const Sequence* row, std::string* bytes) {
  static const SequenceId kNone{std::uint64_t{0}};
  const SequenceId& id = row == nullptr ? kNone : row->id;
  const auto* number = std::get_if<std::uint64_t>(&id);
  if (control.type == DataType::kBytes) {
    AppendBytesElement(number != nullptr ? std::string() : std::get<std::string>(id), bytes);
  } else if (DataTypeByteSize(control.type) == sizeof(std::uint32_t)) {
    AppendNumber(static_cast<std::uint32_t>(number != nullptr ? *number : 0), bytes);
  } else {
    AppendNumber(number != nullptr ? *number : 0, bytes);
  }
}

}  // namespace

Status SequenceAssembler::Assemble(const SequenceRows& rows, Execution* execution) const {
  const auto first = std::ranges::find_if(rows, [](const Sequence* row) { return row != nullptr; });
  RequestPtr empty;
  for (const Sequence* row : rows) {
    if (row == nullptr && empty == nullptr) {
      FASTSERVE_ASSIGN_OR_RETURN(empty, EmptyRequest(*(*first)->running));
    }
    execution->requests.push_back(row == nullptr ? empty : row->running);
  }
  FASTSERVE_RETURN_IF_ERROR(AssembleBatch(*spec_, execution));
  FASTSERVE_RETURN_IF_ERROR(AppendControls(rows, execution));
  return states_.Append(rows, execution);
}

Status SequenceAssembler::AppendControls(const SequenceRows& rows, Execution* execution) const {
  for (const ControlSpec& control : spec_->sequence_batching.controls) {
    std::string bytes;
    for (const Sequence* row : rows) {
      control.kind == ControlKind::kCorrelationId ? AppendCorrelationId(control, row, &bytes)
                                                  : AppendFlag(control, row, &bytes);
    }
    BufferPtr buffer = AllocateHostBuffer(bytes.size());
    if (buffer == nullptr) {
      return Status::Unavailable("no memory for control input '" + control.input_name + "'");
    }
    std::memcpy(buffer->data(), bytes.data(), bytes.size());
    Shape shape(1, 1);
    if (spec_->max_batch_size > 0) shape.insert(shape.begin(), execution->batch_size);
    execution->inputs.push_back(
        Tensor{control.input_name, control.type, shape, BufferView(std::move(buffer))});
  }
  return Status::Ok();
}

}  // namespace fastserve
