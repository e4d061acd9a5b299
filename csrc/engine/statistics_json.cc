#include "engine/statistics_json.h"

#include "base/log.h"

namespace fastserve {

namespace {

void AppendNumber(const char* key, std::uint64_t value, std::string* json) {
  *json += '"';
  *json += key;
  *json += "\":";
  *json += std::to_string(value);
}

void AppendPhase(const char* key, const PhaseStatistics& phase, std::string* json) {
  *json += '"';
  *json += key;
  *json += "\":{";
  AppendNumber("count", phase.count, json);
  *json += ',';
  AppendNumber("ns", phase.ns, json);
  *json += '}';
}

void AppendInferenceStats(const StatisticsSnapshot& numbers, std::string* json) {
  *json += "\"inference_stats\":{";
  AppendPhase("success", numbers.success, json);
  *json += ',';
  AppendPhase("fail", numbers.fail, json);
  *json += ',';
  AppendPhase("queue", numbers.queue, json);
  *json += ',';
  AppendPhase("compute_input", numbers.compute_input, json);
  *json += ',';
  AppendPhase("compute_infer", numbers.compute_infer, json);
  *json += ',';
  AppendPhase("compute_output", numbers.compute_output, json);
  *json += ',';
  AppendPhase("cache_hit", numbers.cache_hit, json);
  *json += ',';
  AppendPhase("cache_miss", numbers.cache_miss, json);
  *json += '}';
}

void AppendBatchStats(const StatisticsSnapshot& numbers, std::string* json) {
  *json += "\"batch_stats\":[";
  bool first = true;
  for (const auto& [batch_size, batch] : numbers.batches) {
    *json += first ? "{" : ",{";
    first = false;
    AppendNumber("batch_size", static_cast<std::uint64_t>(batch_size), json);
    *json += ',';
    AppendPhase("compute_input", batch.compute_input, json);
    *json += ',';
    AppendPhase("compute_infer", batch.compute_infer, json);
    *json += ',';
    AppendPhase("compute_output", batch.compute_output, json);
    *json += '}';
  }
  *json += ']';
}

void AppendResponseStats(const StatisticsSnapshot& numbers, std::string* json) {
  *json += ",\"response_stats\":{";
  bool first = true;
  for (const auto& [index, response] : numbers.responses) {
    *json += first ? "\"" : ",\"";
    first = false;
    *json += std::to_string(index) + "\":{";
    AppendPhase("compute_infer", response.compute_infer, json);
    *json += ',';
    AppendPhase("compute_output", response.compute_output, json);
    *json += ',';
    AppendPhase("success", response.success, json);
    *json += ',';
    AppendPhase("fail", response.fail, json);
    *json += ',';
    AppendPhase("empty_response", response.empty_response, json);
    *json += ',';
    AppendPhase("cancel", response.cancel, json);
    *json += '}';
  }
  *json += "},";
}

void AppendModel(const LoadedModel& model, std::string* json) {
  const StatisticsSnapshot numbers = model.statistics().Snapshot();
  *json += "{\"name\":\"" + EscapeForLog(model.spec()->name) + "\",\"version\":\"" +
           std::to_string(model.spec()->version) + "\",";
  AppendNumber("last_inference", numbers.last_inference_ms, json);
  *json += ',';
  AppendNumber("inference_count", numbers.inference_count, json);
  *json += ',';
  AppendNumber("execution_count", numbers.execution_count, json);
  *json += ',';
  AppendInferenceStats(numbers, json);
  AppendResponseStats(numbers, json);
  AppendBatchStats(numbers, json);
  *json += ",\"memory_usage\":[]}";
}

}  // namespace

std::string StatisticsToJson(const std::vector<std::shared_ptr<LoadedModel>>& models) {
  std::string json = "{\"model_stats\":[";
  bool first = true;
  for (const auto& model : models) {
    if (!first) json += ',';
    first = false;
    AppendModel(*model, &json);
  }
  json += "]}";
  return json;
}

}  // namespace fastserve
