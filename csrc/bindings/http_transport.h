// An asyncio transport as the HttpTransport of a connection.
#pragma once

#include <pybind11/pybind11.h>

#include <span>
#include <string>

#include "http/connection.h"

namespace fastserve {

// Needs the GIL for everything. A Python exception in a call ends the connection: it is reported as
// unraisable, and the transport is aborted. Holds no reference to the connection's Python object:
// `owner` outlives it.
class AsyncioTransport : public HttpTransport {
 public:
  AsyncioTransport(pybind11::handle owner, pybind11::object transport);

  void Write(std::string head, WireMessage body) override;
  void Delegate(std::span<const std::byte> bytes) override;
  void PauseReading() override;
  void ResumeReading() override;
  void WriteEof() override;
  void Close() override;
  void Abort() override;
  std::size_t UnsentBytes() override;

  // aiohttp's protocol object; null before the first delegated request.
  const pybind11::object& delegate() const { return delegate_; }

 private:
  void Call(const pybind11::object& callable, PyObject* argument = nullptr);
  void CallMethod(const char* name);

  const pybind11::handle owner_;
  const pybind11::object transport_;
  const pybind11::object write_;
  pybind11::object delegate_;
  pybind11::object data_received_;
};

}  // namespace fastserve
