// fastserve._core.HttpLoop (what one event loop's HTTP connections share) and HttpConnection.
#include <pybind11/stl.h>

#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/clock.h"
#include "bindings/bindings.h"
#include "bindings/buffer_exporter.h"
#include "bindings/http_connection_type.h"
#include "engine/engine.h"
#include "http/connection.h"
#include "http/generate_call.h"
#include "http/infer_runner.h"

namespace fastserve {

namespace py = pybind11;

namespace {

constexpr double kNanosecondsPerSecond = 1e9;

// Tells a Python callable `on_reply(status, json_size, pieces)`, where pieces is a list of bytes
// and memoryviews.
class CallableTarget : public ReplyTarget {
 public:
  explicit CallableTarget(py::object callable) : callable_(std::move(callable)) {}

  void OnReply(InferReply reply) override {
    py::list pieces;
    for (WirePiece& piece : reply.body.pieces) {
      if (!piece.head.empty()) pieces.append(py::bytes(piece.head));
      if (piece.tail.size > 0) pieces.append(ExportBuffer(std::move(piece.tail)));
    }
    try {
      callable_(reply.status, reply.json_size, pieces);
    } catch (py::error_already_set& error) {
      error.discard_as_unraisable("HttpLoop.infer");
    }
  }

 private:
  const py::object callable_;  // dropped on the loop's thread, like the target: see CompletionQueue
};

// Calls a Python callable without arguments.
class WakeTarget : public ReplyTarget {
 public:
  explicit WakeTarget(py::object callable) : callable_(std::move(callable)) {}

  void OnReply(InferReply /*reply*/) override {
    try {
      callable_();
    } catch (py::error_already_set& error) {
      error.discard_as_unraisable("GenerateCall.wait");
    }
  }

 private:
  const py::object callable_;  // dropped on the loop's thread: see GenerateCall
};

// (status, events, ended, text)
py::tuple TakeChunk(GenerateCall* call) {
  const GenerateCall::Chunk chunk = [call] {
    const py::gil_scoped_release release;
    return call->Take();
  }();
  return py::make_tuple(chunk.status, chunk.events, chunk.ended, py::bytes(chunk.text));
}

void BindGenerateCall(py::module_& module) {
  py::class_<GenerateCall, std::shared_ptr<GenerateCall>>(
      module, "GenerateCall", "A generate request; its answer is taken piece by piece.")
      .def(
          "wait",
          [](GenerateCall& call, py::object on_ready) {
            call.Await(std::make_shared<WakeTarget>(std::move(on_ready)));
          },
          py::arg("on_ready"))
      .def("take", &TakeChunk)
      .def("cancel", &GenerateCall::Cancel);
}

// A request that was started for aiohttp's handler; lets it go when the client does.
class StartedInfer {
 public:
  explicit StartedInfer(const RequestPtr& request) : request_(request) {}
  void Cancel() {
    if (const RequestPtr request = request_.lock()) request->Cancel();
  }

 private:
  const std::weak_ptr<InferRequest> request_;
};

// `call_soon` is the event loop's. Event loop thread only.
class HttpLoop {
 public:
  HttpLoop(std::shared_ptr<Engine> engine, const HttpOptions& options, py::object call_soon)
      : runner_(std::move(engine), InferJsonLimits{options.max_input_bytes},
                [this] { call_soon_(run_); }),
        call_soon_(std::move(call_soon)),
        state_(std::make_shared<HttpLoopState>()) {
    state_->shared = std::make_shared<HttpShared>();
    HttpShared& shared = *state_->shared;
    shared.options = options;
    shared.clock = &SystemClock();
    shared.starter = &runner_;
    shared.budget = runner_.engine().byte_budget();
    shared.scratch = std::make_unique<std::byte[]>(options.scratch_bytes);
    state_->scratch_view = py::memoryview::from_memory(
        shared.scratch.get(), static_cast<py::ssize_t>(options.scratch_bytes));
  }

  // The bound method `_run`, once the Python object exists.
  void SetRun(py::object run) { run_ = std::move(run); }

  void Run() {
    {
      const py::gil_scoped_release release;
      runner_.Run();
    }
    runner_.queue()->DeliverWaiting();
  }

  void Wake() { runner_.queue()->DeliverAfterWake(); }
  int fd() const { return runner_.queue()->fd(); }
  void StartDrain() { state_->shared->draining = true; }
  bool draining() const { return state_->shared->draining; }
  // Breaks the cycle with the event loop.
  void Close() {
    run_ = py::none();
    call_soon_ = py::none();
  }
  const std::shared_ptr<HttpLoopState>& state() const { return state_; }

  StartedInfer Infer(const std::string& model, std::int64_t version, const py::buffer& body,
                     const std::optional<std::string>& json_header, py::object on_reply) {
    InferCall call;
    call.request = std::make_shared<InferRequest>();
    call.request->model_name = model;
    call.request->model_version = version;
    call.body_claim = ClaimBytes();
    call.body = CopyBody(body, &call.body_claim);
    call.json_size = ValueOrThrow(InferJsonSize(json_header, call.body.size));
    call.target = std::make_shared<CallableTarget>(std::move(on_reply));
    StartedInfer started(call.request);
    runner_.Start(std::move(call));
    return started;
  }

  // `stream`: as server-sent events.
  std::shared_ptr<GenerateCall> Generate(const std::string& model, std::int64_t version,
                                         const py::buffer& body, bool stream) {
    auto request = std::make_shared<InferRequest>();
    request->model_name = model;
    request->model_version = version;
    auto call = std::make_shared<GenerateCall>(
        runner_.queue(), stream ? GenerateCall::Form::kEvents : GenerateCall::Form::kOne,
        std::move(request));
    const auto claim = std::make_shared<ByteClaim>(ClaimBytes());
    const BufferView view = CopyBody(body, claim.get());
    const py::gil_scoped_release release;
    runner_.Parse(view.size, [this, call, view, claim] {
      call->Submit(&runner_.engine(), view, claim.get(), runner_.limits());
    });
    return call;
  }

  // For the bytes that a handler reads. Nothing yet.
  ByteClaim ClaimBytes() const { return ByteClaim(state_->shared->budget); }

 private:
  // The core parses JSON in place and wants tensors aligned, so a body that aiohttp received is
  // copied once.
  static BufferView CopyBody(const py::buffer& body, ByteClaim* claim) {
    const py::buffer_info info = body.request();
    const auto size = static_cast<std::size_t>(info.size * info.itemsize);
    ThrowIfError(claim->Add(size, size));
    BufferPtr buffer = AllocateHostBuffer(size);
    if (!buffer) throw std::bad_alloc();
    if (size > 0) std::memcpy(buffer->data(), info.ptr, size);
    CountCopiedBytes(size);
    return buffer;
  }

  InferRunner runner_;
  py::object call_soon_;
  py::object run_;
  const std::shared_ptr<HttpLoopState> state_;
};

std::int64_t Nanoseconds(double seconds) {
  return static_cast<std::int64_t>(seconds * kNanosecondsPerSecond);
}

void SetTimeout(py::dict& options, const char* name, std::int64_t* timeout_ns) {
  if (options.contains(name)) *timeout_ns = Nanoseconds(options[name].cast<double>());
}

// Keyword arguments, all optional: max_input_bytes and the timeouts in seconds
// (http/http_options.h).
HttpOptions OptionsFrom(py::dict options) {
  HttpOptions result;
  if (options.contains("max_input_bytes"))
    result.max_input_bytes = options["max_input_bytes"].cast<std::size_t>();
  SetTimeout(options, "idle_timeout_s", &result.idle_timeout_ns);
  SetTimeout(options, "head_timeout_s", &result.head_timeout_ns);
  SetTimeout(options, "body_timeout_s", &result.body_timeout_ns);
  SetTimeout(options, "stall_timeout_s", &result.stall_timeout_ns);
  SetTimeout(options, "linger_s", &result.linger_ns);
  return result;
}

}  // namespace

std::shared_ptr<HttpLoopState> HttpLoopStateOf(py::handle loop) {
  return loop.cast<HttpLoop&>().state();
}

void BindHttp(py::module_& module) {
  BindGenerateCall(module);
  py::class_<ByteClaim>(module, "ByteClaim",
                        "Bytes being received, counted against max_inflight_bytes.")
      .def(
          "add",
          [](ByteClaim& claim, std::uint64_t size, std::uint64_t request_size) {
            ThrowIfError(claim.Add(size, request_size));
          },
          py::arg("size"), py::arg("request_size"))
      .def(
          "__enter__", [](ByteClaim& claim) -> ByteClaim& { return claim; },
          py::return_value_policy::reference)
      .def("__exit__", [](ByteClaim& claim, const py::args& /*error*/) { claim.Release(); });
  py::class_<StartedInfer>(module, "StartedInfer").def("cancel", &StartedInfer::Cancel);
  py::class_<HttpLoop>(module, "HttpLoop", "What the HTTP connections of one event loop share.")
      .def(py::init(
               [](std::shared_ptr<Engine> engine, py::object call_soon, const py::kwargs& options) {
                 return std::make_unique<HttpLoop>(std::move(engine), OptionsFrom(options),
                                                   std::move(call_soon));
               }),
           py::arg("engine"), py::arg("call_soon"))
      .def("set_run", &HttpLoop::SetRun, py::arg("run"))
      .def("run", &HttpLoop::Run)
      .def("wake", &HttpLoop::Wake)
      .def("close", &HttpLoop::Close)
      .def("start_drain", &HttpLoop::StartDrain)
      .def("infer", &HttpLoop::Infer, py::arg("model"), py::arg("version"), py::arg("body"),
           py::arg("json_header"), py::arg("on_reply"))
      .def("generate", &HttpLoop::Generate, py::arg("model"), py::arg("version"), py::arg("body"),
           py::arg("stream"))
      .def("claim_bytes", &HttpLoop::ClaimBytes)
      .def_property_readonly("draining", &HttpLoop::draining)
      .def_property_readonly("fd", &HttpLoop::fd);
  module.attr("HttpConnection") = CreateHttpConnectionType();
}

}  // namespace fastserve
