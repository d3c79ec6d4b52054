#include "tensor.h"

#include <stdarg.h>
#include <string.h>

#define LARGEST_HEAD_DIM 256
#define ALIGNED_BYTES 16
#define ALIGNED_ELEMENTS 8

static PyObject* tensor_class;
static PyObject *bf16_object, *fp16_object;
static PyObject *name_data_ptr, *name_stride, *name_shape, *name_dtype, *name_get_device;

/* --- DLPack's C exchange table ------------------------------------------------------------------------------------
 * DLPack 1.3: a capsule on the class, whose functions read a tensor without making a Python object. Only what is
 * used of it has a type here. */

typedef struct DlView {
  void* data;
  int32_t device_type, device;
  int32_t rank;
  uint8_t type_code, type_bits;
  uint16_t type_lanes;
  int64_t *sizes, *strides;
  uint64_t byte_offset;
} DlView;

typedef struct DlTable {
  uint32_t major, minor;
  const void* previous;
  void (*unused[3])(void);
  int (*view)(void* object, DlView* view); /* may be NULL */
  int (*stream)(int32_t device_type, int32_t device, void** stream);
} DlTable;

enum { DL_CUDA = 2, DL_FLOAT = 2, DL_BFLOAT = 4 };

static const DlTable* dl_table; /* NULL: not there, or not used */

static const DlTable* table_of(PyObject* class_object) {
  PyObject* capsule = PyObject_GetAttrString(class_object, "__dlpack_c_exchange_api__");
  const DlTable* table = NULL;
  if (capsule != NULL) table = PyCapsule_GetPointer(capsule, "dlpack_exchange_api"); /* lives as long as the process */
  Py_XDECREF(capsule);
  PyErr_Clear();
  return table != NULL && table->major == 1 && table->view != NULL ? table : NULL;
}

static int read_view(PyObject* object, Tensor* tensor) {
  DlView view;
  if (dl_table->view(object, &view) != 0) return -1;
  tensor->address = (uint64_t)(uintptr_t)view.data + view.byte_offset;
  tensor->rank = view.rank;
  tensor->device = view.device_type == DL_CUDA ? view.device : -1;
  tensor->dtype = -1;
  if (view.type_bits == 16 && view.type_lanes == 1) {
    if (view.type_code == DL_BFLOAT) tensor->dtype = ATTUNE_BF16;
    if (view.type_code == DL_FLOAT) tensor->dtype = ATTUNE_FP16;
  }
  if (view.rank != 4) return 0;
  int64_t packed = 1;
  for (int i = 3; i >= 0; --i) {
    tensor->sizes[i] = view.sizes[i];
    tensor->strides[i] = view.strides != NULL ? view.strides[i] : packed;
    packed *= view.sizes[i];
  }
  return 0;
}

/* --- Python's attributes ------------------------------------------------------------------------------------------ */

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

static int read_kind(PyObject* object, Tensor* tensor) {
  PyObject* dtype = PyObject_GetAttr(object, name_dtype);
  if (dtype == NULL) return -1;
  tensor->dtype = dtype == bf16_object ? ATTUNE_BF16 : dtype == fp16_object ? ATTUNE_FP16 : -1;
  Py_DECREF(dtype);
  PyObject* device = PyObject_CallMethodObjArgs(object, name_get_device, NULL);
  if (device == NULL) return -1;
  tensor->device = (int)PyLong_AsLong(device);
  Py_DECREF(device);
  return tensor->device == -1 && PyErr_Occurred() ? -1 : 0;
}

static int read_attributes(PyObject* object, Tensor* tensor) {
  if (read_kind(object, tensor) != 0) return -1;
  PyObject* shape = PyObject_GetAttr(object, name_shape);
  int result = shape == NULL ? -1 : read_four(shape, tensor->sizes, &tensor->rank);
  Py_XDECREF(shape);
  if (result != 0 || tensor->rank != 4) return result;
  PyObject* strides = PyObject_CallMethodObjArgs(object, name_stride, NULL);
  Py_ssize_t stride_rank = 0;
  result = strides == NULL ? -1 : read_four(strides, tensor->strides, &stride_rank);
  Py_XDECREF(strides);
  return result != 0 ? -1 : read_address(object, tensor);
}

/* --- both --------------------------------------------------------------------------------------------------------- */

static void keep(PyObject** slot, PyObject* object) {
  Py_INCREF(object);
  Py_XDECREF(*slot);
  *slot = object;
}

static int intern(PyObject** name, const char* text) {
  if (*name == NULL) *name = PyUnicode_InternFromString(text);
  return *name == NULL ? -1 : 0;
}

static int same(const Tensor* a, const Tensor* b) {
  return a->rank == b->rank && a->rank == 4 && a->dtype == b->dtype && a->device == b->device &&
         a->address == b->address && memcmp(a->sizes, b->sizes, sizeof a->sizes) == 0 &&
         memcmp(a->strides, b->strides, sizeof a->strides) == 0;
}

int tensor_setup(PyObject* class_object, PyObject* bfloat16, PyObject* float16, PyObject* sample) {
  if (intern(&name_data_ptr, "data_ptr") || intern(&name_stride, "stride") || intern(&name_shape, "shape") ||
      intern(&name_dtype, "dtype") || intern(&name_get_device, "get_device")) {
    return -1;
  }
  keep(&tensor_class, class_object);
  keep(&bf16_object, bfloat16);
  keep(&fp16_object, float16);
  dl_table = NULL;
  if (sample == NULL) return 0;
  Tensor by_attributes, by_table;
  if (read_attributes(sample, &by_attributes) != 0) return -1;
  dl_table = table_of(class_object);
  if (dl_table != NULL && (read_view(sample, &by_table) != 0 || !same(&by_attributes, &by_table))) dl_table = NULL;
  PyErr_Clear();
  return 0;
}

int tensor_is_plain(PyObject* object) {
  return (PyObject*)Py_TYPE(object) == tensor_class;
}

PyObject* tensor_dtype_object(int dtype) {
  return dtype == ATTUNE_BF16 ? bf16_object : fp16_object;
}

int tensor_read(PyObject* object, Tensor* tensor) {
  return dl_table != NULL && tensor_is_plain(object) ? read_view(object, tensor) : read_attributes(object, tensor);
}

int tensor_stream(int device, uint64_t* stream) {
  void* current = NULL;
  if (dl_table == NULL || dl_table->stream == NULL || dl_table->stream(DL_CUDA, device, &current) != 0) return -1;
  *stream = (uint64_t)(uintptr_t)current;
  return 0;
}

attune_tensor tensor_as_attune(const Tensor* tensor) {
  return (attune_tensor){.data = (void*)(uintptr_t)tensor->address,
                         .batch_stride = tensor->strides[0],
                         .head_stride = tensor->strides[1],
                         .seq_stride = tensor->strides[2]};
}

/* --- what cannot be served ---------------------------------------------------------------------------------------- */

PyObject* reason(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  PyObject* text = PyUnicode_FromFormatV(format, arguments);
  va_end(arguments);
  return text;
}

PyObject* layout_reason(const char* name, const Tensor* t) {
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

static PyObject* kind_reason(const char* name, const Tensor* tensor, const Tensor* query) {
  if (tensor->dtype == -1) return reason("%s is neither bfloat16 nor float16", name);
  if (tensor->device == -1) return reason("%s is not on a GPU", name);
  if (tensor->dtype != query->dtype) return reason("query and %s differ in dtype", name);
  if (tensor->device != query->device) {
    return reason("query is on GPU %d and %s on GPU %d", query->device, name, tensor->device);
  }
  if (tensor->rank != 4) {
    return reason("%s has %zd dimensions, must have 4: batch, heads, length, head_dim", name, tensor->rank);
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

PyObject* tensors_reason(const Tensor qkv[3], int enable_gqa) {
  static const char* const names[] = {"query", "key", "value"};
  PyObject* why = NULL;
  for (int i = 0; i < 3 && why == NULL; ++i) why = kind_reason(names[i], &qkv[i], &qkv[0]);
  if (why == NULL) why = shape_reason(&qkv[0], &qkv[1], &qkv[2], enable_gqa);
  for (int i = 0; i < 3 && why == NULL; ++i) why = layout_reason(names[i], &qkv[i]);
  return why;
}
