// fastserve._core.GrpcServer: the native gRPC front end, its administrative calls answered from
// Python's event loop.
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <utility>

#include "bindings/admin_queue.h"
#include "bindings/bindings.h"
#include "grpc/server.h"

namespace fastserve {

namespace py = pybind11;

namespace {

constexpr double kNsInSecond = 1e9;

CompressionLevel ParseCompressionLevel(const std::string& name) {
  if (name == "none") return CompressionLevel::kNone;
  if (name == "low") return CompressionLevel::kLow;
  if (name == "medium") return CompressionLevel::kMedium;
  if (name == "high") return CompressionLevel::kHigh;
  ThrowIfError(Status::InvalidArgument("response_compression is '" + name +
                                       "', expected none, low, medium or high"));
  return CompressionLevel::kNone;
}

template <typename T>
void Take(const py::dict& values, const char* key, T* target) {
  if (values.contains(key)) *target = values[key].cast<T>();
}

GrpcServerOptions ParseOptions(const py::dict& values) {
  GrpcServerOptions options;
  Take(values, "address", &options.address);
  Take(values, "port", &options.port);
  Take(values, "thread_count", &options.thread_count);
  Take(values, "reuse_port", &options.reuse_port);
  KeepAliveOptions& keepalive = options.keepalive;
  Take(values, "keepalive_time_ms", &keepalive.time_ms);
  Take(values, "keepalive_timeout_ms", &keepalive.timeout_ms);
  Take(values, "keepalive_permit_without_calls", &keepalive.permit_without_calls);
  Take(values, "max_pings_without_data", &keepalive.max_pings_without_data);
  Take(values, "min_recv_ping_interval_without_data_ms",
       &keepalive.min_recv_ping_interval_without_data_ms);
  Take(values, "max_ping_strikes", &keepalive.max_ping_strikes);
  Take(values, "max_connection_age_ms", &options.max_connection_age_ms);
  Take(values, "max_connection_age_grace_ms", &options.max_connection_age_grace_ms);
  Take(values, "max_message_bytes", &options.max_message_bytes);
  std::string compression = "none";
  Take(values, "response_compression", &compression);
  options.response_compression = ParseCompressionLevel(compression);
  return options;
}

// The server with what it needs for as long as it serves. Members are destroyed in reverse order:
// the server first.
class BoundGrpcServer {
 public:
  BoundGrpcServer(std::shared_ptr<Engine> engine, const GrpcServerOptions& options)
      : engine_(std::move(engine)) {
    Result<std::unique_ptr<GrpcServer>> server = Status::Ok();
    {
      py::gil_scoped_release unlocked;
      server = GrpcServer::Create(engine_.get(), &admin_, options);
    }
    server_ = ValueOrThrow(std::move(server));
  }
  ~BoundGrpcServer() { Close(); }
  BoundGrpcServer(const BoundGrpcServer&) = delete;
  BoundGrpcServer& operator=(const BoundGrpcServer&) = delete;

  int port() const { return server_ == nullptr ? 0 : server_->port(); }
  std::size_t connections() const { return server_ == nullptr ? 0 : server_->connections(); }
  AdminQueue& admin() { return admin_; }
  void StopAccepting() {
    py::gil_scoped_release unlocked;
    if (server_ != nullptr) server_->StopAccepting();
  }
  bool WaitDrained(double timeout_s) {
    py::gil_scoped_release unlocked;
    return server_ == nullptr ||
           server_->WaitDrained(static_cast<std::int64_t>(timeout_s * kNsInSecond));
  }
  void Close() {
    py::gil_scoped_release unlocked;
    server_.reset();
  }

 private:
  const std::shared_ptr<Engine> engine_;
  AdminQueue admin_;
  std::unique_ptr<GrpcServer> server_;
};

py::list TakeAdminCalls(BoundGrpcServer& self) {
  py::list calls;
  for (const PendingAdminCall& call : self.admin().Take()) {
    calls.append(py::make_tuple(call.id, call.method, py::bytes(call.request)));
  }
  return calls;
}

void AnswerAdminCall(BoundGrpcServer& self, std::uint64_t id, int code, std::string message,
                     const py::bytes& bytes) {
  self.admin().Answer(id, {static_cast<GrpcStatusCode>(code), std::move(message)},
                      std::string(bytes));
}

}  // namespace

void BindGrpc(py::module_& module) {
  py::class_<BoundGrpcServer>(
      module, "GrpcServer",
      "The gRPC front end: serves from construction until close(). Administrative calls wait in "
      "take_admin_calls(); admin_fd is readable while there are any.")
      .def(py::init([](std::shared_ptr<Engine> engine, const py::dict& options) {
             return std::make_unique<BoundGrpcServer>(std::move(engine), ParseOptions(options));
           }),
           py::arg("engine"), py::arg("options"))
      .def_property_readonly("port", &BoundGrpcServer::port)
      .def_property_readonly("connections", &BoundGrpcServer::connections)
      .def_property_readonly("admin_fd", [](BoundGrpcServer& self) { return self.admin().fd(); })
      .def("take_admin_calls", &TakeAdminCalls, "A list of (call id, method name, request bytes).")
      .def("answer_admin_call", &AnswerAdminCall, py::arg("call_id"), py::arg("code"),
           py::arg("message"), py::arg("response"))
      .def("stop_accepting", &BoundGrpcServer::StopAccepting)
      .def("wait_drained", &BoundGrpcServer::WaitDrained, py::arg("timeout_s"))
      .def("close", &BoundGrpcServer::Close);
}

}  // namespace fastserve
