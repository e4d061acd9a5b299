#include "bindings/http_connection_type.h"

#include <structmember.h>

#include <memory>
#include <new>
#include <utility>

#include "bindings/http_transport.h"

namespace fastserve {

namespace py = pybind11;

namespace {

// Python's object. `core` and `transport` exist from open() to connection_lost().
struct ConnectionObject {
  PyObject_HEAD std::shared_ptr<HttpLoopState> loop;
  std::unique_ptr<AsyncioTransport> transport;
  std::shared_ptr<HttpConnection> core;
};

ConnectionObject* Cast(PyObject* self) { return reinterpret_cast<ConnectionObject*>(self); }

// Runs `body`, turning a C++ exception into the Python error that it stands for.
template <typename Body>
PyObject* Guarded(Body body) {
  try {
    return body();
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

PyObject* New(PyTypeObject* type, PyObject* args, PyObject* /*kwargs*/) {
  PyObject* loop = nullptr;
  if (!PyArg_ParseTuple(args, "O", &loop)) return nullptr;
  return Guarded([type, loop]() -> PyObject* {
    std::shared_ptr<HttpLoopState> state = HttpLoopStateOf(loop);
    PyObject* self = type->tp_alloc(type, 0);
    if (self == nullptr) return nullptr;
    new (&Cast(self)->loop) std::shared_ptr<HttpLoopState>(std::move(state));
    new (&Cast(self)->transport) std::unique_ptr<AsyncioTransport>();
    new (&Cast(self)->core) std::shared_ptr<HttpConnection>();
    return self;
  });
}

int Init(PyObject* /*self*/, PyObject* /*args*/, PyObject* /*kwargs*/) { return 0; }

// Drops the reference cycle connection -> transport -> connection.
void End(ConnectionObject* self) {
  const std::shared_ptr<HttpConnection> core = std::move(self->core);
  if (core) core->OnLost();
  const std::unique_ptr<AsyncioTransport> transport = std::move(self->transport);
}

void Dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  End(Cast(self));
  Cast(self)->core.~shared_ptr();
  Cast(self)->transport.~unique_ptr();
  Cast(self)->loop.~shared_ptr();
  type->tp_free(self);
  Py_DECREF(type);
}

PyObject* Open(PyObject* self, PyObject* transport) {
  return Guarded([self, transport]() -> PyObject* {
    ConnectionObject* object = Cast(self);
    object->transport = std::make_unique<AsyncioTransport>(
        py::handle(self), py::reinterpret_borrow<py::object>(transport));
    object->core = std::make_shared<HttpConnection>(object->loop->shared, object->transport.get());
    Py_RETURN_NONE;
  });
}

PyObject* GetBuffer(PyObject* self, PyObject* /*size_hint*/) {
  ConnectionObject* object = Cast(self);
  if (!object->core) return Py_NewRef(object->loop->scratch_view.ptr());
  const std::span<std::byte> buffer = object->core->ReadBuffer();
  if (buffer.data() == object->loop->shared->scratch.get())
    return Py_NewRef(object->loop->scratch_view.ptr());
  return PyMemoryView_FromMemory(reinterpret_cast<char*>(buffer.data()),
                                 static_cast<Py_ssize_t>(buffer.size()), PyBUF_WRITE);
}

PyObject* BufferUpdated(PyObject* self, PyObject* size_object) {
  const Py_ssize_t size = PyLong_AsSsize_t(size_object);
  if (size < 0 && PyErr_Occurred() != nullptr) return nullptr;
  return Guarded([self, size]() -> PyObject* {
    // The call may end the connection; keep it alive until it returns.
    if (const std::shared_ptr<HttpConnection> core = Cast(self)->core)
      core->OnReceived(static_cast<std::size_t>(size));
    Py_RETURN_NONE;
  });
}

// Calls a method of aiohttp's protocol object, if there is one.
template <typename... Arguments>
void TellDelegate(PyObject* self, const char* method, Arguments... arguments) {
  const ConnectionObject* object = Cast(self);
  if (!object->transport || !object->transport->delegate()) return;
  const py::object delegate = object->transport->delegate();
  delegate.attr(method)(arguments...);
}

PyObject* EofReceived(PyObject* self, PyObject* /*unused*/) {
  return Guarded([self]() -> PyObject* {
    if (const std::shared_ptr<HttpConnection> core = Cast(self)->core) core->OnEof();
    Py_RETURN_FALSE;  // the transport closes itself
  });
}

PyObject* ConnectionLost(PyObject* self, PyObject* exception) {
  return Guarded([self, exception]() -> PyObject* {
    if (Cast(self)->core) Cast(self)->core->OnLost();
    TellDelegate(self, "connection_lost", py::handle(exception));
    End(Cast(self));
    Py_RETURN_NONE;
  });
}

PyObject* SetWritable(PyObject* self, bool writable) {
  return Guarded([self, writable]() -> PyObject* {
    if (const std::shared_ptr<HttpConnection> core = Cast(self)->core) core->OnWritable(writable);
    TellDelegate(self, writable ? "resume_writing" : "pause_writing");
    Py_RETURN_NONE;
  });
}

PyObject* PauseWriting(PyObject* self, PyObject* /*unused*/) { return SetWritable(self, false); }
PyObject* ResumeWriting(PyObject* self, PyObject* /*unused*/) { return SetWritable(self, true); }

template <void (HttpConnection::*kMethod)(bool)>
PyObject* CallWithBool(PyObject* self, PyObject* argument) {
  const int value = PyObject_IsTrue(argument);
  if (value < 0) return nullptr;
  return Guarded([self, value]() -> PyObject* {
    if (const std::shared_ptr<HttpConnection> core = Cast(self)->core)
      (core.get()->*kMethod)(value != 0);
    Py_RETURN_NONE;
  });
}

template <void (HttpConnection::*kMethod)()>
PyObject* Call(PyObject* self, PyObject* /*unused*/) {
  return Guarded([self]() -> PyObject* {
    if (const std::shared_ptr<HttpConnection> core = Cast(self)->core) (core.get()->*kMethod)();
    Py_RETURN_NONE;
  });
}

PyObject* Tick(PyObject* self, PyObject* /*unused*/) {
  return Guarded([self]() -> PyObject* {
    if (const std::shared_ptr<HttpConnection> core = Cast(self)->core)
      core->OnTick(Cast(self)->loop->shared->clock->NowNs());
    Py_RETURN_NONE;
  });
}

PyObject* Idle(PyObject* self, PyObject* /*unused*/) {
  const std::shared_ptr<HttpConnection>& core = Cast(self)->core;
  return PyBool_FromLong(!core || core->idle());
}

PyMethodDef kMethods[] = {
    {"open", &Open, METH_O, "Begins to serve the asyncio transport."},
    {"get_buffer", &GetBuffer, METH_O,
     "Where the next bytes are received (asyncio.BufferedProtocol)."},
    {"buffer_updated", &BufferUpdated, METH_O, "Bytes were received (asyncio.BufferedProtocol)."},
    {"eof_received", &EofReceived, METH_NOARGS,
     "The peer sends no more (asyncio.BufferedProtocol)."},
    {"connection_lost", &ConnectionLost, METH_O,
     "The connection is closed (asyncio.BufferedProtocol)."},
    {"pause_writing", &PauseWriting, METH_NOARGS,
     "The peer does not read (asyncio.BufferedProtocol)."},
    {"resume_writing", &ResumeWriting, METH_NOARGS,
     "The peer reads again (asyncio.BufferedProtocol)."},
    {"delegate_ended", &CallWithBool<&HttpConnection::OnDelegateEnded>, METH_O,
     "aiohttp has sent its response; whether the connection is kept alive."},
    {"delegate_paused", &CallWithBool<&HttpConnection::OnDelegatePaused>, METH_O,
     "Whether aiohttp wants no more bytes for now."},
    {"delegate_closed", &Call<&HttpConnection::OnDelegateClosed>, METH_NOARGS,
     "aiohttp wants the connection closed."},
    {"drain", &Call<&HttpConnection::OnDrain>, METH_NOARGS,
     "Closes the connection when no request is in progress."},
    {"tick", &Tick, METH_NOARGS, "Ends what takes too long."},
    {"idle", &Idle, METH_NOARGS, "True when no request is in progress."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

py::object CreateHttpConnectionType() {
  static PyType_Slot slots[] = {
      {Py_tp_new, reinterpret_cast<void*>(&New)},
      {Py_tp_init, reinterpret_cast<void*>(&Init)},
      {Py_tp_dealloc, reinterpret_cast<void*>(&Dealloc)},
      {Py_tp_methods, kMethods},
      {Py_tp_doc,
       const_cast<char*>("One HTTP connection; the base of the asyncio protocol class.")},
      {0, nullptr},
  };
  static PyType_Spec spec = {"fastserve._core.HttpConnection", sizeof(ConnectionObject), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};
  PyObject* type = PyType_FromSpec(&spec);
  if (type == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(type);
}

}  // namespace fastserve
