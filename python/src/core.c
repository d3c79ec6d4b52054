/* attune._core: the C API for Python. One build serves Python 3.10 and newer (the stable ABI), and it knows no
 * torch: a tensor is anything with data_ptr(), shape, stride(), dtype and get_device(). */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stdarg.h>

#include "attune/attune.h"

#define LARGEST_HEAD_DIM 256
#define ALIGNED_BYTES 16
#define ALIGNED_ELEMENTS 8

static PyObject *name_data_ptr, *name_stride, *name_shape, *name_dtype, *name_get_device;
static PyObject *attune_error;             /* AttuneError(RuntimeError), with .status */
static PyObject *bf16_object, *fp16_object; /* torch.bfloat16 and torch.float16, compared by identity */

static PyObject* raise_status(attune_status status) {
  PyObject* error = PyObject_CallFunction(attune_error, "s", attune_last_error());
  if (error == NULL) return NULL;
  PyObject* name = PyUnicode_FromString(attune_status_name(status));
  if (name != NULL && PyObject_SetAttrString(error, "status", name) == 0) PyErr_SetObject(attune_error, error);
  Py_XDECREF(name);
  Py_DECREF(error);
  return NULL;
}

/* --- tensors ------------------------------------------------------------------------------------------------ */

typedef struct Tensor {
  int64_t sizes[4];
  int64_t strides[4]; /* elements */
  uint64_t address;
} Tensor;

/* Fills four numbers from a tuple of four; -1 with an exception set, or 0 and *rank is the tuple's length. */
static int read_four(PyObject* tuple, int64_t* numbers, Py_ssize_t* rank) {
  *rank = tuple == NULL ? -1 : PyTuple_Size(tuple);
  if (*rank < 0) return -1;
  for (Py_ssize_t i = 0; i < 4 && i < *rank; ++i) {
    numbers[i] = PyLong_AsLongLong(PyTuple_GetItem(tuple, i));
    if (numbers[i] == -1 && PyErr_Occurred()) return -1;
  }
  return 0;
}

static int read_address(PyObject* object, Tensor* tensor) {
  PyObject* address = PyObject_CallMethodObjArgs(object, name_data_ptr, NULL);
  if (address == NULL) return -1;
  tensor->address = PyLong_AsUnsignedLongLong(address);
  Py_DECREF(address);
  return tensor->address == (uint64_t)-1 && PyErr_Occurred() ? -1 : 0;
}

/* -1 with an exception set, else 0; *rank is that of the tensor, whose numbers are read where it is 4. */
static int read_tensor(PyObject* object, Tensor* tensor, Py_ssize_t* rank) {
  PyObject* shape = PyObject_GetAttr(object, name_shape);
  int result = shape == NULL ? -1 : read_four(shape, tensor->sizes, rank);
  Py_XDECREF(shape);
  if (result != 0 || *rank != 4) return result;
  PyObject* strides = PyObject_CallMethodObjArgs(object, name_stride, NULL);
  Py_ssize_t stride_rank = 0;
  result = strides == NULL ? -1 : read_four(strides, tensor->strides, &stride_rank);
  Py_XDECREF(strides);
  return result != 0 ? -1 : read_address(object, tensor);
}

/* The dtype's number, -1 for another dtype, -2 with an exception set. */
static int dtype_of(PyObject* object) {
  PyObject* dtype = PyObject_GetAttr(object, name_dtype);
  if (dtype == NULL) return -2;
  Py_DECREF(dtype); /* the module holds those it knows */
  return dtype == bf16_object ? ATTUNE_BF16 : dtype == fp16_object ? ATTUNE_FP16 : -1;
}

/* torch's number of a GPU, -1 for the CPU, -2 with an exception set. */
static long device_of(PyObject* object) {
  PyObject* device = PyObject_CallMethodObjArgs(object, name_get_device, NULL);
  if (device == NULL) return -2;
  const long number = PyLong_AsLong(device);
  Py_DECREF(device);
  return number == -1 && PyErr_Occurred() ? -2 : number;
}

/* --- what cannot be served ------------------------------------------------------------------------------------ */

static PyObject* reason(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  PyObject* text = PyUnicode_FromFormatV(format, arguments);
  va_end(arguments);
  return text;
}

/* NULL without an exception: the tensor can be used as it is. */
static PyObject* layout_reason(const char* name, const Tensor* t) {
  if (t->sizes[3] != 1 && t->strides[3] != 1) {
    return reason("%s is not contiguous in head_dim (its last stride is %lld)", name, (long long)t->strides[3]);
  }
  for (int i = 0; i < 3; ++i) {
    if (t->sizes[i] != 1 && (t->strides[i] <= 0 || t->strides[i] % ALIGNED_ELEMENTS != 0)) {
      return reason("%s has a stride of %lld elements in dimension %d; strides must be positive multiples of %d", name,
                    (long long)t->strides[i], i, ALIGNED_ELEMENTS);
    }
  }
  if (t->address % ALIGNED_BYTES != 0) {
    return reason("%s begins at an address that is not a multiple of %d bytes", name, ALIGNED_BYTES);
  }
  return NULL;
}

static PyObject* shape_reason(const Tensor* q, const Tensor* k, const Tensor* v, int enable_gqa) {
  const long long head_dim = q->sizes[3], q_heads = q->sizes[1], kv_heads = k->sizes[1];
  for (int i = 0; i < 4; ++i) {
    if (q->sizes[i] == 0 || k->sizes[i] == 0 || v->sizes[i] == 0) return reason("a tensor is empty");
    if (k->sizes[i] != v->sizes[i]) {
      return reason("key and value differ in dimension %d: %lld and %lld", i, (long long)k->sizes[i],
                    (long long)v->sizes[i]);
    }
  }
  if (q->sizes[0] != k->sizes[0]) {
    return reason("query has a batch of %lld, key of %lld", (long long)q->sizes[0], (long long)k->sizes[0]);
  }
  if (head_dim != k->sizes[3]) return reason("query has head_dim %lld, key %lld", head_dim, (long long)k->sizes[3]);
  if (head_dim % 8 != 0 || head_dim > LARGEST_HEAD_DIM) {
    return reason("head_dim is %lld, must be a multiple of 8 and at most %d", head_dim, LARGEST_HEAD_DIM);
  }
  if (q_heads % kv_heads != 0) return reason("%lld query heads cannot share %lld key heads evenly", q_heads, kv_heads);
  if (q_heads != kv_heads && !enable_gqa) {
    return reason("query has %lld heads and key %lld; enable_gqa=True lets heads share keys", q_heads, kv_heads);
  }
  return NULL;
}

typedef struct Call {
  Tensor q, k, v;
  int dtype;
  long device;
} Call;

/* Reads the three tensors. A new reference to why they cannot be served; NULL with or without an exception. */
static PyObject* read_call(PyObject* const* objects, int enable_gqa, Call* call) {
  static const char* const names[] = {"query", "key", "value"};
  Tensor* const tensors[] = {&call->q, &call->k, &call->v};
  for (int i = 0; i < 3; ++i) {
    const int dtype = dtype_of(objects[i]);
    const long device = device_of(objects[i]);
    if (dtype == -2 || device == -2) return NULL;
    if (dtype == -1) return reason("%s is neither bfloat16 nor float16", names[i]);
    if (device == -1) return reason("%s is not on a GPU", names[i]);
    if (i == 0) call->dtype = dtype, call->device = device;
    if (dtype != call->dtype) return reason("query and %s differ in dtype", names[i]);
    if (device != call->device) {
      return reason("query is on GPU %ld and %s on GPU %ld", call->device, names[i], device);
    }
    Py_ssize_t rank = 0;
    if (read_tensor(objects[i], tensors[i], &rank) != 0) return NULL;
    if (rank != 4) {
      return reason("%s has %zd dimensions, must have 4: batch, heads, length, head_dim", names[i], rank);
    }
  }
  PyObject* why = shape_reason(&call->q, &call->k, &call->v, enable_gqa);
  for (int i = 0; i < 3 && why == NULL; ++i) why = layout_reason(names[i], tensors[i]);
  return why;
}

static attune_tensor tensor_of(const Tensor* t) {
  return (attune_tensor){.data = (void*)(uintptr_t)t->address,
                         .batch_stride = t->strides[0],
                         .head_stride = t->strides[1],
                         .seq_stride = t->strides[2]};
}

/* --- Library -------------------------------------------------------------------------------------------------- */

typedef struct LibraryObject {
  PyObject_HEAD
  attune_library* handle; /* NULL once closed */
  PyObject* log;          /* callable(level, text), or NULL */
} LibraryObject;

static void forward_log(attune_log_level level, const char* text, void* user) {
  const PyGILState_STATE state = PyGILState_Ensure();
  PyObject* answer = PyObject_CallFunction((PyObject*)user, "is", (int)level, text);
  if (answer == NULL) PyErr_WriteUnraisable((PyObject*)user);
  Py_XDECREF(answer);
  PyGILState_Release(state);
}

static PyObject* library_new(PyTypeObject* type, PyObject* arguments, PyObject* keywords) {
  static char* names[] = {"database", "cubins", "device", "log", NULL};
  attune_open_options options = ATTUNE_OPEN_OPTIONS_INIT;
  PyObject* log = Py_None;
  int device = ATTUNE_CURRENT_DEVICE;
  if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "|zziO:Library", names, &options.database, &options.cubins,
                                   &device, &log)) {
    return NULL;
  }
  options.device = device;
  if (log != Py_None) {
    options.log = forward_log;
    options.log_user = log;
  }
  attune_library* handle = NULL;
  attune_status status;
  Py_BEGIN_ALLOW_THREADS
  status = attune_open(&options, &handle);
  Py_END_ALLOW_THREADS
  if (status != ATTUNE_OK) return raise_status(status);
  allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
  LibraryObject* self = (LibraryObject*)allocate(type, 0);
  if (self == NULL) {
    attune_close(handle);
    return NULL;
  }
  self->handle = handle;
  self->log = log == Py_None ? NULL : log;
  Py_XINCREF(self->log);
  return (PyObject*)self;
}

/* Does not close: captured graphs may hold its kernels, and at the interpreter's end the GPU may be gone. */
static void library_dealloc(PyObject* object) {
  LibraryObject* self = (LibraryObject*)object;
  PyTypeObject* type = Py_TYPE(object);
  if (self->handle == NULL) Py_XDECREF(self->log); /* an open one still calls it */
  freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
  release(object);
  Py_DECREF(type);
}

static int is_open(const LibraryObject* self) {
  if (self->handle != NULL) return 1;
  PyErr_SetString(PyExc_ValueError, "the library is closed");
  return 0;
}

static PyObject* library_close(PyObject* object, PyObject* nothing) {
  (void)nothing;
  LibraryObject* self = (LibraryObject*)object;
  attune_library* handle = self->handle;
  self->handle = NULL;
  Py_BEGIN_ALLOW_THREADS
  attune_close(handle);
  Py_END_ALLOW_THREADS
  Py_RETURN_NONE;
}

static PyObject* info_dict(const attune_kernel* kernel) {
  static const char* const provenances[] = {"exact", "near", "default"};
  attune_info info = {.struct_size = sizeof info};
  const attune_status status = attune_explain(kernel, &info);
  if (status != ATTUNE_OK) return raise_status(status);
  return Py_BuildValue("{s:s,s:O,s:d,s:L,s:s,s:s,s:s}", "provenance", provenances[info.provenance], "stale",
                       info.stale ? Py_True : Py_False, "expected_us", info.expected_us, "workspace_bytes",
                       (long long)info.workspace_bytes, "template", info.template_name, "config", info.config_json,
                       "reason", info.reason);
}

static PyObject* library_prepare(PyObject* object, PyObject* arguments) {
  LibraryObject* self = (LibraryObject*)object;
  long long sizes[6];
  attune_shape shape = {.struct_size = sizeof shape};
  int dtype, mask, layout;
  if (!PyArg_ParseTuple(arguments, "LLLLLLiii:prepare", &sizes[0], &sizes[1], &sizes[2], &sizes[3], &sizes[4],
                        &sizes[5], &dtype, &mask, &layout) ||
      !is_open(self)) {
    return NULL;
  }
  shape.batch = sizes[0], shape.q_heads = sizes[1], shape.kv_heads = sizes[2];
  shape.q_len = sizes[3], shape.kv_len = sizes[4], shape.head_dim = sizes[5];
  shape.dtype = dtype, shape.mask = mask, shape.layout = layout;
  const attune_kernel* kernel = NULL;
  attune_status status;
  Py_BEGIN_ALLOW_THREADS
  status = attune_prepare(self->handle, &shape, &kernel);
  Py_END_ALLOW_THREADS
  return status == ATTUNE_OK ? info_dict(kernel) : raise_status(status);
}

/* A softmax scale: 0 for None, -1 for what the kernel does not do, -2 with an exception set. */
static float scale_of(PyObject* object) {
  if (object == Py_None) return 0;
  const double given = PyFloat_AsDouble(object);
  if (given == -1 && PyErr_Occurred()) return -2;
  const float scale = (float)given;
  return isfinite(scale) && scale > 0 ? scale : -1;
}

/* forward(query, key, value, out, mask, scale, enable_gqa, stream): None once it is enqueued, or why it cannot be
 * served, as text. `out` is [batch, heads, length, head_dim] of the query's kind. */
static PyObject* library_forward(PyObject* object, PyObject* const* arguments, Py_ssize_t count) {
  LibraryObject* self = (LibraryObject*)object;
  if (count != 8) return PyErr_Format(PyExc_TypeError, "forward takes 8 arguments, not %zd", count);
  if (!is_open(self)) return NULL;
  const long mask = PyLong_AsLong(arguments[4]);
  if (mask == -1 && PyErr_Occurred()) return NULL;
  const float scale = scale_of(arguments[5]);
  if (scale == -2) return NULL;
  if (scale == -1) return reason("the scale is not a finite number above 0");
  const int enable_gqa = PyObject_IsTrue(arguments[6]);
  const uint64_t stream = PyLong_AsUnsignedLongLong(arguments[7]);
  if (enable_gqa == -1 || (stream == (uint64_t)-1 && PyErr_Occurred())) return NULL;

  Call call;
  Tensor out;
  PyObject* why = read_call(arguments, enable_gqa, &call);
  if (why != NULL || PyErr_Occurred()) return why;
  Py_ssize_t rank = 0;
  if (read_tensor(arguments[3], &out, &rank) != 0) return NULL;
  for (int i = 0; i < 4; ++i) {
    if (rank != 4 || out.sizes[i] != call.q.sizes[i]) return reason("out has not the query's shape");
  }
  if ((why = layout_reason("out", &out)) != NULL) return why;

  const attune_shape shape = {
      .struct_size = sizeof shape,
      .batch = call.q.sizes[0],
      .q_heads = call.q.sizes[1],
      .kv_heads = call.k.sizes[1],
      .q_len = call.q.sizes[2],
      .kv_len = call.k.sizes[2],
      .head_dim = call.q.sizes[3],
      .dtype = call.dtype,
      .mask = (int32_t)mask,
      .layout = call.q.sizes[1] > 1 && call.q.strides[2] > call.q.strides[1] ? ATTUNE_BSHD : ATTUNE_BHSD};
  const attune_tensors tensors = {.struct_size = sizeof tensors,
                                  .q = tensor_of(&call.q),
                                  .k = tensor_of(&call.k),
                                  .v = tensor_of(&call.v),
                                  .o = tensor_of(&out)};
  attune_status status;
  Py_BEGIN_ALLOW_THREADS
  status = attune_forward(self->handle, &shape, &tensors, scale, (struct CUstream_st*)(uintptr_t)stream);
  Py_END_ALLOW_THREADS
  if (status != ATTUNE_OK) return raise_status(status);
  Py_RETURN_NONE;
}

static PyMethodDef library_methods[] = {
    {"prepare", library_prepare, METH_VARARGS,
     "prepare(batch, q_heads, kv_heads, q_len, kv_len, head_dim, dtype, mask, layout) -> dict of what serves it"},
    {"forward", (PyCFunction)(void (*)(void))library_forward, METH_FASTCALL,
     "forward(query, key, value, out, mask, scale, enable_gqa, stream): None, or why it cannot be served"},
    {"close", library_close, METH_NOARGS, "Frees the library's kernels, which must be idle and in no graph in use."},
    {NULL, NULL, 0, NULL}};

static PyType_Slot library_slots[] = {
    {Py_tp_doc, "Library(database=None, cubins=None, device=-1, log=None): an open attune_library of one GPU."},
    {Py_tp_new, library_new},
    {Py_tp_dealloc, library_dealloc},
    {Py_tp_methods, library_methods},
    {0, NULL}};
static PyType_Spec library_spec = {"attune._core.Library", sizeof(LibraryObject), 0, Py_TPFLAGS_DEFAULT, library_slots};

/* --- module --------------------------------------------------------------------------------------------------- */

static PyObject* set_dtypes(PyObject* module, PyObject* arguments) {
  (void)module;
  PyObject *bf16, *fp16;
  if (!PyArg_ParseTuple(arguments, "OO:set_dtypes", &bf16, &fp16)) return NULL;
  Py_INCREF(bf16);
  Py_INCREF(fp16);
  Py_XDECREF(bf16_object);
  Py_XDECREF(fp16_object);
  bf16_object = bf16;
  fp16_object = fp16;
  Py_RETURN_NONE;
}

static PyObject* unsupported(PyObject* module, PyObject* arguments) {
  (void)module;
  PyObject* objects[3];
  int enable_gqa;
  if (!PyArg_ParseTuple(arguments, "OOOp:unsupported", &objects[0], &objects[1], &objects[2], &enable_gqa)) {
    return NULL;
  }
  Call call;
  PyObject* why = read_call(objects, enable_gqa, &call);
  if (why != NULL || PyErr_Occurred()) return why;
  Py_RETURN_NONE;
}

static PyMethodDef module_methods[] = {
    {"set_dtypes", set_dtypes, METH_VARARGS, "set_dtypes(bfloat16, float16): the objects that tensors' dtype is."},
    {"unsupported", unsupported, METH_VARARGS,
     "unsupported(query, key, value, enable_gqa): why the kernels cannot take these tensors, or None."},
    {NULL, NULL, 0, NULL}};

static struct PyModuleDef module_definition = {PyModuleDef_HEAD_INIT, "_core", "attune's C API.", -1, module_methods,
                                               NULL, NULL, NULL, NULL};

static int intern(PyObject** name, const char* text) {
  *name = PyUnicode_InternFromString(text);
  return *name == NULL ? -1 : 0;
}

PyMODINIT_FUNC PyInit__core(void) {
  if (intern(&name_data_ptr, "data_ptr") || intern(&name_stride, "stride") || intern(&name_shape, "shape") ||
      intern(&name_dtype, "dtype") || intern(&name_get_device, "get_device")) {
    return NULL;
  }
  PyObject* module = PyModule_Create(&module_definition);
  if (module == NULL) return NULL;
  attune_error = PyErr_NewExceptionWithDoc("attune.AttuneError",
                                           "attune cannot do what was asked; `status` is the C API's name for it.",
                                           PyExc_RuntimeError, NULL);
  PyObject* type = PyType_FromSpec(&library_spec);
  if (attune_error == NULL || type == NULL || PyModule_AddObject(module, "Library", type) != 0 ||
      PyModule_AddStringConstant(module, "version", attune_version()) != 0) {
    Py_DECREF(module);
    return NULL;
  }
  Py_INCREF(attune_error); /* the module's reference; the static one is its own */
  if (PyModule_AddObject(module, "AttuneError", attune_error) != 0) {
    Py_DECREF(module);
    return NULL;
  }
  return module;
}
