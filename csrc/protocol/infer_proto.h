// inference.ModelInferRequest / ModelInferResponse (Triton's grpc_service.proto) in protobuf wire
// format, through protozero. No sockets, threads or clocks.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include "base/status.h"
#include "inference/request.h"
#include "inference/response.h"
#include "protocol/wire.h"

namespace fastserve {

// Where the bytes of the first raw_input_contents begin in a message of which at least the
// beginning is known; nullopt when `prefix` ends before it. Lets the receiver place the message so
// that the tensor is aligned.
std::optional<std::size_t> FirstRawInputOffset(std::span<const std::byte> prefix);

// Fills model name and version, id, parameters, inputs (typed contents or raw contents) and
// outputs. Raw contents become views into `message` (copied only when misaligned for their element
// size); typed contents are converted. Errors: InvalidArgument with Triton's texts. Linear time,
// also for millions of tiny BYTES elements.
Status ParseModelInferRequest(const BufferView& message, InferRequest* request);

// The response message; outputs as raw_output_contents, tensor bytes as views.
Status BuildModelInferResponse(const InferRequest& request, const InferResponse& response,
                               WireMessage* message);

// inference.ModelStreamInferResponse: error_message, or infer_response with the message above.
Status BuildModelStreamInferResponse(const InferRequest& request, const InferResponse& response,
                                     WireMessage* message);

}  // namespace fastserve
