// The answer to an inference request over HTTP, and the JSON of an error.
#include <algorithm>
#include <string>

#include "protocol/infer_json.h"
#include "protocol/input_tensor.h"
#include "protocol/json_writer.h"

namespace fastserve {

namespace {

// Whether the client asked for this output as binary. Outputs usually come in the order of the
// request.
bool WantsBinary(const InferRequest& request, const Tensor& output, std::size_t index) {
  const auto& requested = request.outputs;
  if (index < requested.size() && requested[index].name == output.name)
    return requested[index].binary_data;
  const auto found =
      std::find_if(requested.begin(), requested.end(),
                   [&](const RequestedOutput& candidate) { return candidate.name == output.name; });
  return found != requested.end() ? found->binary_data : request.binary_data_output;
}

void AppendHeader(const InferResponse& response, std::string* json) {
  json->append("{");
  if (!response.id.empty()) {
    json->append("\"id\":");
    AppendJsonString(response.id, json);
    json->push_back(',');
  }
  json->append("\"model_name\":");
  AppendJsonString(response.model_name, json);
  json->append(",\"model_version\":\"");
  AppendJsonInteger(response.model_version, json);
  json->append("\",");
  if (!response.parameters.empty()) {
    json->append("\"parameters\":");
    AppendJsonParameters(response.parameters, json);
    json->push_back(',');
  }
}

Status AppendOutput(const Tensor& output, bool binary, std::string* json) {
  json->append("{\"name\":");
  AppendJsonString(output.name, json);
  json->append(",\"datatype\":\"");
  json->append(DataTypeName(output.type));
  json->append("\",\"shape\":");
  AppendJsonShape({output.shape.data(), output.shape.size()}, json);
  if (binary) {
    json->append(",\"parameters\":{\"binary_data_size\":");
    AppendJsonInteger(std::uint64_t{output.data.size}, json);
    json->append("}}");
    return Status::Ok();
  }
  json->append(",\"data\":");
  FASTSERVE_RETURN_IF_ERROR(AppendJsonTensor(output, json));
  json->push_back('}');
  return Status::Ok();
}

}  // namespace

Status BuildInferResponse(const InferRequest& request, const InferResponse& response,
                          WireMessage* body, std::size_t* json_size) {
  body->pieces.clear();
  body->pieces.reserve(response.outputs.size());
  std::string json;
  json.reserve(512);
  std::vector<BufferView> tails;
  AppendHeader(response, &json);
  json.append("\"outputs\":[");
  for (std::size_t i = 0; i < response.outputs.size(); ++i) {
    const Tensor& output = response.outputs[i];
    const bool binary = WantsBinary(request, output, i);
    if (i != 0) json.push_back(',');
    FASTSERVE_RETURN_IF_ERROR(AppendOutput(output, binary, &json));
    if (binary && output.data.size != 0) tails.push_back(output.data);
  }
  json.append("]}");
  *json_size = tails.empty() ? 0 : json.size();
  body->pieces.emplace_back().head = std::move(json);
  for (std::size_t i = 0; i < tails.size(); ++i) {
    if (i != 0) body->pieces.emplace_back();
    body->pieces.back().tail = std::move(tails[i]);
  }
  return Status::Ok();
}

std::string ErrorJson(std::string_view message) {
  std::string json = "{\"error\":";
  AppendJsonString(ReadableText(message), &json);
  json.push_back('}');
  return json;
}

}  // namespace fastserve
