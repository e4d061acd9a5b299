#include "scheduling/sequence_states.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

#include "scheduling/tensor_rows.h"

namespace fastserve {

namespace {

// The states of a whole batch are one tensor.
Result<Tensor> InitialState(const StateSpec& state, int max_batch_size) {
  constexpr std::int64_t kMaxElements = std::numeric_limits<std::int32_t>::max();
  Shape shape = state.initial_dims;
  const std::optional<std::int64_t> count = ElementCount(shape);
  if (!count || *count > kMaxElements / std::max(max_batch_size, 1)) {
    return Status::InvalidArgument("state '" + state.input_name + "' of shape " +
                                   ShapeToString(shape) + " is too large for batches of " +
                                   std::to_string(std::max(max_batch_size, 1)) + " rows");
  }
  if (max_batch_size > 0) shape.insert(shape.begin(), 1);
  if (state.initial_data.empty()) return ZeroTensor(state.input_name, state.type, shape);
  BufferPtr buffer = AllocateHostBuffer(state.initial_data.size());
  if (buffer == nullptr) {
    return Status::Unavailable("no memory for the initial value of state '" + state.input_name +
                               "'");
  }
  std::memcpy(buffer->data(), state.initial_data.data(), state.initial_data.size());
  return Tensor{state.input_name, state.type, shape, BufferView(std::move(buffer))};
}

}  // namespace

Result<std::unique_ptr<SequenceStates>> SequenceStates::Create(
    std::shared_ptr<const ModelSpec> spec) {
  std::unique_ptr<SequenceStates> states(new SequenceStates(std::move(spec)));
  for (const StateSpec& state : states->spec_->sequence_batching.states) {
    FASTSERVE_ASSIGN_OR_RETURN(Tensor initial, InitialState(state, states->spec_->max_batch_size));
    states->initial_.push_back(std::move(initial));
  }
  return states;
}

bool SequenceStates::SameShapes(const Sequence& a, const Sequence& b) const {
  const RowStates& left = Of(a, *a.front());
  const RowStates& right = Of(b, *b.front());
  return std::ranges::equal(left, right,
                            [](const Tensor& x, const Tensor& y) { return x.shape == y.shape; });
}

Status SequenceStates::Append(const SequenceRows& rows, Execution* execution) const {
  if (initial_.empty()) return Status::Ok();
  RequestOutputs(execution);
  const auto first = std::ranges::find_if(rows, [](const Sequence* row) { return row != nullptr; });
  for (std::size_t i = 0; i < initial_.size(); ++i) {
    std::vector<const Tensor*> parts;
    const Tensor& like = Of(**first, *(*first)->running)[i];
    Tensor nothing;
    for (const Sequence* row : rows) {
      if (row == nullptr && nothing.data.owner == nullptr) {
        FASTSERVE_ASSIGN_OR_RETURN(nothing, ZeroTensor(like.name, like.type, like.shape));
      }
      parts.push_back(row == nullptr ? &nothing : &Of(*row, *row->running)[i]);
    }
    FASTSERVE_ASSIGN_OR_RETURN(Tensor joined, JoinRows(parts));
    execution->inputs.push_back(std::move(joined));
  }
  return Status::Ok();
}

void SequenceStates::RequestOutputs(Execution* execution) const {
  std::vector<std::string>& names = execution->requested_outputs;
  if (names.empty()) {
    for (const TensorSpec& output : spec_->outputs) names.push_back(output.name);
  }
  for (const StateSpec& state : spec_->sequence_batching.states) {
    if (std::ranges::find(names, state.output_name) == names.end())
      names.push_back(state.output_name);
  }
}

Status SequenceStates::Take(const SequenceRows& rows, Execution* execution,
                            std::vector<RowStates>* taken) const {
  taken->assign(rows.size(), {});
  for (const StateSpec& state : spec_->sequence_batching.states) {
    std::vector<Tensor>& outputs = execution->outputs;
    const auto output = std::ranges::find(outputs, state.output_name, &Tensor::name);
    if (output == outputs.end()) {
      return Status::Internal("model '" + spec_->name +
                              "': the backend did not return the state '" + state.output_name +
                              "'");
    }
    FASTSERVE_RETURN_IF_ERROR(TakeRows(state, *output, taken));
    if (FindTensor(spec_->outputs, state.output_name) == nullptr) outputs.erase(output);
  }
  return Status::Ok();
}

Status SequenceStates::TakeRows(const StateSpec& state, const Tensor& output,
                                std::vector<RowStates>* taken) const {
  // Rows of several types would be joined as if they were of the first one's.
  if (output.type != state.type) {
    return Status::Internal("model '" + spec_->name + "': the backend returned the state '" +
                            state.output_name + "' as " + std::string(DataTypeName(output.type)) +
                            ", expected " + std::string(DataTypeName(state.type)));
  }
  if (spec_->max_batch_size == 0) {
    taken->front().push_back(output);
    taken->front().back().name = state.input_name;
    return Status::Ok();
  }
  FASTSERVE_ASSIGN_OR_RETURN(const std::vector<std::size_t> begins,
                             RowBegins(output, taken->size()));
  for (std::size_t row = 0; row < taken->size(); ++row) {
    Tensor slice{state.input_name, output.type, output.shape,
                 output.data.Slice(begins[row], begins[row + 1] - begins[row])};
    slice.shape[0] = 1;
    (*taken)[row].push_back(std::move(slice));
  }
  return Status::Ok();
}

}  // namespace fastserve
