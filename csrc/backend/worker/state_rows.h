// The states of a sequence batch that a worker answered row by row.
#pragma once

#include <vector>

#include "backend/backend.h"
#include "backend/worker/answer.h"

namespace fastserve {

// Adds one tensor per StateSpec to the execution's outputs: the rows of the answers, and the state
// as it was for a row without an answer. States that are no outputs of the model leave the answers.
// Errors: Internal when rows differ; Unavailable when memory is exhausted.
Status CollectStates(const ModelSpec& spec, Execution* execution, std::vector<Answer>* answers);

}  // namespace fastserve
