#include "bindings/http_transport.h"

#include <cstring>
#include <utility>

#include "bindings/buffer_exporter.h"

namespace fastserve {

namespace py = pybind11;

namespace {

// Up to this size a response is one bytes object: copying costs less than more pieces do.
constexpr std::size_t kFlatResponseBytes = 32768;

char* Append(std::string_view text, char* out) {
  std::memcpy(out, text.data(), text.size());
  return out + text.size();
}

py::object FlatBytes(std::string_view head, const WireMessage& body, std::size_t size) {
  py::object bytes = py::reinterpret_steal<py::object>(
      PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(size)));
  if (!bytes) throw py::error_already_set();
  char* out = Append(head, PyBytes_AS_STRING(bytes.ptr()));
  for (const WirePiece& piece : body.pieces) {
    out = Append(piece.head, out);
    if (piece.tail.size > 0)
      out = Append({reinterpret_cast<const char*>(piece.tail.data), piece.tail.size}, out);
  }
  return bytes;
}

// Small pieces as bytes, tensors as views of their memory.
py::list PieceList(std::string head, WireMessage body) {
  py::list list;
  for (WirePiece& piece : body.pieces) {
    head.append(piece.head);
    if (piece.tail.size == 0) continue;
    if (!head.empty()) list.append(py::bytes(head));
    head.clear();
    list.append(ExportBuffer(std::move(piece.tail)));
  }
  if (!head.empty()) list.append(py::bytes(head));
  return list;
}

}  // namespace

AsyncioTransport::AsyncioTransport(py::handle owner, py::object transport)
    : owner_(owner), transport_(std::move(transport)), write_(transport_.attr("write")) {}

void AsyncioTransport::Call(const py::object& callable, PyObject* argument) {
  PyObject* result = argument != nullptr ? PyObject_CallOneArg(callable.ptr(), argument)
                                         : PyObject_CallNoArgs(callable.ptr());
  if (result == nullptr) {
    PyErr_WriteUnraisable(callable.ptr());
    return Abort();
  }
  Py_DECREF(result);
}

void AsyncioTransport::CallMethod(const char* name) {
  PyObject* result = PyObject_CallMethod(transport_.ptr(), name, nullptr);
  if (result == nullptr) {
    PyErr_WriteUnraisable(transport_.ptr());
    return;
  }
  Py_DECREF(result);
}

void AsyncioTransport::Write(std::string head, WireMessage body) {
  const std::size_t size = head.size() + body.size();
  if (size <= kFlatResponseBytes) return Call(write_, FlatBytes(head, body, size).ptr());
  // One write per piece: asyncio joins the arguments of writelines, which copies them.
  const py::list pieces = PieceList(std::move(head), std::move(body));
  for (const py::handle piece : pieces) Call(write_, piece.ptr());
}

void AsyncioTransport::Delegate(std::span<const std::byte> bytes) {
  if (!delegate_) {
    delegate_ = py::reinterpret_steal<py::object>(
        PyObject_CallMethod(owner_.ptr(), "make_delegate", nullptr));
    if (!delegate_) {
      PyErr_WriteUnraisable(owner_.ptr());
      return Abort();
    }
    data_received_ = delegate_.attr("data_received");
  }
  const py::bytes data(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  Call(data_received_, data.ptr());
}

void AsyncioTransport::PauseReading() { CallMethod("pause_reading"); }
void AsyncioTransport::ResumeReading() { CallMethod("resume_reading"); }
void AsyncioTransport::WriteEof() { CallMethod("write_eof"); }
void AsyncioTransport::Close() { CallMethod("close"); }
std::size_t AsyncioTransport::UnsentBytes() {
  PyObject* result = PyObject_CallMethod(transport_.ptr(), "get_write_buffer_size", nullptr);
  const std::size_t size = result == nullptr ? 0 : PyLong_AsSize_t(result);
  Py_XDECREF(result);
  if (PyErr_Occurred() != nullptr) PyErr_WriteUnraisable(transport_.ptr());
  return size;
}

void AsyncioTransport::Abort() { CallMethod("abort"); }

}  // namespace fastserve
