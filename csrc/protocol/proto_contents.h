// The typed contents of a protobuf input tensor (inference.InferTensorContents) turned into tensor
// bytes.
#pragma once

#include <boost/container/small_vector.hpp>
#include <protozero/data_view.hpp>
#include <string_view>

#include "base/status.h"
#include "inference/tensor.h"

namespace fastserve {

// The `contents` fields of one input, in order of arrival: protobuf merges a message field that is
// given more than once.
using ProtoContents = boost::container::small_vector<protozero::data_view, 1>;

// Sets input->data from the typed contents, packed or not. Allocates by what the message holds,
// never by the declared shape; whether the count fits the shape is for ValidateRequest. Linear
// time. Errors: InvalidArgument for contents of another type, of two types, or out of the range of
// a narrow integer type; Unavailable when memory is exhausted. Throws protozero::exception for
// malformed bytes.
Status ParseProtoContents(const ProtoContents& contents, std::string_view model_name,
                          Tensor* input);

}  // namespace fastserve
