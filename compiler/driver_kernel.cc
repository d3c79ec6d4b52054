#include <algorithm>
#include <cstring>

#include "compiler/driver.h"

#include "base/read_file.h"
#include "compiler/driver_api.h"

namespace attune {
namespace {

// A CUlaunchConfig and the attributes it points to.
struct LaunchArguments {
  LaunchArguments(const KernelLaunch& launch, CUstream stream) {
    config.gridDimX = launch.grid[0];
    config.gridDimY = launch.grid[1];
    config.gridDimZ = launch.grid[2];
    config.blockDimX = launch.block[0];
    config.blockDimY = launch.block[1];
    config.blockDimZ = launch.block[2];
    config.sharedMemBytes = static_cast<unsigned>(launch.smem_bytes);
    config.hStream = stream;
    config.attrs = attributes.data();
    if (launch.cluster != std::array<unsigned, 3>{1, 1, 1}) {
      auto& attribute = attributes[config.numAttrs++];
      attribute.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
      attribute.value.clusterDim = {launch.cluster[0], launch.cluster[1], launch.cluster[2]};
    }
    if (launch.programmatic_dependent_launch) {
      auto& attribute = attributes[config.numAttrs++];
      attribute.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
      attribute.value.programmaticStreamSerializationAllowed = 1;
    }
  }
  LaunchArguments(const LaunchArguments&) = delete;
  LaunchArguments& operator=(const LaunchArguments&) = delete;

  std::array<CUlaunchAttribute, 2> attributes{};
  CUlaunchConfig config{};
};

Result<std::int64_t> argument_bytes(CUfunction function, const std::string& entry) {
  std::size_t offset = 0;
  std::size_t size = 0;
  const auto& table = driver_api::table();
  const CUresult first = table.cuFuncGetParamInfo(function, 0, &offset, &size);
  if (first == CUDA_ERROR_INVALID_VALUE) return 0;  // no parameter
  if (first != CUDA_SUCCESS) {
    return driver_api::failure(table, "cuFuncGetParamInfo(function, 0, &offset, &size)", first, __FILE__,
                               __LINE__);
  }
  std::size_t second_size = 0;
  if (table.cuFuncGetParamInfo(function, 1, &offset, &second_size) == CUDA_SUCCESS) {
    return fail("the kernel '{}' has more than one parameter; it must take one struct by value", entry);
  }
  return static_cast<std::int64_t>(size);
}

}  // namespace

Status Kernel::set_max_dynamic_smem(std::int64_t bytes) {
  ATTUNE_CU(
      cuFuncSetAttribute(handle_, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, static_cast<int>(bytes)));
  ATTUNE_CU(cuFuncSetAttribute(handle_, CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT,
                               CU_SHAREDMEM_CARVEOUT_MAX_SHARED));
  attributes_.max_dynamic_smem_bytes = bytes;
  return {};
}

Status Kernel::allow_non_portable_clusters() {
  ATTUNE_CU(cuFuncSetAttribute(handle_, CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED, 1));
  return {};
}

Result<int> Kernel::ctas_per_sm(int threads, std::int64_t smem_bytes) const {
  int ctas = 0;
  ATTUNE_CU(cuOccupancyMaxActiveBlocksPerMultiprocessor(&ctas, handle_, threads,
                                                        static_cast<std::size_t>(smem_bytes)));
  return ctas;
}

Result<int> Kernel::max_active_clusters(const KernelLaunch& launch) const {
  const LaunchArguments arguments(launch, nullptr);
  int clusters = 0;
  ATTUNE_CU(cuOccupancyMaxActiveClusters(&clusters, handle_, &arguments.config));
  return clusters;
}

Status Kernel::launch(const KernelLaunch& launch, std::span<const std::byte> argument,
                      const Stream& stream) const {
  if (static_cast<std::int64_t>(argument.size()) != attributes_.argument_bytes) {
    return fail("the kernel takes an argument of {} bytes, but {} were given", attributes_.argument_bytes,
                argument.size());
  }
  const LaunchArguments arguments(launch, stream.handle());
  // The driver only reads the parameters.
  void* parameters[] = {const_cast<std::byte*>(argument.data())};
  ATTUNE_CU(cuLaunchKernelEx(&arguments.config, handle_, argument.empty() ? nullptr : parameters, nullptr));
  return {};
}

Result<Module> Module::load(const Context&, std::string_view image) {
  // The driver reads an ELF image of the length its own header states: not even the header is no image.
  if (image.size() < 64 || image.substr(0, 4) !=
                               "\x7f"
                               "ELF") {
    return fail("not a cubin: {} bytes that do not begin with an ELF header", image.size());
  }
  Module module;
  ATTUNE_CU(cuModuleLoadDataEx(&module.handle_, image.data(), 0, nullptr, nullptr));
  return module;
}

Result<Module> Module::load_file(const Context& context, const std::string& path) {
  auto image = read_file(path);
  if (!image) return image.error();
  return load(context, *image);
}

Module::~Module() {
  if (handle_ != nullptr) driver_api::table().cuModuleUnload(handle_);
}

Result<Kernel> Module::kernel(const std::string& entry) const {
  Kernel kernel;
  const CUresult found = driver_api::table().cuModuleGetFunction(&kernel.handle_, handle_, entry.c_str());
  if (found != CUDA_SUCCESS) {
    const std::string call = fmt::format("cuModuleGetFunction of '{}'", entry);
    return driver_api::failure(driver_api::table(), call.c_str(), found, __FILE__, __LINE__);
  }
  ATTUNE_CU(cuFuncLoad(kernel.handle_));  // now, not at the first launch, which may be within a capture
  const auto bytes = argument_bytes(kernel.handle_, entry);
  if (!bytes) return bytes.error();
  auto& attributes = kernel.attributes_;
  attributes.argument_bytes = *bytes;
  const auto read = [&](CUfunction_attribute attribute) -> Result<int> {
    int value = 0;
    ATTUNE_CU(cuFuncGetAttribute(&value, attribute, kernel.handle_));
    return value;
  };
  const auto registers = read(CU_FUNC_ATTRIBUTE_NUM_REGS);
  const auto local = read(CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES);
  const auto static_smem = read(CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES);
  const auto dynamic_smem = read(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);
  const auto threads = read(CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK);
  for (const auto* value : {&registers, &local, &static_smem, &dynamic_smem, &threads}) {
    if (!*value) return value->error();
  }
  attributes.registers = *registers;
  attributes.local_bytes = *local;
  attributes.static_smem_bytes = *static_smem;
  attributes.max_dynamic_smem_bytes = *dynamic_smem;
  attributes.max_threads_per_block = *threads;
  return kernel;
}

Result<Graph> Graph::capture(const Stream& stream, const std::function<Status()>& enqueue) {
  ATTUNE_CU(cuStreamBeginCapture(stream.handle(), CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
  const Status enqueued = enqueue();
  CUgraph captured = nullptr;
  const auto& table = driver_api::table();
  const CUresult ended = table.cuStreamEndCapture(stream.handle(), &captured);
  if (!enqueued || ended != CUDA_SUCCESS) {
    if (captured != nullptr) table.cuGraphDestroy(captured);
    if (!enqueued) return enqueued.error();
    return driver_api::failure(table, "cuStreamEndCapture(stream, &captured)", ended, __FILE__, __LINE__);
  }
  Graph graph;
  const CUresult instantiated = table.cuGraphInstantiateWithFlags(&graph.handle_, captured, 0);
  table.cuGraphDestroy(captured);
  if (instantiated != CUDA_SUCCESS) {
    return driver_api::failure(table, "cuGraphInstantiateWithFlags(&graph, captured, 0)", instantiated,
                               __FILE__, __LINE__);
  }
  return graph;
}

Graph::~Graph() {
  if (handle_ != nullptr) driver_api::table().cuGraphExecDestroy(handle_);
}

Status Graph::launch(const Stream& stream) const {
  ATTUNE_CU(cuGraphLaunch(handle_, stream.handle()));
  return {};
}

Result<TensorMap> encode_tensor_map(const Driver&, const TensorMapSpec& spec) {
  if (spec.rank < 1 || spec.rank > 5) return fail("a tensor map has rank 1 to 5, not {}", spec.rank);
  static constexpr std::array kElements{CU_TENSOR_MAP_DATA_TYPE_UINT8, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                                        CU_TENSOR_MAP_DATA_TYPE_FLOAT16, CU_TENSOR_MAP_DATA_TYPE_FLOAT32};
  static constexpr std::array kSwizzles{CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_SWIZZLE_32B,
                                        CU_TENSOR_MAP_SWIZZLE_64B, CU_TENSOR_MAP_SWIZZLE_128B};
  static constexpr std::array kPromotions{CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_L2_PROMOTION_L2_64B,
                                          CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
                                          CU_TENSOR_MAP_L2_PROMOTION_L2_256B};
  const std::array<cuuint32_t, 5> element_strides{1, 1, 1, 1, 1};
  const auto rank = static_cast<cuuint32_t>(spec.rank);
  void* address =
      reinterpret_cast<void*>(spec.address);  // NOLINT: the API wants a device address as a pointer
  const std::array<cuuint64_t, 5> sizes = [&] {
    std::array<cuuint64_t, 5> copy{};
    std::copy(spec.sizes.begin(), spec.sizes.end(), copy.begin());
    return copy;
  }();
  const std::array<cuuint64_t, 4> strides = [&] {
    std::array<cuuint64_t, 4> copy{};
    std::copy(spec.stride_bytes.begin(), spec.stride_bytes.end(), copy.begin());
    return copy;
  }();
  CUtensorMap encoded{};
  const CUresult code = driver_api::table().cuTensorMapEncodeTiled(
      &encoded, kElements[static_cast<std::size_t>(spec.element)], rank, address, sizes.data(),
      strides.data(), spec.box.data(), element_strides.data(), CU_TENSOR_MAP_INTERLEAVE_NONE,
      kSwizzles[static_cast<std::size_t>(spec.swizzle)],
      kPromotions[static_cast<std::size_t>(spec.l2_promotion)],
      spec.fill == TensorFill::nan ? CU_TENSOR_MAP_FLOAT_OOB_FILL_NAN_REQUEST_ZERO_FMA
                                   : CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (code != CUDA_SUCCESS) {
    const std::string call =
        fmt::format("cuTensorMapEncodeTiled(rank {}, address {:#x}, box {}x{}, first stride {})", spec.rank,
                    spec.address, spec.box[0], spec.box[1], spec.stride_bytes[0]);
    return driver_api::failure(driver_api::table(), call.c_str(), code, __FILE__, __LINE__);
  }
  static_assert(sizeof(CUtensorMap) == sizeof(TensorMap));
  TensorMap map;
  std::memcpy(map.bytes.data(), &encoded, sizeof(encoded));
  return map;
}

}  // namespace attune
