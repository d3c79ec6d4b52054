// attune from C++: RAII and exceptions over attune.h, which has the contracts. Header only, C++17.
#ifndef ATTUNE_ATTUNE_HPP
#define ATTUNE_ATTUNE_HPP

#include <memory>
#include <stdexcept>
#include <string>

#include "attune/attune.h"

namespace attune_api {

class Error : public std::runtime_error {
 public:
  explicit Error(attune_status status) : std::runtime_error(attune_last_error()), status_(status) {}
  attune_status status() const noexcept { return status_; }

 private:
  attune_status status_;
};

inline void check(attune_status status) {
  if (status != ATTUNE_OK) throw Error(status);
}

// [batch, heads, length, head_dim] for queries, keys and values alike.
inline attune_shape square_shape(std::int64_t batch, std::int64_t heads, std::int64_t length,
                                 std::int64_t head_dim, bool causal = false) {
  attune_shape shape{};
  shape.struct_size = sizeof(shape);
  shape.batch = batch;
  shape.q_heads = shape.kv_heads = heads;
  shape.q_len = shape.kv_len = length;
  shape.head_dim = head_dim;
  shape.mask = causal ? ATTUNE_MASK_CAUSAL_BOTTOM_RIGHT : ATTUNE_MASK_NONE;
  return shape;
}

// A prepared shape; a view that is valid as long as its Library.
class Kernel {
 public:
  explicit Kernel(const attune_kernel* handle) : handle_(handle) {}
  void forward(const attune_tensors& tensors, float scale, CUstream_st* stream) const {
    check(attune_kernel_forward(handle_, &tensors, scale, stream));
  }
  attune_info info() const {
    attune_info info{};
    info.struct_size = sizeof(info);
    check(attune_explain(handle_, &info));
    return info;
  }
  const attune_kernel* handle() const noexcept { return handle_; }

 private:
  const attune_kernel* handle_;
};

class Library {
 public:
  Library() { open(nullptr); }
  explicit Library(const attune_open_options& options) { open(&options); }

  Kernel prepare(const attune_shape& shape) const {
    const attune_kernel* kernel = nullptr;
    check(attune_prepare(handle_.get(), &shape, &kernel));
    return Kernel(kernel);
  }
  void forward(const attune_shape& shape, const attune_tensors& tensors, float scale,
               CUstream_st* stream) const {
    check(attune_forward(handle_.get(), &shape, &tensors, scale, stream));
  }
  attune_library* handle() const noexcept { return handle_.get(); }

 private:
  struct Close {
    void operator()(attune_library* library) const { attune_close(library); }
  };
  void open(const attune_open_options* options) {
    attune_library* library = nullptr;
    check(attune_open(options, &library));
    handle_.reset(library);
  }
  std::unique_ptr<attune_library, Close> handle_;
};

inline attune_tensors contiguous_tensors(const attune_shape& shape, const void* q, const void* k,
                                         const void* v, void* o) {
  attune_tensors tensors{};
  tensors.struct_size = sizeof(tensors);
  tensors.q.data = const_cast<void*>(q);
  tensors.k.data = const_cast<void*>(k);
  tensors.v.data = const_cast<void*>(v);
  tensors.o.data = o;
  check(attune_contiguous_strides(&shape, &tensors));
  return tensors;
}

}  // namespace attune_api

#endif
