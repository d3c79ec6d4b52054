/* attune.attention's way through the extension: tensors in, a tensor out. */
#pragma once

#include "tensor.h"

/* attend(query, key, value, mask, scale, enable_gqa, out): the result, enqueued on the current stream: a new tensor, or
 * `out` unless that is None; or text: why the kernels cannot serve it; or None where the call is one for torch's
 * dispatcher (a subclass, a mode, a trace, a gradient) or `out` is no tensor for this result. */
PyObject* attend(PyObject* module, PyObject* const* arguments, Py_ssize_t count);

/* attend_setup(torch's members as a dict): what attend() calls. */
PyObject* attend_setup(PyObject* module, PyObject* members);

/* Launches. None, or text where another implementation can answer (attune_status below), or NULL with an exception. */
PyObject* enqueue(attune_library* library, const Tensor qkv[3], const Tensor* out, int mask, float scale,
                  uint64_t stream);

/* A softmax scale: 0 for None, -1 for what the kernel does not do, -2 with an exception set. */
float scale_of(PyObject* object);
