// The C API's surface: checks what C callers can get wrong, keeps the last error, lets nothing be thrown.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <string_view>

#include "attune/attune.h"
#include "runtime/library.h"

namespace {

using attune::fail;
using attune::Layout;
using attune::Library;
using attune::PreparedKernel;
using attune::Reply;
using attune::reply;
using attune::Shape;

constexpr std::array<const char*, 10> kStatusNames{
    "ATTUNE_OK",       "ATTUNE_INVALID_ARGUMENT", "ATTUNE_NO_GPU",
    "ATTUNE_DATABASE", "ATTUNE_NOT_SUPPORTED",    "ATTUNE_COMPILE",
    "ATTUNE_CUDA",     "ATTUNE_NOT_PREPARED",     "ATTUNE_OUT_OF_MEMORY",
    "ATTUNE_INTERNAL"};

// Bytes, not a string: nothing to destroy when the library is unloaded before its threads end.
thread_local std::array<char, 2048> last_error{};

attune_status remember(attune_status code, std::string_view text) {
  const std::size_t length = std::min(text.size(), last_error.size() - 1);
  std::memcpy(last_error.data(), text.data(), length);
  last_error[length] = '\0';
  return code;
}

// Runs a call's body, which answers with a Reply.
template <class Body>
attune_status guarded(const Body& body) noexcept {
  try {
    const Reply result = body();
    return result.ok() ? ATTUNE_OK : remember(result.code, result.text);
  } catch (const std::bad_alloc&) {
    return remember(ATTUNE_OUT_OF_MEMORY, "out of host memory");
  } catch (const std::exception& exception) {
    return remember(ATTUNE_INTERNAL, exception.what());
  } catch (...) {
    return remember(ATTUNE_INTERNAL, "an unknown exception");
  }
}

Reply invalid(attune::Error error) {
  return reply(ATTUNE_INVALID_ARGUMENT, std::move(error));
}

// Copies the caller's struct into one of this version: what the caller lacks is zero, what only a newer
// caller knows must be zero. `least` is the struct's size in its first version.
template <class Struct>
Reply read_struct(const Struct* from, std::size_t least, const char* name, Struct& to) {
  if (from == nullptr) return invalid(fail("{} is a null pointer", name));
  const std::size_t size = from->struct_size;
  if (size < least) {
    return invalid(fail("{}.struct_size is {}, must be sizeof({}), {} at least", name, size, name, least));
  }
  const auto* bytes = reinterpret_cast<const unsigned char*>(from);
  constexpr std::size_t kAbsurd = 4096;
  if (size > kAbsurd)
    return invalid(fail("{}.struct_size is {}: was it set to sizeof({})?", name, size, name));
  for (std::size_t i = sizeof(Struct); i < size; ++i) {
    if (bytes[i] != 0) {
      return invalid(
          fail("{} uses a field that attune {} does not know; update the library", name, attune_version()));
    }
  }
  std::memcpy(&to, from, std::min(size, sizeof(Struct)));
  return {};
}

// Folds aliases like validated(), which the miss path runs: a hit was valid when it was prepared.
Reply read_shape(const attune_shape* from, Shape& to) {
  attune_shape shape{};
  if (auto reading = read_struct(from, sizeof(attune_shape), "attune_shape", shape); !reading.ok())
    return reading;
  if (shape.dtype < ATTUNE_BF16 || shape.dtype > ATTUNE_FP16)
    return invalid(fail("dtype {} is unknown", shape.dtype));
  if (shape.mask < ATTUNE_MASK_NONE || shape.mask > ATTUNE_MASK_CAUSAL_BOTTOM_RIGHT) {
    return invalid(fail("mask {} is unknown", shape.mask));
  }
  if (shape.layout < ATTUNE_BHSD || shape.layout > ATTUNE_BSHD) {
    return invalid(fail("layout {} is unknown", shape.layout));
  }
  constexpr std::array kMasks{attune::Mask::none, attune::Mask::causal_top_left,
                              attune::Mask::causal_bottom_right};
  to = Shape{.batch = shape.batch,
             .q_heads = shape.q_heads,
             .kv_heads = shape.kv_heads,
             .q_len = shape.q_len,
             .kv_len = shape.kv_len,
             .head_dim = shape.head_dim,
             .dtype = shape.dtype == ATTUNE_FP16 ? attune::DType::fp16 : attune::DType::bf16,
             .mask = kMasks[static_cast<std::size_t>(shape.mask)],
             .layout = shape.layout == ATTUNE_BSHD ? Layout::bshd : Layout::bhsd,
             .wants_lse = shape.wants_lse != 0};
  if (to.causal() && to.q_len == to.kv_len) to.mask = attune::Mask::causal_bottom_right;
  return {};
}

Reply read_valid_shape(const attune_shape* from, Shape& to) {
  if (auto reading = read_shape(from, to); !reading.ok()) return reading;
  auto valid = attune::validated(to);
  if (!valid) return invalid(valid.error());
  to = *valid;
  return {};
}

attune::TensorStrides strides_of(const attune_tensor& tensor) {
  return {.batch = tensor.batch_stride, .head = tensor.head_stride, .seq = tensor.seq_stride};
}

std::uint64_t address_of(const void* data) {
  return reinterpret_cast<std::uintptr_t>(data);
}

Reply launch(const PreparedKernel& kernel, const attune_tensors* from, float scale, CUstream_st* stream) {
  attune_tensors tensors{};
  if (auto reading = read_struct(from, sizeof(attune_tensors), "attune_tensors", tensors); !reading.ok()) {
    return reading;
  }
  return kernel.launch({.q = address_of(tensors.q.data),
                        .k = address_of(tensors.k.data),
                        .v = address_of(tensors.v.data),
                        .o = address_of(tensors.o.data),
                        .lse = address_of(tensors.lse),
                        .workspace = 0,
                        .q_strides = strides_of(tensors.q),
                        .k_strides = strides_of(tensors.k),
                        .v_strides = strides_of(tensors.v),
                        .o_strides = strides_of(tensors.o),
                        .scale = scale},
                       stream);
}

// The handles are the objects themselves.
Library* object(attune_library* handle) {
  return reinterpret_cast<Library*>(handle);
}
const PreparedKernel* object(const attune_kernel* handle) {
  return reinterpret_cast<const PreparedKernel*>(handle);
}

// Up to the field that came after the first version.
constexpr std::size_t kFirstOpenOptions = offsetof(attune_open_options, packs);

bool environment_queues_misses() {
  const char* value = std::getenv("ATTUNE_WANTED");
  return value != nullptr && std::string_view(value) == "1";
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

Reply open_library(const attune_open_options* from, attune_library** library) {
  if (library == nullptr) return invalid(fail("library is a null pointer"));
  *library = nullptr;
  attune_open_options options = ATTUNE_OPEN_OPTIONS_INIT;
  if (from != nullptr) {
    auto reading = read_struct(from, kFirstOpenOptions, "attune_open_options", options);
    if (!reading.ok()) return reading;
  }
  attune::LibraryOptions wanted;
  if (options.database != nullptr) wanted.database = options.database;
  if (options.cubins != nullptr) wanted.cubins = options.cubins;
  wanted.device = options.device;
  if (options.packs != nullptr) wanted.packs = options.packs;
  wanted.queue_misses =
      options.queue_misses == 1 || (options.queue_misses == 0 && environment_queues_misses());
  wanted.server = options.server != nullptr ? options.server : environment("ATTUNE_SERVER");
  if (!wanted.server.empty()) wanted.server_token = environment("ATTUNE_TOKEN");
  wanted.log = options.log;
  wanted.log_user = options.log_user;
  std::unique_ptr<Library> opened;
  if (auto opening = Library::open(std::move(wanted), opened); !opening.ok()) return opening;
  *library = reinterpret_cast<attune_library*>(opened.release());
  return {};
}

void set_contiguous(const Shape& shape, std::int64_t heads, std::int64_t length, attune_tensor& tensor) {
  const auto strides = attune::contiguous_strides(shape.layout, heads, length, shape.head_dim);
  tensor.batch_stride = strides.batch;
  tensor.head_stride = strides.head;
  tensor.seq_stride = strides.seq;
}

}  // namespace

const char* attune_version(void) {
  return ATTUNE_VERSION_TEXT;
}

const char* attune_status_name(attune_status status) {
  const auto index = static_cast<std::size_t>(status);
  return index < kStatusNames.size() ? kStatusNames[index] : "unknown attune_status";
}

const char* attune_last_error(void) {
  return last_error.data();
}

attune_status attune_open(const attune_open_options* options, attune_library** library) {
  return guarded([&] { return open_library(options, library); });
}

void attune_close(attune_library* library) {
  guarded([&]() -> Reply {
    // In a forked child all of it belongs to the parent: GPU memory, threads, SQLite's locks.
    if (library != nullptr && object(library)->forked()) return {};
    delete object(library);
    return {};
  });
}

attune_status attune_prepare(attune_library* library, const attune_shape* shape,
                             const attune_kernel** kernel) {
  return guarded([&]() -> Reply {
    if (kernel != nullptr) *kernel = nullptr;
    if (library == nullptr) return invalid(fail("library is a null pointer"));
    Shape wanted;
    if (auto reading = read_shape(shape, wanted); !reading.ok()) return reading;
    const PreparedKernel* prepared = nullptr;
    if (auto preparing = object(library)->prepare(wanted, prepared); !preparing.ok()) return preparing;
    if (kernel != nullptr) *kernel = reinterpret_cast<const attune_kernel*>(prepared);
    return {};
  });
}

attune_status attune_forward(attune_library* library, const attune_shape* shape,
                             const attune_tensors* tensors, float scale, CUstream_st* stream) {
  return guarded([&]() -> Reply {
    if (library == nullptr) return invalid(fail("library is a null pointer"));
    Shape wanted;
    if (auto reading = read_shape(shape, wanted); !reading.ok()) return reading;
    const PreparedKernel* kernel = nullptr;
    if (auto finding = object(library)->find_or_prepare(wanted, stream, kernel); !finding.ok())
      return finding;
    return launch(*kernel, tensors, scale, stream);
  });
}

attune_status attune_kernel_forward(const attune_kernel* kernel, const attune_tensors* tensors, float scale,
                                    CUstream_st* stream) {
  return guarded([&]() -> Reply {
    if (kernel == nullptr) return invalid(fail("kernel is a null pointer"));
    return launch(*object(kernel), tensors, scale, stream);
  });
}

attune_status attune_explain(const attune_kernel* kernel, attune_info* info) {
  return guarded([&]() -> Reply {
    if (kernel == nullptr) return invalid(fail("kernel is a null pointer"));
    attune_info known{};
    if (auto reading = read_struct(info, sizeof(attune_info), "attune_info", known); !reading.ok())
      return reading;
    const PreparedKernel& prepared = *object(kernel);
    const attune::Choice& choice = prepared.choice();
    known.provenance = choice.provenance;
    known.stale = choice.stale ? 1 : 0;
    known.expected_us = choice.expected_us;
    known.workspace_bytes = prepared.workspace_bytes();
    known.template_name = choice.template_name.c_str();
    known.config_json = choice.config_json.c_str();
    known.reason = choice.reason.c_str();
    std::memcpy(info, &known, std::min(info->struct_size, sizeof(known)));
    return {};
  });
}

attune_status attune_contiguous_strides(const attune_shape* shape, attune_tensors* tensors) {
  return guarded([&]() -> Reply {
    Shape wanted;
    if (auto reading = read_valid_shape(shape, wanted); !reading.ok()) return reading;
    if (tensors == nullptr || tensors->struct_size < sizeof(attune_tensors)) {
      return invalid(fail("attune_tensors is null or its struct_size is not set"));
    }
    set_contiguous(wanted, wanted.q_heads, wanted.q_len, tensors->q);
    set_contiguous(wanted, wanted.kv_heads, wanted.kv_len, tensors->k);
    set_contiguous(wanted, wanted.kv_heads, wanted.kv_len, tensors->v);
    set_contiguous(wanted, wanted.q_heads, wanted.q_len, tensors->o);
    return {};
  });
}
