// Whether the members of an ensemble fit its graph: names, data types, shapes, batch sizes.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "inference/model_spec.h"
#include "scheduling/ensemble_graph.h"

namespace fastserve {

// Why a decoupled model cannot be a step of an ensemble that is not, and what to write.
inline constexpr std::string_view kDecoupledMember =
    "the model is decoupled and the ensemble is not; write model_transaction_policy { decoupled: "
    "true } in the ensemble's configuration";

// `members` has one entry for each step, null where the member is not loaded; those are looked at
// by their requests. Errors: InvalidArgument that names the step.
Status CheckMembers(const ModelSpec& ensemble, const EnsembleGraph& graph,
                    const std::vector<std::shared_ptr<const ModelSpec>>& members);

// A tensor on its way from one model to another that treats the batch dimension differently: a
// model that batches gets a first dimension of 1, one that does not loses a first dimension of 1,
// where `dims` (of the receiver, without batch dimension) ask for it. Everything else stays.
void AdaptBatchDimension(bool from_batches, bool to_batches, const Shape& dims, Shape* shape);

}  // namespace fastserve
