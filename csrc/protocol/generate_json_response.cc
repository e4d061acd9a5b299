// The answer to a generate request.
#include <algorithm>
#include <string>

#include "protocol/generate_json.h"
#include "protocol/json_writer.h"

namespace fastserve {

namespace {

void AppendMember(std::string_view name, std::string* json) {
  if (json->back() != '{') json->push_back(',');
  AppendJsonString(name, json);
  json->push_back(':');
}

void AppendParameter(const Parameter& parameter, std::string* json) {
  struct Visitor {
    std::string* json;
    void operator()(bool value) const { json->append(value ? "true" : "false"); }
    void operator()(std::int64_t value) const { AppendJsonInteger(value, json); }
    void operator()(std::uint64_t value) const { AppendJsonInteger(value, json); }
    void operator()(double value) const { AppendJsonDouble(value, json); }
    void operator()(const std::string& value) const { AppendJsonString(value, json); }
  };
  std::visit(Visitor{json}, parameter);
}

Status AppendOutput(const Tensor& output, std::string* json) {
  AppendMember(output.name, json);
  const std::size_t begin = json->size();
  FASTSERVE_RETURN_IF_ERROR(AppendJsonTensor(output, json));
  if (ElementCount({output.shape.data(), output.shape.size()}) != 1) return Status::Ok();
  json->pop_back();
  json->erase(begin, 1);
  return Status::Ok();
}

// A parameter does not hide what the response says itself.
bool IsTaken(const std::string& name, const InferResponse& response) {
  if (name == "id" || name == "model_name" || name == "model_version") return true;
  return std::ranges::any_of(response.outputs,
                             [&](const Tensor& output) { return output.name == name; });
}

Status AppendMembers(const InferResponse& response, std::string* json) {
  if (!response.id.empty()) {
    AppendMember("id", json);
    AppendJsonString(response.id, json);
  }
  AppendMember("model_name", json);
  AppendJsonString(response.model_name, json);
  AppendMember("model_version", json);
  AppendJsonString(std::to_string(response.model_version), json);
  for (const auto& [name, value] : response.parameters) {
    if (IsTaken(name, response)) continue;
    AppendMember(name, json);
    AppendParameter(value, json);
  }
  for (const Tensor& output : response.outputs)
    FASTSERVE_RETURN_IF_ERROR(AppendOutput(output, json));
  return Status::Ok();
}

}  // namespace

Status AppendGenerateResponse(const InferResponse& response, std::string* json) {
  const std::size_t begin = json->size();
  json->push_back('{');
  Status status = AppendMembers(response, json);
  if (status.ok()) {
    json->push_back('}');
  } else {
    json->resize(begin);
  }
  return status;
}

}  // namespace fastserve
