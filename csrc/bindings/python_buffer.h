// Python memory in the core's terms: a Py_buffer as a BufferView, and a core buffer as a numpy
// array, both without a copy.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "inference/tensor.h"
#include "memory/buffer.h"

namespace fastserve {

// The bytes of a C-contiguous object that supports the buffer protocol. The object stays referenced
// until the last view is gone; a core thread that drops it never waits for the GIL: the reference
// is given back by the interpreter's next pending call, or by the next ReleaseDeferredBuffers().
// Needs the GIL. Raises BufferError when not contiguous.
BufferView ViewOfPythonBuffer(const pybind11::handle& object);

// Gives back what core threads let go of. Needs the GIL.
void ReleaseDeferredBuffers();

// A read-only numpy array over the tensor's bytes, which keeps their buffer alive. BYTES become an
// object array of bytes (copied); BF16 becomes uint16, which the caller reinterprets. Needs the
// GIL. Raises InvalidArgumentError when the elements of a BYTES tensor are malformed.
pybind11::object TensorToNumpy(const Tensor& tensor);

}  // namespace fastserve
