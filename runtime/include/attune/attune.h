/* attune: the fastest known attention kernel for a shape, from C.
 *
 *   attune_library* library;
 *   attune_open(NULL, &library);                                  once: database, cubins, the GPU
 *   attune_prepare(library, &shape, &kernel);                     once a shape: look up, compile, load
 *   attune_forward(library, &shape, &tensors, scale, stream);     as often as you like
 *
 * Status: every function that can fail returns a code; attune_last_error() has the text of this thread's last
 * failure: one line that says what, where and what to do. Nothing is thrown, and nothing is printed.
 *
 * Growth: structs begin with struct_size, to be set to sizeof the struct (the ATTUNE_*_INIT macros do). A
 * library newer than the program takes the fields it lacks as zero; a program newer than the library is
 * refused where it uses a field that the library lacks.
 *
 * Context: attune works in the primary context of its device, which the CUDA runtime and PyTorch use too, and
 * creates none. Launches go to the caller's stream, which must be one of that device; NULL is the default
 * stream of the library's device, whatever context is current. A thread without a current context, or with
 * another device's, may launch too: the right one is made current for the call.
 *
 * Threads: all functions may be called from any thread at once, attune_close() apart. attune_forward() and
 * attune_kernel_forward() on a prepared shape take no lock, allocate nothing, do no I/O, never synchronise
 * and may be captured into a CUDA graph.
 *
 * Processes: a handle serves the process that opened it. In a forked child its functions refuse with
 * ATTUNE_CUDA, attune_open() refuses too (CUDA cannot be used after a fork), and attune_close() does nothing.
 * A handle need not be closed when the process ends.
 */
#ifndef ATTUNE_ATTUNE_H
#define ATTUNE_ATTUNE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define ATTUNE_API __attribute__((visibility("default")))
#else
#define ATTUNE_API
#endif

#define ATTUNE_VERSION_MAJOR 0
#define ATTUNE_VERSION_MINOR 1
#define ATTUNE_VERSION_PATCH 0

struct CUstream_st; /* CUstream and cudaStream_t point to it; NULL is the default stream */

typedef struct attune_library attune_library;
typedef struct attune_kernel attune_kernel;

typedef enum attune_status {
  ATTUNE_OK = 0,
  ATTUNE_INVALID_ARGUMENT =
      1,                    /* a null pointer, a senseless shape, a misaligned tensor, a wrong struct_size */
  ATTUNE_NO_GPU = 2,        /* no CUDA driver, or no such device */
  ATTUNE_DATABASE = 3,      /* missing, damaged, foreign, of a newer schema, or locked for too long */
  ATTUNE_NOT_SUPPORTED = 4, /* no kernel template serves this shape on this device */
  ATTUNE_COMPILE = 5,       /* not in the cubin store, and NVRTC is absent or refuses */
  ATTUNE_CUDA = 6,          /* the CUDA driver refused; the text has its own code and words */
  ATTUNE_NOT_PREPARED = 7,  /* needs attune_prepare() first: the stream is being captured */
  ATTUNE_OUT_OF_MEMORY = 8,
  ATTUNE_INTERNAL = 9 /* a bug in attune */
} attune_status;

typedef enum attune_dtype { ATTUNE_BF16 = 0, ATTUNE_FP16 = 1 } attune_dtype;

/* Top left: query 0 sees key 0 alone (PyTorch's is_causal). Bottom right: the last query sees every key
 * (FlashAttention). They differ only where q_len != kv_len. */
typedef enum attune_mask {
  ATTUNE_MASK_NONE = 0,
  ATTUNE_MASK_CAUSAL_TOP_LEFT = 1,
  ATTUNE_MASK_CAUSAL_BOTTOM_RIGHT = 2
} attune_mask;

typedef enum attune_layout { ATTUNE_BHSD = 0, ATTUNE_BSHD = 1 } attune_layout;

/* exact: measured for this shape, in either memory order, on this GPU model. near: for another shape or
 * another GPU of the arch. default: nothing measured fits; the template's own choice. */
typedef enum attune_provenance {
  ATTUNE_PROVENANCE_EXACT = 0,
  ATTUNE_PROVENANCE_NEAR = 1,
  ATTUNE_PROVENANCE_DEFAULT = 2
} attune_provenance;

typedef enum attune_log_level {
  ATTUNE_LOG_DEBUG = 0,
  ATTUNE_LOG_INFO = 1,
  ATTUNE_LOG_WARNING = 2
} attune_log_level;

/* `text` is one line without a newline and lives as long as the call. Called on the thread that called
 * attune or (what could not be queued) on the library's own, never from the hot path; several threads may
 * call it at once. It must not call attune. */
typedef void (*attune_log_callback)(attune_log_level level, const char* text, void* user);

#define ATTUNE_CURRENT_DEVICE (-1)

typedef struct attune_open_options {
  size_t struct_size;
  const char*
      database;         /* NULL: ATTUNE_DB, else attune.db in the cache folder, if there; a name must exist. A
                           file, or a PostgreSQL server's URI (a default server that is down costs a log line) */
  const char* cubins;   /* folder of compiled kernels, created if needed. NULL: /cubins in the cache folder */
  int32_t device;       /* ordinal, or ATTUNE_CURRENT_DEVICE: that of the current context, else 0 */
  int32_t queue_misses; /* 1: shapes without an exact record are put on the database's wanted list, which
                           `attune sweep --wanted` tunes; written from a thread of its own, attune_close()
                           waits for it. -1: never. 0: where ATTUNE_WANTED is 1 */
  attune_log_callback log; /* NULL: silence */
  void* log_user;
  const char* packs;  /* packs to serve from: files and folders, ':' between them; "builtin": those that come
                         with attune. NULL: ATTUNE_PACKS, else "builtin". Where ATTUNE_TRUSTED_KEYS, or
                         trusted_keys in ~/.config/attune, lists public keys, a file must be signed by one */
  const char* server; /* base URL of an `attune serve` that is asked, by attune_prepare() alone, for shapes
                         without an exact record here; what it gives is kept. Its token is taken from
                         ATTUNE_TOKEN. NULL: ATTUNE_SERVER; "": none. Needs libcurl.so.4 on the machine; a
                         server that is down, or no libcurl, costs a line of the log */
} attune_open_options;

#define ATTUNE_OPEN_OPTIONS_INIT \
  { sizeof(attune_open_options), NULL, NULL, ATTUNE_CURRENT_DEVICE, 0, NULL, NULL, NULL, NULL }

/* Zero is a sensible value of each of the last four fields. */
typedef struct attune_shape {
  size_t struct_size;
  int64_t batch;
  int64_t q_heads;
  int64_t kv_heads; /* divides q_heads */
  int64_t q_len;
  int64_t kv_len;
  int64_t head_dim;  /* multiple of 8, at most 256 */
  int32_t dtype;     /* attune_dtype */
  int32_t mask;      /* attune_mask */
  int32_t layout;    /* attune_layout: whose records to prefer; strides say what is there. Each has its own
                        kernel, and a capture may be served by the other's */
  int32_t wants_lse; /* 1: also write the log-sum-exp of each row */
} attune_shape;

/* Strides in elements; head_dim is contiguous. Addresses 16-byte aligned, strides multiples of 8 elements. */
typedef struct attune_tensor {
  void* data; /* device memory; q, k and v are only read */
  int64_t batch_stride;
  int64_t head_stride;
  int64_t seq_stride;
} attune_tensor;

typedef struct attune_tensors {
  size_t struct_size;
  attune_tensor q; /* [batch, q_heads, q_len, head_dim] by its strides */
  attune_tensor k; /* [batch, kv_heads, kv_len, head_dim] */
  attune_tensor v; /* [batch, kv_heads, kv_len, head_dim] */
  attune_tensor o; /* [batch, q_heads, q_len, head_dim], written */
  float* lse;      /* [batch, q_heads, q_len] contiguous, natural log; NULL unless wants_lse */
} attune_tensors;

/* What serves a shape and why. Strings live as long as the kernel. */
typedef struct attune_info {
  size_t struct_size;
  int32_t provenance; /* attune_provenance */
  int32_t stale;      /* 1: the driver or the kernel changed since it was measured, or another NVRTC
                         compiled it than was measured */
  double expected_us; /* of one launch, L2 cold; scaled by the work where provenance is near; 0: unknown */
  int64_t workspace_bytes;   /* device memory held for each stream that launches it, some 64 MiB at most;
                                allocated for four streams at least */
  const char* template_name; /* "portable" */
  const char* config_json;   /* the config, canonical */
  const char* reason;        /* one line for people */
} attune_info;

/* "0.1.0" of the library that is loaded (the macros above are the header's). */
ATTUNE_API const char* attune_version(void);

/* A code's name: "ATTUNE_NO_GPU". */
ATTUNE_API const char* attune_status_name(attune_status status);

/* This thread's last failure; "" if there was none. Valid until this thread's next failure. */
ATTUNE_API const char* attune_last_error(void);

/* Opens the database (read-only) and the cubin store and retains the device's primary context. `options` may
 * be NULL: all defaults. A default database that does not exist yet is no error. On failure *library is NULL.
 * Looks at the cubin folder, then the database, the packs, the GPU. */
ATTUNE_API attune_status attune_open(const attune_open_options* options, attune_library** library);

/* Frees all kernels of the library, which must not be running or used by a captured graph. NULL is fine. */
ATTUNE_API void attune_close(attune_library* library);

/* Makes a shape ready to launch: exact record (of the database, else of a pack), else near, else the
 * template's default; its cubin from the store, else from NVRTC (up to some seconds); module and workspaces
 * on the device. Again for the same shape: the same kernel at once. The kernel is the library's and lives
 * until attune_close(). `kernel` may be NULL.
 *
 * A failure is remembered, so that a program that asks at every step does not pay for the attempt at every
 * step: ATTUNE_NOT_SUPPORTED until attune_close(), ATTUNE_COMPILE and ATTUNE_CUDA for 30 s, or ten times as
 * long as the attempt took where that is more. Until then the shape is answered with the same status and text
 * at once. Other failures are not remembered. */
ATTUNE_API attune_status attune_prepare(attune_library* library, const attune_shape* shape,
                                        const attune_kernel** kernel);

/* Enqueues softmax(scale * Q K^T) V on the stream. A scale of 0 stands for 1/sqrt(head_dim). A shape not yet
 * prepared is prepared now, or answered with its failure if that is remembered; where the stream is being
 * captured, instead of preparing it, the kernel of the other layout serves if that is prepared (kernels take
 * strides), else it is ATTUNE_NOT_PREPARED.
 *
 * Kernels that need a workspace have one for each stream, taken at the stream's first launch and kept, by a
 * stream that was destroyed too, until attune_close(). There are four at least from the start; a launch
 * allocates more, four or more at once, but not within a capture: on a stream beyond them it answers
 * ATTUNE_NOT_PREPARED, and one launch of the shape on that stream before the capture mends it. Graphs
 * captured from one stream share its workspace: do not run two of them, or one and the stream's own launches
 * of the same shape, at the same time. */
ATTUNE_API attune_status attune_forward(attune_library* library, const attune_shape* shape,
                                        const attune_tensors* tensors, float scale,
                                        struct CUstream_st* stream);

/* The same without the look-up. */
ATTUNE_API attune_status attune_kernel_forward(const attune_kernel* kernel, const attune_tensors* tensors,
                                               float scale, struct CUstream_st* stream);

/* Fills *info, whose struct_size must be set. */
ATTUNE_API attune_status attune_explain(const attune_kernel* kernel, attune_info* info);

/* Sets the four tensors' strides to those of contiguous tensors in the shape's layout; needs no GPU. */
ATTUNE_API attune_status attune_contiguous_strides(const attune_shape* shape, attune_tensors* tensors);

#ifdef __cplusplus
}
#endif

#endif
