// Py_buffer <-> BufferView and Tensor -> numpy array.
#include "bindings/python_buffer.h"

#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "bindings/bindings.h"

namespace fastserve {

namespace py = pybind11;

namespace {

// Py_buffers whose last view was dropped without the GIL. One per process, like the interpreter;
// never destroyed, so that a core thread may still use it while the process exits.
class DeferredBuffers {
 public:
  static DeferredBuffers& Get() {
    static auto* buffers = new DeferredBuffers();
    return *buffers;
  }

  // Any thread, without the GIL.
  void Defer(std::unique_ptr<Py_buffer> buffer) EXCLUDES(mutex_) {
    bool first = false;
    {
      MutexLock lock(mutex_);
      first = buffers_.empty();
      buffers_.push_back(std::move(buffer));
    }
    // A full table of pending calls is no loss: the next ReleaseDeferredBuffers() does it.
    if (first) Py_AddPendingCall(&ReleaseFromInterpreter, nullptr);
  }

  // With the GIL.
  void ReleaseAll() EXCLUDES(mutex_) {
    std::vector<std::unique_ptr<Py_buffer>> buffers;
    {
      MutexLock lock(mutex_);
      buffers.swap(buffers_);
    }
    for (const auto& buffer : buffers) PyBuffer_Release(buffer.get());
  }

 private:
  static int ReleaseFromInterpreter(void* /*unused*/) {
    Get().ReleaseAll();
    return 0;
  }

  Mutex mutex_;
  std::vector<std::unique_ptr<Py_buffer>> buffers_ GUARDED_BY(mutex_);
};

void ReleaseBuffer(Py_buffer* raw) {
  std::unique_ptr<Py_buffer> buffer(raw);
  if (PyGILState_Check() == 1) {
    PyBuffer_Release(buffer.get());
  } else {
    DeferredBuffers::Get().Defer(std::move(buffer));
  }
}

py::dtype NumpyType(DataType type) {
  switch (type) {
    case DataType::kBool:
      return py::dtype("?");
    case DataType::kUint8:
      return py::dtype("u1");
    case DataType::kUint16:
    case DataType::kBf16:
      return py::dtype("<u2");
    case DataType::kUint32:
      return py::dtype("<u4");
    case DataType::kUint64:
      return py::dtype("<u8");
    case DataType::kInt8:
      return py::dtype("i1");
    case DataType::kInt16:
      return py::dtype("<i2");
    case DataType::kInt32:
      return py::dtype("<i4");
    case DataType::kInt64:
      return py::dtype("<i8");
    case DataType::kFp16:
      return py::dtype("<f2");
    case DataType::kFp32:
      return py::dtype("<f4");
    case DataType::kFp64:
      return py::dtype("<f8");
    default:
      return py::dtype("O");
  }
}

py::object BytesToNumpy(const Tensor& tensor, const std::vector<py::ssize_t>& shape) {
  const auto count = ElementCount({tensor.shape.data(), tensor.shape.size()});
  if (!count)
    ThrowIfError(Status::InvalidArgument("output '" + tensor.name + "' has an impossible shape"));
  std::vector<std::string_view> elements;
  const std::span<const std::byte> data(tensor.data.data, tensor.data.size);
  ThrowIfError(ParseBytesElements(tensor.name, data, *count, &elements));
  py::list values;
  for (const std::string_view element : elements)
    values.append(py::bytes(element.data(), element.size()));
  const py::module_ numpy = py::module_::import("numpy");
  py::object array = numpy.attr("empty")(shape, py::dtype("O"));
  array.attr("reshape")(-1).attr("__setitem__")(py::slice(0, count, 1), values);
  return array;
}

}  // namespace

BufferView ViewOfPythonBuffer(const py::handle& object) {
  auto buffer = std::make_unique<Py_buffer>();
  if (PyObject_GetBuffer(object.ptr(), buffer.get(), PyBUF_SIMPLE) != 0)
    throw py::error_already_set();
  Py_buffer* raw = buffer.release();
  return {
      WrapHostBuffer(raw->buf, static_cast<std::size_t>(raw->len), [raw] { ReleaseBuffer(raw); })};
}

void ReleaseDeferredBuffers() { DeferredBuffers::Get().ReleaseAll(); }

py::object TensorToNumpy(const Tensor& tensor) {
  const std::vector<py::ssize_t> shape(tensor.shape.begin(), tensor.shape.end());
  if (tensor.type == DataType::kBytes) return BytesToNumpy(tensor, shape);
  // The capsule owns a reference to the core's buffer; the array's base is the capsule.
  auto owner = std::make_unique<BufferPtr>(tensor.data.owner);
  const py::capsule base(owner.get(),
                         [](void* pointer) { delete static_cast<BufferPtr*>(pointer); });
  owner.release();  // NOLINT(bugprone-unused-return-value): the capsule has it now
  py::array array(NumpyType(tensor.type), shape, {}, tensor.data.data, base);
  array.attr("flags").attr("writeable") = false;
  return array;
}

}  // namespace fastserve
