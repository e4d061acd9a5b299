#include "scheduling/ensemble_members.h"

#include <algorithm>
#include <string>

namespace fastserve {

namespace {

// What is known of an ensemble tensor, and from which model.
struct KnownTensor {
  const std::string* model = nullptr;
  DataType type = DataType::kInvalid;
  bool batches = false;
  Shape dims;
};

bool SameDims(const Shape& a, const Shape& b) {
  return std::ranges::equal(a, b, [](std::int64_t left, std::int64_t right) {
    return left == right || left == -1 || right == -1;
  });
}

Shape FullDims(const KnownTensor& tensor) {
  Shape full = tensor.dims;
  if (tensor.batches) full.insert(full.begin(), -1);
  return full;
}

class MemberCheck {
 public:
  MemberCheck(const ModelSpec& ensemble, const EnsembleGraph& graph)
      : ensemble_(ensemble), graph_(graph), known_(graph.tensors().size()) {
    for (std::size_t i = 0; i < known_.size(); ++i) {
      const EnsembleGraph::TensorNode& node = graph.tensors()[i];
      const TensorSpec* spec = node.input != nullptr ? node.input : node.output;
      if (spec != nullptr) known_[i] = Known(ensemble, *spec, /*as_member=*/false);
    }
  }

  Status Check(std::size_t step, const ModelSpec& member) {
    place_ = graph_.StepPlace(step);
    if (member.decoupled && !ensemble_.decoupled) return Wrong(std::string(kDecoupledMember));
    if (member.max_batch_size != 0 && member.max_batch_size < ensemble_.max_batch_size) {
      return Wrong("the ensemble allows a batch size of " +
                   std::to_string(ensemble_.max_batch_size) + ", the model only " +
                   std::to_string(member.max_batch_size) + "; write a smaller max_batch_size");
    }
    const EnsembleGraph::Step& uses = graph_.steps()[step];
    for (const EnsembleGraph::Port& port : uses.inputs)
      FASTSERVE_RETURN_IF_ERROR(CheckPort("input", port, member, member.inputs));
    for (const EnsembleGraph::Port& port : uses.outputs)
      FASTSERVE_RETURN_IF_ERROR(CheckPort("output", port, member, member.outputs));
    return CheckAllMapped(uses, member);
  }

 private:
  // A client of the ensemble sees dims; behind its `reshape` the steps see the other shape.
  static KnownTensor Known(const ModelSpec& model, const TensorSpec& spec, bool as_member) {
    const bool reshaped = spec.has_reshape && !as_member;
    return {&model.name, spec.type, model.max_batch_size > 0, reshaped ? spec.reshape : spec.dims};
  }

  Status Wrong(const std::string& text) const {
    return Status::InvalidArgument(place_ + ": " + text);
  }

  Status CheckPort(const std::string& kind, const EnsembleGraph::Port& port,
                   const ModelSpec& member, const std::vector<TensorSpec>& tensors) {
    const TensorSpec* spec = FindTensor(tensors, port.member_name);
    if (spec == nullptr) {
      std::string names;
      for (const TensorSpec& tensor : tensors)
        names += (names.empty() ? "'" : ", '") + tensor.name + "'";
      return Wrong(kind + "_map names '" + port.member_name + "', the model's " + kind + "s are " +
                   names);
    }
    const KnownTensor theirs = Known(member, *spec, /*as_member=*/true);
    KnownTensor& known = known_[port.tensor];
    if (known.model == nullptr) known = theirs;
    return CheckSame(graph_.tensors()[port.tensor].name, known, theirs);
  }

  Status CheckSame(const std::string& tensor, const KnownTensor& known,
                   const KnownTensor& theirs) const {
    if (known.type != theirs.type) {
      return Wrong("ensemble tensor '" + tensor + "' is " + std::string(DataTypeName(known.type)) +
                   " in model '" + *known.model + "' and " +
                   std::string(DataTypeName(theirs.type)) + " in model '" + *theirs.model + "'");
    }
    if (SameDims(known.dims, theirs.dims) || SameDims(FullDims(known), FullDims(theirs)))
      return Status::Ok();
    return Wrong("ensemble tensor '" + tensor + "' has shape " + ShapeToString(FullDims(known)) +
                 " in model '" + *known.model + "' and " + ShapeToString(FullDims(theirs)) +
                 " in model '" + *theirs.model + "'");
  }

  Status CheckAllMapped(const EnsembleGraph::Step& uses, const ModelSpec& member) const {
    for (const TensorSpec& input : member.inputs) {
      if (input.optional) continue;
      const auto found =
          std::ranges::find(uses.inputs, input.name, &EnsembleGraph::Port::member_name);
      if (found == uses.inputs.end()) {
        return Wrong("input '" + input.name + "' is not mapped; write input_map { key: \"" +
                     input.name + "\" value: \"...\" }");
      }
    }
    return Status::Ok();
  }

  const ModelSpec& ensemble_;
  const EnsembleGraph& graph_;
  std::vector<KnownTensor> known_;
  std::string place_;
};

}  // namespace

Status CheckMembers(const ModelSpec& ensemble, const EnsembleGraph& graph,
                    const std::vector<std::shared_ptr<const ModelSpec>>& members) {
  MemberCheck check(ensemble, graph);
  for (std::size_t step = 0; step < members.size(); ++step) {
    if (members[step] == nullptr) continue;
    FASTSERVE_RETURN_IF_ERROR(check.Check(step, *members[step]));
  }
  return Status::Ok();
}

void AdaptBatchDimension(bool from_batches, bool to_batches, const Shape& dims, Shape* shape) {
  if (from_batches == to_batches) return;
  if (to_batches) {
    if (shape->size() == dims.size()) shape->insert(shape->begin(), 1);
  } else if (shape->size() == dims.size() + 1 && shape->front() == 1) {
    shape->erase(shape->begin());
  }
}

}  // namespace fastserve
