// The Python type fastserve._core.HttpConnection: the methods of asyncio.BufferedProtocol, bound
// directly to the C++ state machine. Written against the C API because these methods run several
// times per request.
#pragma once

#include <pybind11/pybind11.h>

#include <functional>
#include <memory>

#include "http/connection.h"

namespace fastserve {

// Creates the type. A Python class derives from it and from asyncio.BufferedProtocol and adds
//   make_delegate() -> aiohttp's protocol object, connected
// `HttpConnection(loop)` takes an HttpLoop; open(transport) starts it.
pybind11::object CreateHttpConnectionType();

// Everything the connections of one event loop share with its HttpLoop.
struct HttpLoopState {
  std::shared_ptr<HttpShared> shared;
  pybind11::object scratch_view;  // writable memoryview of shared->scratch
};

// The loop state of an HttpLoop object; throws TypeError when it is none. http_bindings.cc.
std::shared_ptr<HttpLoopState> HttpLoopStateOf(pybind11::handle loop);

}  // namespace fastserve
