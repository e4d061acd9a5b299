#include "backend/onnxruntime/ort_session.h"

#include <unistd.h>

#include <utility>

#include "backend/onnxruntime/element_type.h"

namespace fastserve {

namespace {

// The three calls that describe one list of values.
struct ValueQueries {
  decltype(ort::Api::SessionGetInputCount) count;
  decltype(ort::Api::SessionGetInputName) name;
  decltype(ort::Api::SessionGetInputTypeInfo) type;
};

Status ReadShape(const OrtRuntime& runtime, const ort::TensorInfo* info, OnnxValue* value) {
  const ort::Api& api = runtime.api();
  std::size_t rank = 0;
  FASTSERVE_RETURN_IF_ORT_ERROR(runtime, api.GetDimensionsCount(info, &rank));
  value->has_shape = rank > 0;
  value->tensor.shape.resize(rank);
  FASTSERVE_RETURN_IF_ORT_ERROR(runtime, api.GetDimensions(info, value->tensor.shape.data(), rank));
  for (std::int64_t& dimension : value->tensor.shape) {
    if (dimension < 0) dimension = -1;
  }
  std::vector<const char*> names(rank, nullptr);
  FASTSERVE_RETURN_IF_ORT_ERROR(runtime, api.GetSymbolicDimensions(info, names.data(), rank));
  for (const char* name : names) value->tensor.dim_names.emplace_back(name == nullptr ? "" : name);
  return Status::Ok();
}

Status ReadType(const OrtRuntime& runtime, const ort::TypeInfo* type, OnnxValue* value) {
  const ort::Api& api = runtime.api();
  ort::ValueKind kind = ort::ValueKind::kUnknown;
  FASTSERVE_RETURN_IF_ORT_ERROR(runtime, api.GetOnnxTypeFromTypeInfo(type, &kind));
  if (kind != ort::ValueKind::kTensor) {
    value->kind = "sequence, map or other container";
    return Status::Ok();
  }
  value->kind = "tensor";
  const ort::TensorInfo* info = nullptr;  // owned by `type`
  FASTSERVE_RETURN_IF_ORT_ERROR(runtime, api.CastTypeInfoToTensorInfo(type, &info));
  ort::ElementType element = ort::ElementType::kUndefined;
  FASTSERVE_RETURN_IF_ORT_ERROR(runtime, api.GetTensorElementType(info, &element));
  value->tensor.type = ToDataType(element);
  return ReadShape(runtime, info, value);
}

Status ReadValueList(const OrtRuntime& runtime, const ort::Session* session,
                     const ValueQueries& queries, std::vector<OnnxValue>* values) {
  std::size_t count = 0;
  FASTSERVE_RETURN_IF_ORT_ERROR(runtime, queries.count(session, &count));
  for (std::size_t i = 0; i < count; ++i) {
    OnnxValue value;
    char* name = nullptr;
    FASTSERVE_RETURN_IF_ORT_ERROR(runtime, queries.name(session, i, runtime.allocator(), &name));
    value.tensor.name = name;
    FASTSERVE_RETURN_IF_ORT_ERROR(runtime, runtime.api().AllocatorFree(runtime.allocator(), name));
    ort::TypeInfo* type = nullptr;
    FASTSERVE_RETURN_IF_ORT_ERROR(runtime, queries.type(session, i, &type));
    const OrtHandle<ort::TypeInfo> type_owner(type, runtime.api().ReleaseTypeInfo);
    FASTSERVE_RETURN_IF_ERROR(ReadType(runtime, type, &value));
    values->push_back(std::move(value));
  }
  return Status::Ok();
}

}  // namespace

Status OrtSession::ReadValues() {
  const ort::Api& api = runtime_.api();
  FASTSERVE_RETURN_IF_ERROR(ReadValueList(
      runtime_, session_.get(),
      {api.SessionGetInputCount, api.SessionGetInputName, api.SessionGetInputTypeInfo}, &inputs_));
  FASTSERVE_RETURN_IF_ERROR(ReadValueList(
      runtime_, session_.get(),
      {api.SessionGetOutputCount, api.SessionGetOutputName, api.SessionGetOutputTypeInfo},
      &outputs_));
  return ReadValueList(
      runtime_, session_.get(),
      {api.SessionGetOverridableInitializerCount, api.SessionGetOverridableInitializerName,
       api.SessionGetOverridableInitializerTypeInfo},
      &defaulted_inputs_);
}

Result<std::shared_ptr<const OrtSession>> OrtSession::Create(const OrtRuntime& runtime,
                                                             const std::string& path,
                                                             const SessionConfig& config,
                                                             const std::string& model_name) {
  if (access(path.c_str(), R_OK) != 0) {
    return Status::Unavailable("unable to find '" + path + "' for model '" + model_name + "'");
  }
  FASTSERVE_ASSIGN_OR_RETURN(const OrtHandle<ort::SessionOptions> options,
                             MakeSessionOptions(runtime, config, model_name));
  FASTSERVE_ASSIGN_OR_RETURN(OrtHandle<ort::RunOptions> run_options,
                             MakeRunOptions(runtime, config));
  ort::Session* raw = nullptr;
  const Status created = runtime.ToStatus(
      runtime.api().CreateSession(runtime.env(), path.c_str(), options.get(), &raw));
  if (!created.ok()) {
    return Status(created.code(), "cannot load '" + path + "' for model '" + model_name +
                                      "': " + created.message());
  }
  OrtHandle<ort::Session> session(raw, runtime.api().ReleaseSession);
  const std::shared_ptr<OrtSession> loaded(
      new OrtSession(runtime, std::move(session), std::move(run_options)));
  FASTSERVE_RETURN_IF_ERROR(loaded->ReadValues());
  return std::shared_ptr<const OrtSession>(loaded);
}

}  // namespace fastserve
