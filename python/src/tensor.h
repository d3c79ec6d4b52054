/* What a kernel needs to know of a PyTorch tensor, and why one cannot be served. */
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>

#include "attune/attune.h"

typedef struct Tensor {
  int64_t sizes[4];   /* where rank is 4 */
  int64_t strides[4]; /* elements */
  uint64_t address;
  Py_ssize_t rank;
  int dtype;  /* attune_dtype, -1: another */
  int device; /* torch's number of the GPU, -1: not on one */
} Tensor;

/* Names what belongs to torch: its class of tensors, torch.bfloat16 and torch.float16 (compared by identity). Where
 * the class has DLPack's C exchange table (PyTorch 2.10), its tensors are read through that, else through data_ptr(),
 * shape, stride(), dtype and get_device(), as anything else is. `sample`, a tensor of four dimensions, is read both
 * ways first: a table that says something else is not used, nor is any without a sample (NULL). -1 with an exception set. */
int tensor_setup(PyObject* tensor_class, PyObject* bfloat16, PyObject* float16, PyObject* sample);

int tensor_is_plain(PyObject* object);      /* of torch's own class, not of one derived from it */
PyObject* tensor_dtype_object(int dtype);   /* borrowed */

/* -1 with an exception set. */
int tensor_read(PyObject* object, Tensor* tensor);

/* The stream that torch's work on a GPU goes to, by the exchange table. -1 where there is none (an exception may be set). */
int tensor_stream(int device, uint64_t* stream);

/* Why the kernels cannot take these as query, key and value: a new reference to text, or NULL (an exception is set
 * only where memory lacks). */
PyObject* tensors_reason(const Tensor qkv[3], int enable_gqa);

/* The same of one tensor's strides and address. */
PyObject* layout_reason(const char* name, const Tensor* tensor);

/* A formatted text. */
PyObject* reason(const char* format, ...);

attune_tensor tensor_as_attune(const Tensor* tensor);
