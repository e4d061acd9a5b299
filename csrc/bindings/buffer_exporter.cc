#include "bindings/buffer_exporter.h"

#include <new>
#include <utility>

namespace fastserve {

namespace py = pybind11;

namespace {

struct Exporter {
  PyObject_HEAD BufferView view;
};

int GetBuffer(PyObject* self, Py_buffer* buffer, int flags) {
  const BufferView& view = reinterpret_cast<Exporter*>(self)->view;
  return PyBuffer_FillInfo(buffer, self, view.data, static_cast<Py_ssize_t>(view.size),
                           /*readonly=*/1, flags);
}

void DeallocExporter(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  reinterpret_cast<Exporter*>(self)->view.~BufferView();
  type->tp_free(self);
  Py_DECREF(type);
}

PyTypeObject* ExporterType() {
  static PyTypeObject* type = [] {
    static PyType_Slot slots[] = {
        {Py_tp_dealloc, reinterpret_cast<void*>(&DeallocExporter)},
        {Py_bf_getbuffer, reinterpret_cast<void*>(&GetBuffer)},
        {0, nullptr},
    };
    static PyType_Spec spec = {"fastserve._core._BufferExporter", sizeof(Exporter), 0,
                               Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
    return reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  }();
  return type;
}

}  // namespace

py::object ExportBuffer(BufferView view) {
  PyTypeObject* type = ExporterType();
  if (type == nullptr) throw py::error_already_set();
  auto* exporter = PyObject_New(Exporter, type);
  if (exporter == nullptr) throw py::error_already_set();
  new (&exporter->view) BufferView(std::move(view));
  const auto owner = py::reinterpret_steal<py::object>(reinterpret_cast<PyObject*>(exporter));
  PyObject* memory = PyMemoryView_FromObject(owner.ptr());
  if (memory == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(memory);
}

}  // namespace fastserve
