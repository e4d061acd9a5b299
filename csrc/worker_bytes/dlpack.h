// The DLPack half of the worker's C module.
#pragma once

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x03080000
#include <Python.h>

// export_dlpack(owner, address, type code, bits, shape, strides in elements) -> a capsule
// "dltensor" over CPU memory, which keeps `owner` until it, or who took its tensor, is done.
PyObject* ExportDlpack(PyObject* module, PyObject* arguments);
