// One response of a worker's, read from a packet, and written into one (BLS).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "backend/worker/wire.h"
#include "backend/worker/worker_link.h"
#include "base/status.h"
#include "inference/request.h"
#include "inference/response.h"

namespace fastserve {

// What a worker answered. Its outputs are views into shared memory.
struct Answer {
  enum class Kind : std::uint8_t { kNothing, kTensors, kError };
  Kind kind = Kind::kNothing;
  Status status;  // not OK with kError, and where the parameters cannot be used
  Parameters parameters;
  std::vector<Tensor> outputs;
};

// The block that a packet hands over with its answers.
struct AnswerBlock {
  BlockRange range;
  BufferPtr buffer;  // null when the length is 0
};

// Reads a block's range and takes the block. Errors: InvalidArgument, as all of these: the worker
// broke a rule.
Result<AnswerBlock> ReadAnswerBlock(PacketReader* reader, WorkerLink* link);
// Reads one response. Every output is checked: its name, type, shape and size, and that its bytes
// are in memory that the worker may name.
Result<Answer> ReadAnswer(PacketReader* reader, const WorkerLink& link, const AnswerBlock& block);
// The type, shape and size that come with a tensor, checked against each other.
struct WireTensor {
  Tensor tensor;  // without data
  BlockRange range;
};
Status CheckWireTensor(const WireTensor& wire);
// The bytes, aligned for the type, as the tensor's. Errors: as CheckBytesElements; Unavailable.
Status SetData(BufferView bytes, Tensor* tensor);

// The answer as `request` gets it.
InferResponse ToResponse(const ModelSpec& spec, const InferRequest& request, Answer answer);

// A response for a worker, with the block that its outputs are copied to. Errors of the response,
// and a lack of memory, are written as an error response.
void WriteResponse(const InferResponse& response, WorkerLink* link, PacketWriter* writer);

}  // namespace fastserve
