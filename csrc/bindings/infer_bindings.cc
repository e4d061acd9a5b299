// In-process inference. A synchronous call lends its own thread to the engine and waits without the
// GIL; an asynchronous one is answered through a queue whose eventfd an asyncio loop watches, so no
// core thread ever takes the GIL.
#include "bindings/infer_bindings.h"

#include <pybind11/stl.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "bindings/bindings.h"
#include "bindings/infer_completions.h"
#include "bindings/python_buffer.h"
#include "bindings/stream_bindings.h"
#include "inference/request.h"

namespace fastserve {

namespace py = pybind11;

namespace {

constexpr std::string_view kRefusal =
    "infer doesn't support models with decoupled transaction policy; use infer_stream";

// Collects the responses of one request for a thread that waits for the last of them. Thread safe.
class WaitingSink : public ResponseSink {
 public:
  void OnResponse(const RequestPtr& /*request*/, InferResponse response, bool final) override
      EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    responses_.push_back(std::move(response));
    done_ = final;
    if (final) condition_.NotifyAll();
  }

  std::string_view decoupled_refusal() const override { return kRefusal; }
  // Blocks; call without the GIL.
  std::vector<InferResponse> Wait() EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    while (!done_) condition_.Wait(mutex_);
    return std::move(responses_);
  }

 private:
  Mutex mutex_;
  ConditionVariable condition_;
  std::vector<InferResponse> responses_ GUARDED_BY(mutex_);
  bool done_ GUARDED_BY(mutex_) = false;
};

class QueueSink : public ResponseSink {
 public:
  QueueSink(std::shared_ptr<InferCompletions> completions, std::uint64_t token)
      : completions_(std::move(completions)), token_(token) {}
  void OnResponse(const RequestPtr& /*request*/, InferResponse response, bool final) override {
    completions_->Push({token_, std::move(response), final});
  }
  std::string_view decoupled_refusal() const override { return kRefusal; }

 private:
  const std::shared_ptr<InferCompletions> completions_;
  const std::uint64_t token_;
};

// An instance of the exception class of `status`, not raised.
py::object ExceptionOf(const Status& status) {
  const std::string name(PythonExceptionName(status.code()));
  return py::module_::import("fastserve._core").attr(name.c_str())(status.message());
}

}  // namespace

py::object ResponseToPython(const InferResponse& response) {
  if (!response.status.ok()) return ExceptionOf(response.status);
  py::dict parameters;
  for (const auto& [key, value] : response.parameters) {
    parameters[py::str(key)] =
        std::visit([](const auto& held) -> py::object { return py::cast(held); }, value);
  }
  py::list outputs;
  for (const Tensor& tensor : response.outputs) {
    outputs.append(
        py::make_tuple(tensor.name, std::string(DataTypeName(tensor.type)), TensorToNumpy(tensor)));
  }
  return py::make_tuple(response.model_name, response.model_version, response.id, parameters,
                        outputs);
}

namespace {

py::list Infer(const std::shared_ptr<Engine>& engine, const RequestPtr& request) {
  ReleaseDeferredBuffers();
  auto sink = std::make_shared<WaitingSink>();
  request->sink = sink;
  std::vector<InferResponse> responses;
  {
    py::gil_scoped_release unlocked;
    request->timestamps.request_start = engine->clock().NowNs();
    {
      Lender lender;
      engine->Submit(request, &lender);
      lender.Run();
    }
    responses = sink->Wait();
  }
  py::list result;
  for (const InferResponse& response : responses) result.append(ResponseToPython(response));
  return result;
}

void Submit(const std::shared_ptr<Engine>& engine, const RequestPtr& request,
            const std::shared_ptr<InferCompletions>& completions, std::uint64_t token) {
  ReleaseDeferredBuffers();
  request->sink = std::make_shared<QueueSink>(completions, token);
  py::gil_scoped_release unlocked;
  request->timestamps.request_start = engine->clock().NowNs();
  engine->Submit(request);
}

py::list TakeCompletions(InferCompletions* completions) {
  ReleaseDeferredBuffers();
  py::list result;
  for (const auto& completion : completions->Take()) {
    result.append(
        py::make_tuple(completion.token, ResponseToPython(completion.response), completion.final));
  }
  return result;
}

void AddInput(InferRequest* request, const std::string& name, const std::string& type_name,
              const std::vector<std::int64_t>& dims, const py::object& data) {
  const auto type = ParseDataType(type_name);
  if (!type)
    ThrowIfError(
        Status::InvalidArgument("input '" + name + "' has unknown data type '" + type_name + "'"));
  request->inputs.push_back(
      {name, *type, Shape(dims.begin(), dims.end()), ViewOfPythonBuffer(data)});
}

// The serialised form of a sequence of bytes or str.
py::bytes SerializeBytes(const py::iterable& elements) {
  std::string serialized;
  for (const py::handle element : elements)
    AppendBytesElement(element.cast<std::string>(), &serialized);
  return py::bytes(serialized);
}

void BindRequest(py::module_& module) {
  py::class_<InferRequest, RequestPtr>(module, "InferRequest")
      .def(py::init([](const std::string& model_name, std::int64_t model_version) {
             auto request = std::make_shared<InferRequest>();
             request->model_name = model_name;
             request->model_version = model_version;
             return request;
           }),
           py::arg("model_name"), py::arg("model_version") = -1)
      .def_readwrite("id", &InferRequest::id)
      .def_readwrite("priority", &InferRequest::priority)
      .def_readwrite("timeout_us", &InferRequest::timeout_us)
      .def_readwrite("sequence_id", &InferRequest::sequence_id)
      .def_readwrite("sequence_start", &InferRequest::sequence_start)
      .def_readwrite("sequence_end", &InferRequest::sequence_end)
      .def(
          "set_parameter",
          [](InferRequest& request, const std::string& key,
             const std::variant<bool, std::int64_t, double, std::string>& value) {
            request.parameters[key] =
                std::visit([](const auto& held) { return Parameter(held); }, value);
          },
          py::arg("key"), py::arg("value"))
      .def("add_input", &AddInput, py::arg("name"), py::arg("data_type"), py::arg("shape"),
           py::arg("data"))
      .def(
          "add_output",
          [](InferRequest& request, const std::string& name, std::uint32_t classification_count) {
            request.outputs.push_back({name, classification_count, false});
          },
          py::arg("name"), py::arg("classification_count") = 0)
      .def("cancel", &InferRequest::Cancel, py::call_guard<py::gil_scoped_release>());
}

}  // namespace

void BindInference(py::module_& module, py::class_<Engine, std::shared_ptr<Engine>>& engine) {
  BindRequest(module);
  py::class_<InferCompletions, std::shared_ptr<InferCompletions>>(module, "InferCompletions")
      .def(py::init<>())
      .def("fileno", &InferCompletions::fd)
      .def("take", &TakeCompletions);
  module.def("serialize_bytes", &SerializeBytes, py::arg("elements"));
  BindResponseStream(module, engine);
  engine.def("infer", &Infer, py::arg("request"));
  engine.def("submit", &Submit, py::arg("request"), py::arg("completions"), py::arg("token"));
}

}  // namespace fastserve
