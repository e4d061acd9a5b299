#include "backend/worker/state_rows.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

namespace fastserve {

namespace {

const Tensor* FindByName(const std::vector<Tensor>& tensors, const std::string& name) {
  const auto found = std::ranges::find(tensors, name, &Tensor::name);
  return found == tensors.end() ? nullptr : &*found;
}

// The state that a row had before.
Result<Tensor> OldRow(const ModelSpec& spec, const Execution& execution, const StateSpec& state,
                      std::size_t row) {
  const Tensor* input = FindByName(execution.inputs, state.input_name);
  if (input == nullptr)
    return Status::Internal("the batch has no state input '" + state.input_name + "'");
  Tensor old = *input;
  if (spec.max_batch_size == 0 || execution.batch_size == 1) return old;
  if (state.type == DataType::kBytes) {
    FASTSERVE_ASSIGN_OR_RETURN(
        const std::vector<std::size_t> begins,
        BytesRowOffsets(
            old.name, {old.data.data, old.data.size}, execution.batch_size,
            ElementCount(std::span<const std::int64_t>(old.shape).subspan(1)).value_or(0)));
    old.data = old.data.Slice(begins[row], begins[row + 1] - begins[row]);
  } else {
    const std::size_t row_bytes = old.data.size / static_cast<std::size_t>(execution.batch_size);
    old.data = old.data.Slice(row * row_bytes, row_bytes);
  }
  old.shape[0] = 1;
  return old;
}

bool SameRowShape(const Tensor& a, const Tensor& b) {
  return a.type == b.type && a.shape.size() == b.shape.size() && !a.shape.empty() &&
         std::equal(a.shape.begin() + 1, a.shape.end(), b.shape.begin() + 1);
}

Result<Tensor> Join(const std::string& name, const std::vector<Tensor>& rows) {
  Tensor joined = rows.front();
  joined.name = name;
  if (rows.size() == 1) return joined;
  std::size_t size = 0;
  std::int64_t count = 0;
  for (const Tensor& row : rows) {
    if (!SameRowShape(row, rows.front())) {
      return Status::Internal("the rows of state '" + name + "' have shapes " +
                              ShapeToString(rows.front().shape) + " and " +
                              ShapeToString(row.shape));
    }
    size += row.data.size;
    count += row.shape[0];
  }
  BufferPtr buffer = AllocateHostBuffer(size);
  if (buffer == nullptr) return Status::Unavailable("no memory for state '" + name + "'");
  std::byte* at = buffer->data();
  for (const Tensor& row : rows) {
    if (row.data.size != 0) std::memcpy(at, row.data.data, row.data.size);
    at += row.data.size;
  }
  CountCopiedBytes(size);
  joined.shape[0] = count;
  joined.data = BufferView(std::move(buffer));
  return joined;
}

}  // namespace

Status CollectStates(const ModelSpec& spec, Execution* execution, std::vector<Answer>* answers) {
  for (const StateSpec& state : spec.sequence_batching.states) {
    std::vector<Tensor> rows;
    for (std::size_t i = 0; i < answers->size(); ++i) {
      const Tensor* output = FindByName((*answers)[i].outputs, state.output_name);
      if (output != nullptr && (*answers)[i].status.ok()) {
        rows.push_back(*output);
        continue;
      }
      const bool has_answer = (*answers)[i].kind == Answer::Kind::kTensors &&
                              (*answers)[i].status.ok() && execution->requests[i]->sink != nullptr;
      if (has_answer) {
        return Status::Internal("model '" + spec.name + "' did not return the state '" +
                                state.output_name + "'");
      }
      FASTSERVE_ASSIGN_OR_RETURN(Tensor old, OldRow(spec, *execution, state, i));
      rows.push_back(std::move(old));
    }
    FASTSERVE_ASSIGN_OR_RETURN(Tensor joined, Join(state.output_name, rows));
    execution->outputs.push_back(std::move(joined));
    if (FindTensor(spec.outputs, state.output_name) != nullptr) continue;
    for (Answer& answer : *answers)
      std::erase_if(answer.outputs, [&](const Tensor& t) { return t.name == state.output_name; });
  }
  return Status::Ok();
}

}  // namespace fastserve
