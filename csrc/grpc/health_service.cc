#include "grpc/health_service.h"

#include <charconv>
#include <optional>
#include <protozero/pbf_reader.hpp>

namespace fastserve {

namespace {

constexpr std::int64_t kWatchIntervalNs = 1'000'000'000;

// Field 1 as a varint below 128: the shape of every answer here. false/0 is the default and is not
// written.
WireMessage FieldOne(int value) {
  WireMessage message;
  if (value != 0) message.pieces.push_back({std::string{'\x08', static_cast<char>(value)}, {}});
  return message;
}

int ServingStatus(bool serving) {
  constexpr int kServing = 1;
  constexpr int kNotServing = 2;
  return serving ? kServing : kNotServing;
}

void Answer(GrpcCall* call, int value) {
  call->Send(FieldOne(value));
  call->Finish({});
}

struct ModelReadyFields {
  std::string name;
  std::string version;
};

std::optional<ModelReadyFields> ParseModelReady(const BufferView& message) {
  ModelReadyFields fields;
  try {
    protozero::pbf_reader reader(reinterpret_cast<const char*>(message.data), message.size);
    while (reader.next()) {
      if (reader.tag_and_type() ==
          protozero::tag_and_type(1, protozero::pbf_wire_type::length_delimited)) {
        fields.name = reader.get_string();
      } else if (reader.tag_and_type() ==
                 protozero::tag_and_type(2, protozero::pbf_wire_type::length_delimited)) {
        fields.version = reader.get_string();
      } else {
        reader.skip();
      }
    }
  } catch (const protozero::exception&) {
    return std::nullopt;
  }
  return fields;
}

// -1 for the empty string; nullopt when it is no version.
std::optional<std::int64_t> ParseVersion(const std::string& text) {
  if (text.empty()) return -1;
  std::int64_t version = 0;
  const char* end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, version);
  if (result.ec != std::errc() || result.ptr != end || version <= 0) return std::nullopt;
  return version;
}

}  // namespace

void AnswerServerLive(GrpcCall* call, const Engine& engine) { Answer(call, engine.live() ? 1 : 0); }

void AnswerServerReady(GrpcCall* call, const Engine& engine) {
  Answer(call, engine.ready() ? 1 : 0);
}

bool AnswerModelReady(GrpcCall* call, const BufferView& message, const Engine& engine) {
  const std::optional<ModelReadyFields> fields = ParseModelReady(message);
  if (!fields) {
    call->Finish(
        {GrpcStatusCode::kInternal, "the message is not a ModelReadyRequest in protobuf format"});
    return true;
  }
  const std::optional<std::int64_t> version = ParseVersion(fields->version);
  if (!version) {
    call->Finish({GrpcStatusCode::kInvalidArgument,
                  "failed to get model version from specified version string '" + fields->version +
                      "', version should be an integral value > 0"});
    return true;
  }
  const bool ready = engine.model_state(fields->name, *version) == ModelState::kReady;
  if (ready && engine.readiness_is_asked(fields->name, *version)) return false;
  Answer(call, ready ? 1 : 0);
  return true;
}

void AnswerHealthCheck(GrpcCall* call, const Engine& engine) {
  Answer(call, ServingStatus(engine.ready()));
}

void HealthWatch::Start(GrpcCall* call, const Engine& engine) {
  auto watch = std::make_shared<HealthWatch>(call, engine);
  call->set_state(watch);
  watch->Look();
}

HealthWatch::HealthWatch(GrpcCall* call, const Engine& engine)
    : call_(call), engine_(engine), timer_([this] { Look(); }) {}

void HealthWatch::Look() {
  if (call_ == nullptr) return;
  const bool serving = engine_.ready();
  if (!sent_ || serving != was_serving_) call_->Send(FieldOne(ServingStatus(serving)));
  sent_ = true;
  was_serving_ = serving;
  const GrpcCallContext& context = call_->context();
  context.timeouts->Arm(&timer_, context.clock->NowNs() + kWatchIntervalNs);
}

}  // namespace fastserve
