// The load generator for python/fastserve/tools/perf: the sending threads run in C++ without the
// GIL, Python asks for snapshots.
#include <pybind11/stl.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "perf/canned_grpc_server.h"
#include "perf/load_generator.h"

namespace fastserve {

namespace py = pybind11;

namespace {

using perf::Arrival;
using perf::LoadCounter;
using perf::LoadGenerator;
using perf::LoadOptions;
using perf::LoadSnapshot;
using perf::PreparedRequest;
using perf::PreparedRequests;
using perf::Protocol;

constexpr double kNsInSecond = 1e9;
constexpr double kNsInUs = 1e3;

std::int64_t Nanoseconds(double seconds) {
  return static_cast<std::int64_t>(seconds * kNsInSecond);
}

std::shared_ptr<const PreparedRequests> MakeRequests(
    const std::vector<std::pair<py::bytes, py::object>>& pairs) {
  auto requests = std::make_shared<PreparedRequests>();
  for (const auto& [bytes, expected] : pairs) {
    PreparedRequest request{std::string(bytes), std::nullopt};
    if (!expected.is_none()) request.expected = std::string(expected.cast<py::bytes>());
    requests->push_back(std::move(request));
  }
  return requests;
}

void BindOptions(py::module_& module) {
  py::enum_<Protocol>(module, "LoadProtocol")
      .value("HTTP", Protocol::kHttp)
      .value("GRPC", Protocol::kGrpc);
  py::enum_<Arrival>(module, "Arrival")
      .value("CLOSED_LOOP", Arrival::kClosedLoop)
      .value("CONSTANT", Arrival::kConstantRate)
      .value("POISSON", Arrival::kPoissonRate);
  const auto seconds = [](std::int64_t LoadOptions::* member) {
    return std::pair{
        [member](const LoadOptions& self) {
          return static_cast<double>(self.*member) / kNsInSecond;
        },
        [member](LoadOptions& self, double value) { self.*member = Nanoseconds(value); }};
  };
  const auto [timeout, set_timeout] = seconds(&LoadOptions::request_timeout_ns);
  const auto [abandon, set_abandon] = seconds(&LoadOptions::abandon_within_ns);
  py::class_<LoadOptions>(module, "LoadOptions",
                          "What a load generator sends, to where, and how often.")
      .def(py::init<>())
      .def_readwrite("protocol", &LoadOptions::protocol)
      .def_readwrite("host", &LoadOptions::host)
      .def_readwrite("port", &LoadOptions::port)
      .def_readwrite("grpc_path", &LoadOptions::grpc_path)
      .def_readwrite("grpc_metadata", &LoadOptions::grpc_metadata)
      .def_readwrite("accept_plain_http2", &LoadOptions::accept_plain_http2)
      .def_readwrite("threads", &LoadOptions::threads)
      .def_readwrite("arrival", &LoadOptions::arrival)
      .def_readwrite("concurrency", &LoadOptions::concurrency)
      .def_readwrite("request_rate", &LoadOptions::request_rate)
      .def_readwrite("connections", &LoadOptions::connections)
      .def_readwrite("max_connections", &LoadOptions::max_connections)
      .def_readwrite("max_requests", &LoadOptions::max_requests)
      .def_readwrite("seed", &LoadOptions::seed)
      .def_property("request_timeout_s", timeout, set_timeout)
      .def_readwrite("abandon_fraction", &LoadOptions::abandon_fraction)
      .def_property("abandon_within_s", abandon, set_abandon)
      .def(
          "set_requests",
          [](LoadOptions& self, const std::vector<std::pair<py::bytes, py::object>>& pairs) {
            self.requests = MakeRequests(pairs);
          },
          py::arg("requests"),
          "Pairs of a serialised request and the expected answer (bytes, or None).");
}

void BindSnapshot(py::module_& module) {
  py::class_<LoadSnapshot> snapshot(
      module, "LoadSnapshot", "Counts of the sending threads since their start, or of a window.");
  snapshot.def(py::init<>())
      .def_property_readonly(
          "time_s",
          [](const LoadSnapshot& self) { return static_cast<double>(self.time_ns) / kNsInSecond; })
      .def_property_readonly(
          "cpu_s",
          [](const LoadSnapshot& self) { return static_cast<double>(self.cpu_ns) / kNsInSecond; })
      .def_readonly("in_flight", &LoadSnapshot::in_flight)
      .def_readonly("overdue", &LoadSnapshot::overdue)
      .def_readonly("connections", &LoadSnapshot::connections)
      .def("since", &LoadSnapshot::Since, py::arg("earlier"),
           "The window from an earlier snapshot to this one.")
      .def("add", &LoadSnapshot::Add, py::arg("other"), "Merges another window into this one.")
      .def(
          "percentile_us",
          [](const LoadSnapshot& self, double percent) {
            return self.latencies.PercentileNs(percent) / kNsInUs;
          },
          py::arg("percent"))
      .def_property_readonly(
          "mean_us", [](const LoadSnapshot& self) { return self.latencies.MeanNs() / kNsInUs; })
      .def_property_readonly("standard_deviation_us", [](const LoadSnapshot& self) {
        return self.latencies.StandardDeviationNs() / kNsInUs;
      });
#define FASTSERVE_X(name)         \
  snapshot.def_property_readonly( \
      #name, [](const LoadSnapshot& self) { return self.counter(LoadCounter::name); });
  FASTSERVE_LOAD_COUNTERS(FASTSERVE_X)
#undef FASTSERVE_X
}

void BindGenerator(py::module_& module) {
  const auto start = [](const LoadOptions& options) {
    Result<std::unique_ptr<LoadGenerator>> started = [&] {
      const py::gil_scoped_release release;
      return LoadGenerator::Start(options);
    }();
    return ValueOrThrow(std::move(started));
  };
  const auto stop = [](LoadGenerator& self, double grace_s) {
    const py::gil_scoped_release release;
    self.Stop(Nanoseconds(grace_s));
  };
  py::class_<LoadGenerator>(module, "LoadGenerator", "Sending threads against one server.")
      .def_static("start", start, py::arg("options"), "Connects and starts to send.")
      .def_property_readonly("beginning", &LoadGenerator::beginning)
      .def("snapshot", &LoadGenerator::Snapshot)
      .def("errors", &LoadGenerator::Errors, "Texts of failures and their number.")
      .def_property_readonly("finished", &LoadGenerator::finished)
      .def("stop", stop, py::arg("grace_s") = 1.0,
           "Stops sending and waits for what is in flight.");
  module.def(
      "grpc_call",
      [](const LoadOptions& options) {
        Result<perf::UnaryReply> reply = [&] {
          const py::gil_scoped_release release;
          return perf::CallOnce(options);
        }();
        perf::UnaryReply value = ValueOrThrow(std::move(reply));
        return py::make_tuple(value.grpc_status, value.grpc_message, py::bytes(value.message));
      },
      py::arg("options"), "One unary gRPC call: its status code, status message and answer.");
}

void BindCannedServer(py::module_& module) {
  const auto start = [](const std::map<std::string, py::bytes>& replies, int port) {
    std::map<std::string, perf::CannedReply> canned;
    for (const auto& [path, message] : replies) canned[path].message = std::string(message);
    return ValueOrThrow(perf::CannedGrpcServer::Start(std::move(canned), port));
  };
  py::class_<perf::CannedGrpcServer>(module, "CannedGrpcServer",
                                     "Answers every gRPC call of a method with the same bytes.")
      .def_static("start", start, py::arg("replies"), py::arg("port") = 0,
                  "Serves messages by path on loopback.")
      .def_property_readonly("port", &perf::CannedGrpcServer::port);
}

}  // namespace

void BindPerf(py::module_& module) {
  BindOptions(module);
  BindSnapshot(module);
  BindGenerator(module);
  BindCannedServer(module);
}

}  // namespace fastserve
