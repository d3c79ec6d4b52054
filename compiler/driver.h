// The CUDA driver, opened at run time (dlopen of libcuda.so.1), in RAII. A machine without it builds and runs
// the same binary; Driver::open() then says what is missing.
//
// Errors: every failing call gives an Error with the call's text, CUDA's name and number for the code, its
// description and file:line of the caller in this library; Error::device_code is the number (a CUresult).
// is_sticky() tells an error that ends the context for good from one that does not.
//
// Context: everything below Context works on the context that is current on the calling thread, which must be
// the one passed to its create function (Context::make_current, or Context::Scope in a library).
//
// Ownership: objects are move-only and free what they own; a destructor ignores errors, since after a fault
// every call fails. A Kernel must not outlive its Module, nothing may outlive its Context.
//
// Threads: const functions may be called from any thread whose current context is the right one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/device_facts.h"
#include "base/result.h"

// CUDA's own opaque handles (cuda.h); users of this header need no CUDA header.
struct CUctx_st;
struct CUmod_st;
struct CUfunc_st;
struct CUstream_st;
struct CUevent_st;
struct CUgraphExec_st;

namespace attune {

// Codes after which no call in the process will work on this context: illegal address (700), launch timeout
// (702), hardware and instruction faults (714 to 719), ECC (214), NVLink (220), and their like. End the
// process.
bool is_sticky(int device_code);
inline bool is_sticky(const Error& error) {
  return is_sticky(error.device_code);
}

// The driver's entry points and what is known of the machine without a context. One a process.
class Driver {
 public:
  // Opens and initialises the driver: ATTUNE_CUDA_DRIVER (a file) if set, else libcuda.so.1. After the first
  // success the same object is given for ever; a failure is tried again by the next call. Thread safe.
  static Result<const Driver*> open();

  const std::string& path() const { return path_; }
  int version() const { return version_; }  // CUDA version the driver supports: 13000
  // The kernel driver's own version ("580.159.04") from /proc/driver/nvidia/version, else "".
  const std::string& kernel_driver() const { return kernel_driver_; }

  Result<int> device_count() const;
  Result<DeviceFacts> device_facts(int device) const;
  Result<std::string> pci_bus_id(int device) const;  // "0000:19:00.0", what NVML knows the GPU by

  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;

 private:
  Driver() = default;
  std::string path_;
  std::string kernel_driver_;
  int version_ = 0;
};

// A retained primary context: the one that the CUDA runtime and PyTorch use.
class Context {
 public:
  // Does not make it current.
  static Result<Context> retain(const Driver& driver, int device);
  ~Context();
  Context(Context&& other) noexcept { swap(other); }
  Context& operator=(Context&& other) noexcept { return swap(other), *this; }

  // For threads of our own: stays current until another is made so.
  Status make_current() const;
  // Waits for all work of the context. The first call after a fault says so; is_sticky() tells.
  Status synchronize() const;

  int device() const { return device_; }
  CUctx_st* handle() const { return handle_; }

  // For threads of somebody else: current within the scope, the former one restored.
  class Scope {
   public:
    explicit Scope(const Context& context);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    const Status& status() const { return status_; }

   private:
    Status status_;
  };

 private:
  Context() = default;
  void swap(Context& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(handle_, other.handle_);
  }
  int device_ = -1;
  CUctx_st* handle_ = nullptr;
};

class Stream {
 public:
  // A new stream that does not synchronise with the default stream.
  static Result<Stream> create(const Context& context);
  // Somebody else's stream (null: the default stream), not destroyed.
  static Stream borrow(CUstream_st* handle);
  ~Stream();
  Stream(Stream&& other) noexcept { swap(other); }
  Stream& operator=(Stream&& other) noexcept { return swap(other), *this; }

  Status synchronize() const;      // a kernel's fault comes back here; is_sticky() tells
  Result<bool> idle() const;       // true when all work is done
  Result<bool> capturing() const;  // within a graph capture
  CUstream_st* handle() const { return handle_; }

 private:
  Stream() = default;
  void swap(Stream& other) noexcept {
    std::swap(handle_, other.handle_);
    std::swap(owned_, other.owned_);
  }
  CUstream_st* handle_ = nullptr;
  bool owned_ = false;
};

class Event {
 public:
  static Result<Event> create(const Context& context);  // with timing
  ~Event();
  Event(Event&& other) noexcept { swap(other); }
  Event& operator=(Event&& other) noexcept { return swap(other), *this; }

  Status record(const Stream& stream) const;
  Status synchronize() const;
  Result<bool> done() const;  // for waiting with a deadline of one's own
  // Microseconds from `start` to `end`, both recorded and done. Resolution about 0.5 us.
  static Result<double> elapsed_us(const Event& start, const Event& end);
  CUevent_st* handle() const { return handle_; }

 private:
  Event() = default;
  void swap(Event& other) noexcept { std::swap(handle_, other.handle_); }
  CUevent_st* handle_ = nullptr;
};

// Device memory, 256-byte aligned at least.
class DeviceBuffer {
 public:
  // 0 bytes: an empty buffer at address 0. Not enough memory is an error that says how much was wanted.
  static Result<DeviceBuffer> allocate(const Context& context, std::int64_t bytes);
  DeviceBuffer() = default;  // empty
  ~DeviceBuffer();
  DeviceBuffer(DeviceBuffer&& other) noexcept { swap(other); }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept { return swap(other), *this; }

  std::uint64_t address() const { return address_; }
  std::int64_t bytes() const { return bytes_; }

  // All in stream order, from or to `offset` bytes into the buffer. A range beyond the buffer is an error.
  // Host memory must stay valid until the stream has done the copy (pageable memory: the driver stages it).
  Status upload(std::span<const std::byte> from, const Stream& stream, std::int64_t offset = 0) const;
  Status download(std::span<std::byte> to, const Stream& stream, std::int64_t offset = 0) const;
  Status copy_from(const DeviceBuffer& other, const Stream& stream) const;  // other's bytes, to offset 0
  Status fill(std::uint8_t value, const Stream& stream) const;
  Status fill_range(std::uint8_t value, std::int64_t offset, std::int64_t bytes, const Stream& stream) const;
  Status fill_words(std::uint32_t value, const Stream& stream) const;  // the buffer is a multiple of 4 bytes

 private:
  void swap(DeviceBuffer& other) noexcept {
    std::swap(address_, other.address_);
    std::swap(bytes_, other.bytes_);
  }
  std::uint64_t address_ = 0;
  std::int64_t bytes_ = 0;
};

// Page-locked host memory.
class PinnedBuffer {
 public:
  static Result<PinnedBuffer> allocate(const Context& context, std::int64_t bytes);
  PinnedBuffer() = default;  // empty
  ~PinnedBuffer();
  PinnedBuffer(PinnedBuffer&& other) noexcept { swap(other); }
  PinnedBuffer& operator=(PinnedBuffer&& other) noexcept { return swap(other), *this; }

  std::span<std::byte> bytes() const { return bytes_; }

 private:
  void swap(PinnedBuffer& other) noexcept { std::swap(bytes_, other.bytes_); }
  std::span<std::byte> bytes_;
};

// What the driver says of a loaded kernel.
struct KernelAttributes {
  int registers = 0;                        // a thread
  std::int64_t local_bytes = 0;             // a thread: spills and stack
  std::int64_t static_smem_bytes = 0;       // a CTA
  std::int64_t max_dynamic_smem_bytes = 0;  // as it is set now
  int max_threads_per_block = 0;
  std::int64_t argument_bytes = 0;  // 0: the kernel has no parameter
};

// How a kernel is launched.
struct KernelLaunch {
  std::array<unsigned, 3> grid{1, 1, 1};
  std::array<unsigned, 3> block{1, 1, 1};
  std::array<unsigned, 3> cluster{1, 1, 1};  // {1,1,1}: no cluster attribute
  std::int64_t smem_bytes = 0;  // dynamic; beyond 48 KiB needs Kernel::set_max_dynamic_smem first
  bool programmatic_dependent_launch = false;
};

// A kernel of a Module, valid as long as it. Takes no parameter or one struct by value.
class Kernel {
 public:
  const KernelAttributes& attributes() const { return attributes_; }

  // Allows dynamic shared memory up to `bytes` (the opt-in, needed beyond 48 KiB) and prefers shared memory
  // to L1 for it. More than the device has, less static smem, is an error.
  Status set_max_dynamic_smem(std::int64_t bytes);
  // Allows clusters of more than 8 CTAs (16 on Hopper).
  Status allow_non_portable_clusters();

  Result<int> ctas_per_sm(int threads, std::int64_t smem_bytes) const;
  Result<int> max_active_clusters(const KernelLaunch& launch) const;

  // Enqueues one launch. Allocates nothing; legal within a capture. `argument` is the kernel's one struct,
  // copied before the call returns; another size than the kernel's parameter is an error.
  Status launch(const KernelLaunch& launch, std::span<const std::byte> argument, const Stream& stream) const;

  CUfunc_st* handle() const { return handle_; }

 private:
  friend class Module;
  Kernel() = default;
  CUfunc_st* handle_ = nullptr;
  KernelAttributes attributes_;
};

// A loaded cubin.
class Module {
 public:
  // `image` is a cubin; loading is eager, so that a bad image or too old a driver is an error here.
  static Result<Module> load(const Context& context, std::string_view image);
  // The same from a file, as the cubin store keeps it.
  static Result<Module> load_file(const Context& context, const std::string& path);
  ~Module();
  Module(Module&& other) noexcept { swap(other); }
  Module& operator=(Module&& other) noexcept { return swap(other), *this; }

  // By its extern "C" name. More than one parameter is an error.
  Result<Kernel> kernel(const std::string& entry) const;

 private:
  Module() = default;
  void swap(Module& other) noexcept { std::swap(handle_, other.handle_); }
  CUmod_st* handle_ = nullptr;
};

// A captured sequence of launches, ready to be launched as one.
class Graph {
 public:
  // Captures what `enqueue` puts on the stream (thread-local capture mode; an owned stream, not the default
  // one). An error of `enqueue` ends the capture and comes back.
  static Result<Graph> capture(const Stream& stream, const std::function<Status()>& enqueue);
  ~Graph();
  Graph(Graph&& other) noexcept { swap(other); }
  Graph& operator=(Graph&& other) noexcept { return swap(other), *this; }

  Status launch(const Stream& stream) const;

 private:
  Graph() = default;
  void swap(Graph& other) noexcept { std::swap(handle_, other.handle_); }
  CUgraphExec_st* handle_ = nullptr;
};

// A descriptor of a tiled tensor for TMA, bytes as the hardware wants them: passed to a kernel by value as
// const __grid_constant__, itself or as a 64-byte aligned member of the argument.
struct alignas(64) TensorMap {
  std::array<std::byte, 128> bytes{};
};
static_assert(sizeof(TensorMap) == 128);

enum class TensorElement { u8, bf16, fp16, fp32 };
enum class TensorSwizzle { none, b32, b64, b128 };       // bytes
enum class TensorL2Promotion { none, b64, b128, b256 };  // bytes
enum class TensorFill { zeros, nan };                    // what a read out of bounds gives

// Dimensions from the fastest varying; cuTensorMapEncodeTiled's terms (CUDA driver API, "Tensor Map Object
// Management"), whose limits an error explains: rank 1 to 5, box at most 256 a dimension, address a multiple
// of 16 bytes, strides multiples of 16 bytes below 2^40.
struct TensorMapSpec {
  std::uint64_t address = 0;
  TensorElement element = TensorElement::bf16;
  int rank = 0;
  std::array<std::uint64_t, 5> sizes{};         // elements
  std::array<std::uint64_t, 4> stride_bytes{};  // of dimensions 1 to rank-1; dimension 0 is contiguous
  std::array<std::uint32_t, 5> box{};           // elements
  TensorSwizzle swizzle = TensorSwizzle::none;
  TensorL2Promotion l2_promotion = TensorL2Promotion::b128;
  TensorFill fill = TensorFill::zeros;
};

// Host work only, less than a microsecond; some context must be current (as seen with driver 580). Encode
// once per (address, sizes, strides).
Result<TensorMap> encode_tensor_map(const Driver& driver, const TensorMapSpec& spec);

}  // namespace attune
