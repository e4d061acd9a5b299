// DLPack capsules over the memory of Python objects. In C, because they are destroyed wherever
// their last reference goes, also while an exception is on its way: Python code would lose that
// exception.
#include "dlpack.h"

#include <stdint.h>
#include <string.h>

static const char kName[] = "dltensor";

// As in dlpack.h, version 0.
typedef struct {
  void* data;
  int32_t device_type;
  int32_t device_id;
  int32_t ndim;
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
  int64_t* shape;
  int64_t* strides;
  uint64_t byte_offset;
} Tensor;

typedef struct ManagedTensor {
  Tensor tensor;
  void* context;  // the object whose memory it is, of which it owns a reference
  void (*deleter)(struct ManagedTensor*);
  int64_t sizes[];  // shape, then strides
} ManagedTensor;

// Called by who took the tensor, on any thread.
static void Delete(ManagedTensor* managed) {
  if (!Py_IsInitialized()) return;
  const PyGILState_STATE state = PyGILState_Ensure();
  PyObject* type = NULL;
  PyObject* value = NULL;
  PyObject* trace = NULL;
  PyErr_Fetch(&type, &value, &trace);
  Py_DECREF((PyObject*)managed->context);
  PyMem_Free(managed);
  PyErr_Restore(type, value, trace);
  PyGILState_Release(state);
}

// A capsule that nobody took still owns its tensor.
static void Destroy(PyObject* capsule) {
  if (!PyCapsule_IsValid(capsule, kName)) return;
  ManagedTensor* managed = (ManagedTensor*)PyCapsule_GetPointer(capsule, kName);
  managed->deleter(managed);
}

// -1 with an exception set when `tuple` has no `count` integers.
static int ReadSizes(PyObject* tuple, Py_ssize_t count, int64_t* sizes) {
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyObject* item = PyTuple_GetItem(tuple, i);
    if (item == NULL) return -1;
    sizes[i] = PyLong_AsLongLong(item);
    if (sizes[i] == -1 && PyErr_Occurred() != NULL) return -1;
  }
  return 0;
}

PyObject* ExportDlpack(PyObject* module, PyObject* arguments) {
  (void)module;
  PyObject* owner = NULL;
  PyObject* shape = NULL;
  PyObject* strides = NULL;
  unsigned long long address = 0;
  unsigned char code = 0;
  unsigned char bits = 0;
  if (!PyArg_ParseTuple(arguments, "OKbbO!O!", &owner, &address, &code, &bits, &PyTuple_Type,
                        &shape, &PyTuple_Type, &strides)) {
    return NULL;
  }
  const Py_ssize_t count = PyTuple_Size(shape);
  const size_t size = sizeof(ManagedTensor) + 2 * (size_t)count * sizeof(int64_t);
  ManagedTensor* managed = (ManagedTensor*)PyMem_Malloc(size);
  if (managed == NULL) return PyErr_NoMemory();
  memset(managed, 0, size);
  if (ReadSizes(shape, count, managed->sizes) != 0 ||
      ReadSizes(strides, count, managed->sizes + count) != 0) {
    PyMem_Free(managed);
    return NULL;
  }
  managed->tensor.data = (void*)(uintptr_t)address;
  managed->tensor.device_type = 1;  // CPU
  managed->tensor.ndim = (int32_t)count;
  managed->tensor.code = code;
  managed->tensor.bits = bits;
  managed->tensor.lanes = 1;
  managed->tensor.shape = managed->sizes;
  managed->tensor.strides = managed->sizes + count;
  managed->deleter = Delete;
  PyObject* capsule = PyCapsule_New(managed, kName, Destroy);
  if (capsule == NULL) {
    PyMem_Free(managed);
    return NULL;
  }
  Py_INCREF(owner);
  managed->context = owner;
  return capsule;
}
