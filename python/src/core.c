/* attune._core: the C API for Python. One build serves Python 3.10 and newer (the stable ABI), and it is built without
 * torch: what of torch it calls, attend_setup() is given. */
#include "attend.h"
#include "library.h"

static PyObject* attune_error; /* AttuneError(RuntimeError), with .status */

PyObject* raise_status(attune_status status) {
  PyObject* error = PyObject_CallFunction(attune_error, "s", attune_last_error());
  if (error == NULL) return NULL;
  PyObject* name = PyUnicode_FromString(attune_status_name(status));
  if (name != NULL && PyObject_SetAttrString(error, "status", name) == 0) PyErr_SetObject(attune_error, error);
  Py_XDECREF(name);
  Py_DECREF(error);
  return NULL;
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
  static char* names[] = {"database", "cubins", "device", "log", "packs", "queue_misses", "server", NULL};
  attune_open_options options = ATTUNE_OPEN_OPTIONS_INIT;
  PyObject* log = Py_None;
  int device = ATTUNE_CURRENT_DEVICE, queue_misses = 0;
  if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "|zziOziz:Library", names, &options.database, &options.cubins,
                                   &device, &log, &options.packs, &queue_misses, &options.server)) {
    return NULL;
  }
  options.device = device;
  options.queue_misses = queue_misses;
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

static PyTypeObject* library_type;

attune_library* library_handle(PyObject* object) {
  if (Py_TYPE(object) != library_type) {
    return PyErr_Format(PyExc_TypeError, "that is no attune._core.Library"), NULL;
  }
  attune_library* handle = ((LibraryObject*)object)->handle;
  if (handle == NULL) PyErr_SetString(PyExc_ValueError, "the library is closed");
  return handle;
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
  attune_library* handle = library_handle(object);
  long long sizes[6];
  attune_shape shape = {.struct_size = sizeof shape};
  int dtype, mask, layout;
  if (handle == NULL || !PyArg_ParseTuple(arguments, "LLLLLLiii:prepare", &sizes[0], &sizes[1], &sizes[2], &sizes[3],
                                          &sizes[4], &sizes[5], &dtype, &mask, &layout)) {
    return NULL;
  }
  shape.batch = sizes[0], shape.q_heads = sizes[1], shape.kv_heads = sizes[2];
  shape.q_len = sizes[3], shape.kv_len = sizes[4], shape.head_dim = sizes[5];
  shape.dtype = dtype, shape.mask = mask, shape.layout = layout;
  const attune_kernel* kernel = NULL;
  attune_status status;
  Py_BEGIN_ALLOW_THREADS
  status = attune_prepare(handle, &shape, &kernel);
  Py_END_ALLOW_THREADS
  return status == ATTUNE_OK ? info_dict(kernel) : raise_status(status);
}

/* forward(query, key, value, out, mask, scale, enable_gqa, stream): None once it is enqueued, or why it cannot be
 * served, as text. `out` is [batch, heads, length, head_dim] of the query's kind. */
static PyObject* library_forward(PyObject* object, PyObject* const* arguments, Py_ssize_t count) {
  if (count != 8) return PyErr_Format(PyExc_TypeError, "forward takes 8 arguments, not %zd", count);
  attune_library* handle = library_handle(object);
  if (handle == NULL) return NULL;
  const long mask = PyLong_AsLong(arguments[4]);
  if (mask == -1 && PyErr_Occurred()) return NULL;
  const float scale = scale_of(arguments[5]);
  if (scale == -2) return NULL;
  if (scale == -1) return reason("the scale is not a finite number above 0");
  const int enable_gqa = PyObject_IsTrue(arguments[6]);
  const uint64_t stream = PyLong_AsUnsignedLongLong(arguments[7]);
  if (enable_gqa == -1 || (stream == (uint64_t)-1 && PyErr_Occurred())) return NULL;

  Tensor qkv[3], out;
  for (int i = 0; i < 3; ++i) {
    if (tensor_read(arguments[i], &qkv[i]) != 0) return NULL;
  }
  PyObject* why = tensors_reason(qkv, enable_gqa);
  if (why != NULL || PyErr_Occurred()) return why;
  if (tensor_read(arguments[3], &out) != 0) return NULL;
  return enqueue(handle, qkv, &out, (int)mask, scale, stream);
}

static PyMethodDef library_methods[] = {
    {"prepare", library_prepare, METH_VARARGS,
     "prepare(batch, q_heads, kv_heads, q_len, kv_len, head_dim, dtype, mask, layout) -> dict of what serves it"},
    {"forward", (PyCFunction)(void (*)(void))library_forward, METH_FASTCALL,
     "forward(query, key, value, out, mask, scale, enable_gqa, stream): None, or why it cannot be served"},
    {"close", library_close, METH_NOARGS, "Frees the library's kernels, which must be idle and in no graph in use."},
    {NULL, NULL, 0, NULL}};

static PyType_Slot library_slots[] = {
    {Py_tp_doc, "Library(database=None, cubins=None, device=-1, log=None, packs=None, queue_misses=0, server=None): an open "
                 "attune_library of one GPU."},
    {Py_tp_new, library_new},
    {Py_tp_dealloc, library_dealloc},
    {Py_tp_methods, library_methods},
    {0, NULL}};
static PyType_Spec library_spec = {"attune._core.Library", sizeof(LibraryObject), 0, Py_TPFLAGS_DEFAULT, library_slots};

/* --- module --------------------------------------------------------------------------------------------------- */

static PyMethodDef module_methods[] = {
    {"attend_setup", attend_setup, METH_O, "attend_setup(members): what of torch, and which libraries, attend() uses."},
    {"attend", (PyCFunction)(void (*)(void))attend, METH_FASTCALL,
     "attend(query, key, value, mask, scale, enable_gqa, out): the result, or why it cannot be served, or None: not here"},
    {NULL, NULL, 0, NULL}};

static struct PyModuleDef module_definition = {PyModuleDef_HEAD_INIT, "_core", "attune's C API.", -1, module_methods,
                                               NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__core(void) {
  PyObject* module = PyModule_Create(&module_definition);
  if (module == NULL) return NULL;
  attune_error = PyErr_NewExceptionWithDoc("attune.AttuneError",
                                           "attune cannot do what was asked; `status` is the C API's name for it.",
                                           PyExc_RuntimeError, NULL);
  PyObject* type = PyType_FromSpec(&library_spec);
  library_type = (PyTypeObject*)type;
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
