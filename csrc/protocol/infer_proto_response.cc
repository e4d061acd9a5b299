// ModelInferResponse and ModelStreamInferResponse: the head is built here, tensor bytes follow as
// views.
#include <protozero/pbf_builder.hpp>
#include <protozero/pbf_writer.hpp>
#include <string>
#include <utility>

#include "protocol/infer_proto.h"

namespace fastserve {

namespace {

using protozero::pbf_writer;

// Key and length of raw_output_contents (field 6, length-delimited).
void AppendRawHeader(std::size_t length, std::string* out) {
  protozero::add_varint_to_buffer(out, (6U << 3U) | 2U);
  protozero::add_varint_to_buffer(out, length);
}

void WriteParameter(const Parameter& parameter, pbf_writer writer) {
  struct Visitor {
    pbf_writer& writer;
    void operator()(bool value) const { writer.add_bool(1, value); }
    void operator()(std::int64_t value) const { writer.add_int64(2, value); }
    void operator()(const std::string& value) const { writer.add_string(3, value); }
    void operator()(double value) const { writer.add_double(4, value); }
    void operator()(std::uint64_t value) const { writer.add_uint64(5, value); }
  };
  std::visit(Visitor{writer}, parameter);
}

void WriteParameters(const Parameters& parameters, pbf_writer* writer) {
  for (const auto& [key, value] : parameters) {
    pbf_writer entry(*writer, 4);
    entry.add_string(1, key);
    WriteParameter(value, pbf_writer(entry, 2));
  }
}

void WriteOutput(const Tensor& output, pbf_writer writer) {
  const std::string_view datatype = DataTypeName(output.type);
  writer.add_string(1, output.name);
  writer.add_string(2, datatype.data(), datatype.size());
  if (!output.shape.empty()) writer.add_packed_int64(3, output.shape.begin(), output.shape.end());
}

}  // namespace

Status BuildModelInferResponse(const InferRequest& request, const InferResponse& response,
                               WireMessage* message) {
  (void)request;
  message->pieces.clear();
  message->pieces.reserve(response.outputs.size() + 1);
  std::string* head = &message->pieces.emplace_back().head;
  pbf_writer writer(*head);
  writer.add_string(1, response.model_name);
  writer.add_string(2, std::to_string(response.model_version));
  if (!response.id.empty()) writer.add_string(3, response.id);
  WriteParameters(response.parameters, &writer);
  for (const Tensor& output : response.outputs) WriteOutput(output, pbf_writer(writer, 5));
  for (const Tensor& output : response.outputs) {
    AppendRawHeader(output.data.size, head);
    message->pieces.back().tail = output.data;
    head = &message->pieces.emplace_back().head;
  }
  if (!response.outputs.empty()) message->pieces.pop_back();
  return Status::Ok();
}

Status BuildModelStreamInferResponse(const InferRequest& request, const InferResponse& response,
                                     WireMessage* message) {
  if (!response.status.ok()) {
    message->pieces.clear();
    pbf_writer writer(message->pieces.emplace_back().head);
    writer.add_string(1, response.status.message());
    // The id tells a client of a stream which of its requests failed.
    if (request.id.empty() && response.parameters.empty()) return Status::Ok();
    pbf_writer infer_response(writer, 2);
    if (!request.id.empty()) infer_response.add_string(3, request.id);
    WriteParameters(response.parameters, &infer_response);
    return Status::Ok();
  }
  FASTSERVE_RETURN_IF_ERROR(BuildModelInferResponse(request, response, message));
  std::string prefix;
  protozero::add_varint_to_buffer(&prefix, (2U << 3U) | 2U);
  protozero::add_varint_to_buffer(&prefix, message->size());
  message->pieces.front().head.insert(0, prefix);
  return Status::Ok();
}

}  // namespace fastserve
