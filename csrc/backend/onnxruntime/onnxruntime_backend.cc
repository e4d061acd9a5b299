#include "backend/onnxruntime/onnxruntime_backend.h"

#include <sys/stat.h>

#include <string_view>
#include <utility>
#include <vector>

#include "backend/onnxruntime/onnx_file.h"
#include "backend/onnxruntime/onnx_instance.h"
#include "backend/onnxruntime/ort_runtime.h"
#include "backend/onnxruntime/ort_session.h"
#include "backend/onnxruntime/session_config.h"
#include "backend/onnxruntime/spec_check.h"
#include "base/log.h"

namespace fastserve {

namespace {

// A model with external data is a directory with the model file inside.
std::string ModelFile(const std::string& path) {
  struct stat status{};
  const bool is_directory = stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
  return is_directory ? path + "/model.onnx" : path;
}

// ONNX Runtime's own file format, a flatbuffer, which only the library can read.
bool IsOrtFormat(std::string_view path) { return path.ends_with(".ort"); }

bool AllHaveShapes(const std::vector<OnnxValue>& values) {
  for (const OnnxValue& value : values) {
    if (value.kind == "tensor" && !value.has_shape) return false;
  }
  return true;
}

Status CannotServe(const ModelSpec& spec, const OnnxValue& input) {
  return Status::Unsupported("model '" + spec.name + "': input '" + input.tensor.name + "' is a " +
                             input.kind + " of a type that the inference protocol cannot carry");
}

// Outputs that cannot be served (sequences, maps) are left out, so that a model with tensors beside
// them still can be.
Result<ModelSignature> SignatureOf(const ModelSpec& spec, std::vector<OnnxValue> inputs,
                                   std::vector<OnnxValue> outputs) {
  ModelSignature signature;
  for (OnnxValue& input : inputs) {
    if (input.tensor.type == DataType::kInvalid) return CannotServe(spec, input);
    signature.inputs.push_back(std::move(input.tensor));
  }
  for (OnnxValue& output : outputs) {
    if (output.tensor.type == DataType::kInvalid) {
      LOG_WARNING("model '" + EscapeForLog(spec.name) + "': output '" +
                  EscapeForLog(output.tensor.name) + "' is a " + output.kind +
                  " of a type that the inference protocol cannot carry; it is left out");
      continue;
    }
    signature.outputs.push_back(std::move(output.tensor));
  }
  return signature;
}

class OnnxModel final : public BackendModel {
 public:
  OnnxModel(std::shared_ptr<const ModelSpec> spec, std::shared_ptr<const OrtSession> session)
      : spec_(std::move(spec)), session_(std::move(session)) {}

  Result<std::unique_ptr<BackendInstance>> CreateInstance(const std::string& /*name*/) override {
    return std::unique_ptr<BackendInstance>(std::make_unique<OnnxInstance>(spec_, session_));
  }

 private:
  std::shared_ptr<const ModelSpec> spec_;
  std::shared_ptr<const OrtSession> session_;
};

class OnnxRuntimeBackend final : public Backend {
 public:
  explicit OnnxRuntimeBackend(const OrtRuntime& runtime) : runtime_(runtime) {}

  std::string_view name() const override { return "onnxruntime"; }

  Result<ModelSignature> ReadSignature(const ModelSpec& spec) override {
    const std::string path = ModelFile(spec.path);
    if (!IsOrtFormat(path)) {
      FASTSERVE_ASSIGN_OR_RETURN(OnnxGraph graph, ReadOnnxGraph(path));
      if (AllHaveShapes(graph.inputs) && AllHaveShapes(graph.outputs)) {
        return SignatureOf(spec, std::move(graph.inputs), std::move(graph.outputs));
      }
    }
    // Only ONNX Runtime's shape inference can complete what the file does not say.
    SessionConfig config;
    config.graph_optimization = ort::GraphOptimization::kDisableAll;
    FASTSERVE_ASSIGN_OR_RETURN(const auto session,
                               OrtSession::Create(runtime_, path, config, spec.name));
    return SignatureOf(spec, session->inputs(), session->outputs());
  }

  Result<std::unique_ptr<BackendModel>> LoadModel(std::shared_ptr<const ModelSpec> spec) override {
    FASTSERVE_ASSIGN_OR_RETURN(const SessionConfig config, ReadSessionConfig(*spec));
    FASTSERVE_ASSIGN_OR_RETURN(
        auto session, OrtSession::Create(runtime_, ModelFile(spec->path), config, spec->name));
    FASTSERVE_RETURN_IF_ERROR(CheckSpec(*spec, *session));
    return std::unique_ptr<BackendModel>(
        std::make_unique<OnnxModel>(std::move(spec), std::move(session)));
  }

 private:
  const OrtRuntime& runtime_;
};

}  // namespace

Result<std::unique_ptr<Backend>> CreateOnnxRuntimeBackend(const OnnxRuntimeOptions& options) {
  FASTSERVE_ASSIGN_OR_RETURN(const OrtRuntime* runtime, OrtRuntime::Get(options));
  return std::unique_ptr<Backend>(std::make_unique<OnnxRuntimeBackend>(*runtime));
}

}  // namespace fastserve
