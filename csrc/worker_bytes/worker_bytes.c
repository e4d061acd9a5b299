// BYTES tensors for Python workers: a list of bytes <-> `u32 length, bytes` repeated, at an
// address. Plain C on the stable interface of CPython 3.8, so that one file serves every
// interpreter a model may bring; it is no part of fastserve._core.
#include <stdint.h>
#include <string.h>

#include "dlpack.h"

enum { kLengthBytes = 4 };

static uint32_t LoadLittleEndian(const unsigned char* at) {
  return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static void StoreLittleEndian(unsigned char* at, uint32_t value) {
  at[0] = (unsigned char)value;
  at[1] = (unsigned char)(value >> 8);
  at[2] = (unsigned char)(value >> 16);
  at[3] = (unsigned char)(value >> 24);
}

// measure(list) -> the serialised size, or -1 when an item is not exactly bytes.
static PyObject* Measure(PyObject* module, PyObject* list) {
  (void)module;
  if (!PyList_Check(list)) {
    PyErr_SetString(PyExc_TypeError, "measure() takes a list");
    return NULL;
  }
  Py_ssize_t total = 0;
  const Py_ssize_t count = PyList_Size(list);
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyObject* item = PyList_GetItem(list, i);
    if (item == NULL) return NULL;
    if ((PyObject*)Py_TYPE(item) != (PyObject*)&PyBytes_Type) return PyLong_FromLong(-1);
    total += kLengthBytes + PyBytes_Size(item);
  }
  return PyLong_FromSsize_t(total);
}

// write(list of bytes, address, size): ValueError when the strings do not take exactly `size`
// bytes.
static PyObject* Write(PyObject* module, PyObject* arguments) {
  (void)module;
  PyObject* list = NULL;
  unsigned long long address = 0;
  Py_ssize_t size = 0;
  if (!PyArg_ParseTuple(arguments, "OKn", &list, &address, &size)) return NULL;
  if (!PyList_Check(list)) {
    PyErr_SetString(PyExc_TypeError, "write() takes a list");
    return NULL;
  }
  unsigned char* at = (unsigned char*)(uintptr_t)address;
  Py_ssize_t left = size;
  const Py_ssize_t count = PyList_Size(list);
  for (Py_ssize_t i = 0; i < count; ++i) {
    char* data = NULL;
    Py_ssize_t length = 0;
    PyObject* item = PyList_GetItem(list, i);
    if (item == NULL || PyBytes_AsStringAndSize(item, &data, &length) != 0) return NULL;
    if ((uint64_t)length > UINT32_MAX)
      return PyErr_Format(PyExc_ValueError, "string %zd has %zd bytes", i, length);
    if (left < kLengthBytes || length > left - kLengthBytes) {
      return PyErr_Format(PyExc_ValueError, "the strings take more than %zd bytes", size);
    }
    StoreLittleEndian(at, (uint32_t)length);
    memcpy(at + kLengthBytes, data, (size_t)length);
    at += kLengthBytes + length;
    left -= kLengthBytes + length;
  }
  if (left != 0)
    return PyErr_Format(PyExc_ValueError, "the strings take %zd bytes, expected %zd", size - left,
                        size);
  Py_RETURN_NONE;
}

// One string at `at`, of which `left` bytes may be read. Sets `taken`. The length is read once: the
// memory is shared.
static PyObject* ReadString(const unsigned char* at, Py_ssize_t left, Py_ssize_t index,
                            Py_ssize_t* taken) {
  if (left < kLengthBytes)
    return PyErr_Format(PyExc_ValueError, "string %zd has %zd bytes of its length", index, left);
  const Py_ssize_t length = (Py_ssize_t)LoadLittleEndian(at);
  if (length > left - kLengthBytes) {
    return PyErr_Format(PyExc_ValueError, "string %zd has length %zd, but %zd bytes follow", index,
                        length, left - kLengthBytes);
  }
  *taken = kLengthBytes + length;
  return PyBytes_FromStringAndSize((const char*)at + kLengthBytes, length);
}

// fill(objects, count, address, size): puts `count` strings into the array of object references at
// `objects`, which owns them. ValueError when the lengths do not add up to `size` or to `count`
// strings; the array then has what came before.
static PyObject* Fill(PyObject* module, PyObject* arguments) {
  (void)module;
  unsigned long long objects = 0;
  Py_ssize_t count = 0;
  unsigned long long address = 0;
  Py_ssize_t left = 0;
  if (!PyArg_ParseTuple(arguments, "KnKn", &objects, &count, &address, &left)) return NULL;
  PyObject** slots = (PyObject**)(uintptr_t)objects;
  const unsigned char* at = (const unsigned char*)(uintptr_t)address;
  for (Py_ssize_t index = 0; index < count; ++index) {
    Py_ssize_t taken = 0;
    PyObject* item = ReadString(at, left, index, &taken);
    if (item == NULL) return NULL;
    PyObject* previous = slots[index];
    slots[index] = item;
    Py_XDECREF(previous);
    at += taken;
    left -= taken;
  }
  if (left != 0)
    return PyErr_Format(PyExc_ValueError, "%zd bytes follow the last of %zd strings", left, count);
  Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"measure", Measure, METH_O, "measure(list) -> serialised size, or -1"},
    {"write", Write, METH_VARARGS, "write(list, address, size)"},
    {"fill", Fill, METH_VARARGS, "fill(objects, count, address, size)"},
    {"export_dlpack", ExportDlpack, METH_VARARGS,
     "export_dlpack(owner, address, code, bits, shape, strides) -> capsule"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_fastserve_bytes", NULL, -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__fastserve_bytes(void) { return PyModule_Create(&definition); }
