#include "attend.h"

#include <math.h>
#include <string.h>

#include "library.h"

/* --- what belongs to torch ---------------------------------------------------------------------------------------- */

typedef struct Members {
  PyObject* libraries;        /* dict: GPU number -> Library */
  PyObject* library_of;       /* (GPU number) -> Library, opened if need be */
  PyObject* empty_like;       /* torch.empty_like */
  PyObject* empty_strided;    /* (sizes, strides, dtype) -> tensor on the current GPU, past the dispatcher; or NULL */
  PyObject* is_grad_enabled;  /* () -> bool */
  PyObject* is_tracing;       /* () -> bool: torch.jit.trace records; or NULL */
  PyObject* forward_ad;       /* dict with _current_level, -1 where no forward-mode gradient is recorded; or NULL */
  PyObject* dispatch_modes;   /* () -> their number, or NULL */
  PyObject* current_stream;   /* (GPU number) -> address */
} Members;

static Members torch_members;
static PyObject *name_requires_grad, *name_current_level;

static int take(PyObject* members, const char* name, PyObject** slot, int required) {
  PyObject* found = PyDict_GetItemString(members, name); /* borrowed */
  if (found == NULL || found == Py_None) {
    if (required) PyErr_Format(PyExc_TypeError, "attend_setup misses '%s'", name);
    found = NULL;
  }
  PyObject* former = *slot;
  Py_XINCREF(found);
  *slot = found;
  Py_XDECREF(former);
  return found == NULL && required ? -1 : 0;
}

static void forget_places(void);

PyObject* attend_setup(PyObject* module, PyObject* members) {
  (void)module;
  static PyObject *tensor_class, *bfloat16, *float16, *sample;
  forget_places();
  if (name_requires_grad == NULL) name_requires_grad = PyUnicode_InternFromString("requires_grad");
  if (name_current_level == NULL) name_current_level = PyUnicode_InternFromString("_current_level");
  if (name_requires_grad == NULL || name_current_level == NULL || !PyDict_Check(members)) {
    return PyErr_Format(PyExc_TypeError, "attend_setup takes a dict");
  }
  Members* m = &torch_members;
  if (take(members, "Tensor", &tensor_class, 1) || take(members, "bfloat16", &bfloat16, 1) ||
      take(members, "float16", &float16, 1) || take(members, "libraries", &m->libraries, 1) ||
      take(members, "library_of", &m->library_of, 1) || take(members, "empty_like", &m->empty_like, 1) ||
      take(members, "is_grad_enabled", &m->is_grad_enabled, 1) ||
      take(members, "current_stream", &m->current_stream, 1) ||
      take(members, "empty_strided", &m->empty_strided, 0) || take(members, "is_tracing", &m->is_tracing, 0) ||
      take(members, "forward_ad", &m->forward_ad, 0) ||
      take(members, "dispatch_modes", &m->dispatch_modes, 0) || take(members, "sample", &sample, 0) ||
      tensor_setup(tensor_class, bfloat16, float16, sample)) {
    Py_CLEAR(m->libraries); /* as if it had not been called */
    return NULL;
  }
  Py_RETURN_NONE;
}

/* Whether a function without arguments answers other than 0 or False; -1 with an exception set. */
static int asked(PyObject* function) {
  if (function == NULL) return 0;
  PyObject* answer = PyObject_CallNoArgs(function);
  if (answer == NULL) return -1;
  const int told = PyObject_IsTrue(answer);
  Py_DECREF(answer);
  return told;
}

static int forward_gradients(void) {
  if (torch_members.forward_ad == NULL) return 0;
  PyObject* level = PyDict_GetItemWithError(torch_members.forward_ad, name_current_level); /* borrowed */
  if (level == NULL) return PyErr_Occurred() ? -1 : 0;
  const long number = PyLong_AsLong(level);
  return number == -1 && PyErr_Occurred() ? -1 : number >= 0;
}

/* 1: torch's dispatcher has to see a call with these tensors; -1 with an exception set. */
static int needs_dispatcher(PyObject* const* tensors, int count) {
  for (int i = 0; i < count; ++i) {
    if (!tensor_is_plain(tensors[i])) return 1;
  }
  int needed = asked(torch_members.dispatch_modes);
  if (needed == 0) needed = asked(torch_members.is_tracing);
  if (needed == 0) needed = forward_gradients();
  if (needed != 0) return needed;
  const int enabled = asked(torch_members.is_grad_enabled);
  for (int i = 0; i < count && enabled == 1; ++i) {
    PyObject* requires_grad = PyObject_GetAttr(tensors[i], name_requires_grad);
    if (requires_grad == NULL) return -1;
    const int wanted = PyObject_IsTrue(requires_grad);
    Py_DECREF(requires_grad);
    if (wanted != 0) return wanted;
  }
  return enabled < 0 ? -1 : 0;
}

/* --- the result's memory ------------------------------------------------------------------------------------------
 * torch.empty_like() says once how the result of a query so laid out lies in memory. From then on it is allocated
 * as compiled PyTorch code does, without the dispatcher: half the time. */

typedef struct Place {
  int64_t query[8]; /* sizes and strides */
  int dtype;
  PyObject *sizes, *strides; /* tuples; NULL: unused */
} Place;

enum { PLACES = 64 };
static Place places[PLACES];

static void forget_places(void) {
  for (int i = 0; i < PLACES; ++i) {
    Py_CLEAR(places[i].sizes);
    Py_CLEAR(places[i].strides);
  }
}

static Place* place_of(const int64_t query[8], int dtype) {
  uint64_t hash = (uint64_t)dtype;
  for (int i = 0; i < 8; ++i) hash = (hash ^ (uint64_t)query[i]) * 0x9e3779b97f4a7c15u;
  return &places[hash >> 58];
}

static PyObject* tuple_of(const int64_t numbers[4]) {
  return Py_BuildValue("(LLLL)", (long long)numbers[0], (long long)numbers[1], (long long)numbers[2],
                       (long long)numbers[3]);
}

static void remember(Place* place, const int64_t query[8], int dtype, const Tensor* out) {
  Py_CLEAR(place->sizes);
  Py_CLEAR(place->strides);
  memcpy(place->query, query, sizeof place->query);
  place->dtype = dtype;
  place->sizes = tuple_of(out->sizes);
  place->strides = tuple_of(out->strides);
  if (place->sizes == NULL || place->strides == NULL) {
    Py_CLEAR(place->sizes);
    Py_CLEAR(place->strides);
    PyErr_Clear();
  }
}

/* The result's tensor, read into *out; NULL with an exception set. Not of torch's own class: of a mode. */
static PyObject* allocate(PyObject* query, const Tensor* q, Tensor* out) {
  int64_t key[8];
  memcpy(key, q->sizes, sizeof q->sizes);
  memcpy(key + 4, q->strides, sizeof q->strides);
  Place* place = place_of(key, q->dtype);
  const int known = place->sizes != NULL && place->dtype == q->dtype && memcmp(place->query, key, sizeof key) == 0;
  if (known) {
    PyObject* made = PyObject_CallFunctionObjArgs(torch_members.empty_strided, place->sizes, place->strides,
                                                  tensor_dtype_object(q->dtype), NULL);
    if (made == NULL || tensor_read(made, out) != 0) {
      Py_XDECREF(made);
      return NULL;
    }
    if (out->device == q->device) return made;
    Py_DECREF(made); /* the current GPU is another */
  }
  PyObject* made = PyObject_CallFunctionObjArgs(torch_members.empty_like, query, NULL);
  if (made == NULL || !tensor_is_plain(made)) return made;
  if (tensor_read(made, out) != 0) {
    Py_DECREF(made);
    return NULL;
  }
  if (!known && torch_members.empty_strided != NULL && torch_members.dispatch_modes != NULL && out->rank == 4) {
    remember(place, key, q->dtype, out);
  }
  return made;
}

/* --- launching ---------------------------------------------------------------------------------------------------- */

float scale_of(PyObject* object) {
  if (object == Py_None) return 0;
  const double given = PyFloat_AsDouble(object);
  if (given == -1 && PyErr_Occurred()) return -2;
  const float scale = (float)given;
  return isfinite(scale) && scale > 0 ? scale : -1;
}

PyObject* enqueue(attune_library* library, const Tensor qkv[3], const Tensor* out, int mask, float scale,
                  uint64_t stream) {
  const Tensor *q = &qkv[0], *k = &qkv[1];
  for (int i = 0; i < 4; ++i) {
    if (out->rank != 4 || out->sizes[i] != q->sizes[i]) return reason("out has not the query's shape");
  }
  PyObject* why = layout_reason("out", out);
  if (why != NULL || PyErr_Occurred()) return why;
  const attune_shape shape = {
      .struct_size = sizeof shape,
      .batch = q->sizes[0],
      .q_heads = q->sizes[1],
      .kv_heads = k->sizes[1],
      .q_len = q->sizes[2],
      .kv_len = k->sizes[2],
      .head_dim = q->sizes[3],
      .dtype = q->dtype,
      .mask = mask,
      .layout = q->sizes[1] > 1 && q->strides[2] > q->strides[1] ? ATTUNE_BSHD : ATTUNE_BHSD};
  const attune_tensors tensors = {.struct_size = sizeof tensors,
                                  .q = tensor_as_attune(q),
                                  .k = tensor_as_attune(k),
                                  .v = tensor_as_attune(&qkv[2]),
                                  .o = tensor_as_attune(out)};
  attune_status status;
  Py_BEGIN_ALLOW_THREADS
  status = attune_forward(library, &shape, &tensors, scale, (struct CUstream_st*)(uintptr_t)stream);
  Py_END_ALLOW_THREADS
  if (status != ATTUNE_OK) return raise_status(status);
  Py_RETURN_NONE;
}

static int stream_of(int device, uint64_t* stream) {
  if (tensor_stream(device, stream) == 0) return 0;
  PyErr_Clear();
  PyObject* address = PyObject_CallFunction(torch_members.current_stream, "i", device);
  if (address == NULL) return -1;
  *stream = PyLong_AsUnsignedLongLong(address);
  Py_DECREF(address);
  return *stream == (uint64_t)-1 && PyErr_Occurred() ? -1 : 0;
}

/* A new reference. */
static PyObject* library_of(int device) {
  PyObject* number = PyLong_FromLong(device);
  if (number == NULL) return NULL;
  PyObject* library = PyDict_GetItemWithError(torch_members.libraries, number); /* borrowed */
  Py_XINCREF(library);
  if (library == NULL && !PyErr_Occurred()) {
    library = PyObject_CallFunctionObjArgs(torch_members.library_of, number, NULL);
  }
  Py_DECREF(number);
  return library;
}

/* 0, or 1 where `object` cannot be the result of this query: for torch to say why, or to serve. */
static int read_result(PyObject* object, const Tensor* query, Tensor* out) {
  if (tensor_read(object, out) != 0) {
    PyErr_Clear();
    return 1;
  }
  return out->rank != query->rank || out->dtype != query->dtype || out->device != query->device ||
         memcmp(out->sizes, query->sizes, sizeof out->sizes) != 0;
}

PyObject* attend(PyObject* module, PyObject* const* arguments, Py_ssize_t count) {
  (void)module;
  if (count != 7) return PyErr_Format(PyExc_TypeError, "attend takes 7 arguments, not %zd", count);
  if (torch_members.libraries == NULL) return PyErr_Format(PyExc_TypeError, "attend_setup comes first");
  const long mask = PyLong_AsLong(arguments[3]);
  if (mask == -1 && PyErr_Occurred()) return NULL;
  const float scale = scale_of(arguments[4]);
  const int enable_gqa = PyObject_IsTrue(arguments[5]);
  if (scale == -2 || enable_gqa == -1) return NULL;
  PyObject* given = arguments[6] == Py_None ? NULL : arguments[6];
  PyObject* const tensors[] = {arguments[0], arguments[1], arguments[2], given};
  const int dispatched = needs_dispatcher(tensors, given == NULL ? 3 : 4);
  if (dispatched < 0) return NULL;
  if (dispatched) Py_RETURN_NONE;
  Tensor qkv[3], place;
  for (int i = 0; i < 3; ++i) {
    if (tensor_read(arguments[i], &qkv[i]) == 0) continue;
    PyErr_Clear(); /* a tensor without memory, as torch.func makes them */
    Py_RETURN_NONE;
  }
  PyObject* why = scale == -1 ? reason("the scale is not a finite number above 0") : tensors_reason(qkv, enable_gqa);
  if (why != NULL || PyErr_Occurred()) return why;
  if (given != NULL && read_result(given, &qkv[0], &place) != 0) Py_RETURN_NONE;

  uint64_t stream = 0;
  PyObject* library = library_of(qkv[0].device);
  attune_library* handle = library == NULL ? NULL : library_handle(library);
  if (handle == NULL || stream_of(qkv[0].device, &stream) != 0) {
    Py_XDECREF(library);
    return NULL;
  }
  PyObject* out = given;
  Py_XINCREF(given);
  if (given == NULL) out = allocate(arguments[0], &qkv[0], &place);
  PyObject* answer = NULL;
  if (out != NULL && tensor_is_plain(out)) {
    answer = enqueue(handle, qkv, &place, (int)mask, scale, stream);
  } else if (out != NULL) {
    Py_INCREF(Py_None);
    Py_DECREF(out);
    Py_DECREF(library);
    return Py_None;
  }
  Py_DECREF(library);
  if (answer != Py_None) { /* a reason, or an exception */
    Py_XDECREF(out);
    return answer;
  }
  Py_DECREF(answer);
  return out;
}
