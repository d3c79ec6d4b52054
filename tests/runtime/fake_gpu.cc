#include "fake_gpu.h"

#include <cuda.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "templates/hopper_params.cuh"

namespace {

// A program that cannot reach fake_gpu() launches kernels of the template named by FAKE_GPU_TEMPLATE.
FakeGpu from_environment() {
  FakeGpu gpu;
  const char* name = std::getenv("FAKE_GPU_TEMPLATE");
  if (name != nullptr && std::string(name) == "hopper") gpu.argument_bytes = sizeof(attune::HopperParams);
  return gpu;
}

FakeGpu state = from_environment();
std::mutex guard;  // of what calls change in it
int some_object;
std::array<int, 8> of_device;          // contexts and kernels are the address of their device's element
thread_local std::vector<int> pushed;  // devices
constexpr int kNotSet = -2;
thread_local int set = kNotSet;  // by cuCtxSetCurrent

template <class Handle>
Handle handle() {
  return reinterpret_cast<Handle>(&some_object);
}

template <class Handle>
Handle handle_of(int device) {
  return reinterpret_cast<Handle>(&of_device[static_cast<std::size_t>(device)]);
}

int device_of(const void* object) {
  return static_cast<int>(static_cast<const int*>(object) - of_device.data());
}

int current() {
  if (!pushed.empty()) return pushed.back();
  return set == kNotSet ? state.current : set;
}

CUresult nothing() {
  return CUDA_SUCCESS;
}

CUresult get_version(int* version) {
  *version = 13000;
  return CUDA_SUCCESS;
}
CUresult get_count(int* count) {
  *count = state.devices;
  return static_cast<CUresult>(state.count_code);
}
CUresult get_device(CUdevice* device, int ordinal) {
  *device = ordinal;
  return ordinal < state.devices ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}
CUresult get_name(char* name, int length, CUdevice) {
  std::strncpy(name, "NVIDIA H100 80GB HBM3", static_cast<std::size_t>(length));
  return CUDA_SUCCESS;
}
CUresult get_attribute(int* value, CUdevice_attribute attribute, CUdevice) {
  const std::map<int, int> known{{CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 9},
                                 {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 0},
                                 {CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 132},
                                 {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, 232448},
                                 {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, 233472},
                                 {CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR, 65536},
                                 {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR, 2048},
                                 {CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, 52428800}};
  const auto found = known.find(attribute);
  *value = found == known.end() ? 0 : found->second;
  return CUDA_SUCCESS;
}
CUresult get_memory(std::size_t* bytes, CUdevice) {
  *bytes = std::size_t{80} << 30;
  return CUDA_SUCCESS;
}
CUresult retain(CUcontext* context, CUdevice device) {
  const std::lock_guard lock(guard);
  ++state.retained;
  *context = handle_of<CUcontext>(device);
  return CUDA_SUCCESS;
}
CUresult release(CUdevice) {
  const std::lock_guard lock(guard);
  --state.retained;
  return CUDA_SUCCESS;
}
CUresult set_current(CUcontext context) {
  set = context == nullptr ? -1 : device_of(context);
  return CUDA_SUCCESS;
}
CUresult push(CUcontext context) {
  const std::lock_guard lock(guard);
  ++state.contexts_pushed;
  pushed.push_back(device_of(context));
  return CUDA_SUCCESS;
}
CUresult pop(CUcontext* context) {
  const std::lock_guard lock(guard);
  --state.contexts_pushed;
  *context = handle_of<CUcontext>(pushed.back());
  pushed.pop_back();
  return CUDA_SUCCESS;
}
CUresult create_stream(CUstream* stream, unsigned) {
  *stream = handle<CUstream>();
  return CUDA_SUCCESS;
}
CUresult is_capturing(CUstream stream, CUstreamCaptureStatus* status) {
  if (stream == nullptr && current() < 0) return CUDA_ERROR_INVALID_CONTEXT;
  *status = state.capturing ? CU_STREAM_CAPTURE_STATUS_ACTIVE : CU_STREAM_CAPTURE_STATUS_NONE;
  return CUDA_SUCCESS;
}
CUresult allocate(CUdeviceptr* address, std::size_t bytes) {
  *address = reinterpret_cast<CUdeviceptr>(std::aligned_alloc(256, (bytes + 255) / 256 * 256));
  return CUDA_SUCCESS;
}
CUresult release_memory(CUdeviceptr address) {
  std::free(reinterpret_cast<void*>(address));
  return CUDA_SUCCESS;
}
CUresult fill(CUdeviceptr address, unsigned char value, std::size_t bytes, CUstream) {
  std::memset(reinterpret_cast<void*>(address), value, bytes);
  return CUDA_SUCCESS;
}
CUresult load(CUmodule* module, const void*, unsigned, CUjit_option*, void**) {
  const std::lock_guard lock(guard);
  if (state.module_loads_to_fail > 0) {
    --state.module_loads_to_fail;
    return CUDA_ERROR_INVALID_IMAGE;
  }
  ++state.modules;
  *module = handle_of<CUmodule>(current());
  return CUDA_SUCCESS;
}
CUresult unload(CUmodule) {
  const std::lock_guard lock(guard);
  --state.modules;
  return CUDA_SUCCESS;
}
CUresult get_function(CUfunction* function, CUmodule module, const char*) {
  *function = reinterpret_cast<CUfunction>(module);
  return CUDA_SUCCESS;
}
CUresult function_attribute(int* value, CUfunction_attribute, CUfunction) {
  *value = 0;
  return CUDA_SUCCESS;
}
CUresult parameter(CUfunction, std::size_t index, std::size_t* offset, std::size_t* size) {
  *offset = 0;
  *size = state.argument_bytes;
  return index == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
CUresult launch(const CUlaunchConfig* config, CUfunction function, void** parameters, void**) {
  const std::lock_guard lock(guard);
  if (current() < 0) return CUDA_ERROR_INVALID_CONTEXT;
  const auto stream = state.stream_device.find(config->hStream);
  const int target = stream == state.stream_device.end() ? current() : stream->second;
  if (target != device_of(function)) return CUDA_ERROR_INVALID_HANDLE;
  if (!state.note_launches) return CUDA_SUCCESS;
  const auto* bytes = static_cast<const std::byte*>(parameters[0]);
  state.launches.push_back({.stream = config->hStream,
                            .device = target,
                            .grid = {config->gridDimX, config->gridDimY, config->gridDimZ},
                            .block = {config->blockDimX, config->blockDimY, config->blockDimZ},
                            .smem_bytes = config->sharedMemBytes,
                            .argument = {bytes, bytes + state.argument_bytes}});
  return CUDA_SUCCESS;
}
CUresult encode(CUtensorMap* map, CUtensorMapDataType, cuuint32_t, void* place, const cuuint64_t*,
                const cuuint64_t*, const cuuint32_t*, const cuuint32_t*, CUtensorMapInterleave,
                CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  if (current() < 0) return CUDA_ERROR_INVALID_CONTEXT;
  const std::lock_guard lock(guard);
  ++state.maps_encoded;
  *map = {};
  std::memcpy(map, &place, sizeof(place));  // to tell whose map it is
  return CUDA_SUCCESS;
}
CUresult error_text(CUresult, const char** text) {
  *text = "an error";
  return CUDA_SUCCESS;
}

template <class Function>
void* address(Function* function) {
  return reinterpret_cast<void*>(function);
}

}  // namespace

extern "C" {

FakeGpu* fake_gpu() {
  return &state;
}

__attribute__((visibility("default"))) CUresult cuCtxGetDevice(CUdevice* device) {
  *device = current();
  return current() < 0 ? CUDA_ERROR_INVALID_CONTEXT : CUDA_SUCCESS;
}

// What is not here succeeds and does nothing.
__attribute__((visibility("default"))) CUresult cuGetProcAddress_v2(const char* name, void** function, int,
                                                                    cuuint64_t,
                                                                    CUdriverProcAddressQueryResult*) {
  static const std::map<std::string, void*> known{{"cuDriverGetVersion", address(get_version)},
                                                  {"cuDeviceGetCount", address(get_count)},
                                                  {"cuDeviceGet", address(get_device)},
                                                  {"cuDeviceGetName", address(get_name)},
                                                  {"cuDeviceGetAttribute", address(get_attribute)},
                                                  {"cuDeviceTotalMem", address(get_memory)},
                                                  {"cuDevicePrimaryCtxRetain", address(retain)},
                                                  {"cuDevicePrimaryCtxRelease", address(release)},
                                                  {"cuCtxSetCurrent", address(set_current)},
                                                  {"cuCtxPushCurrent", address(push)},
                                                  {"cuCtxPopCurrent", address(pop)},
                                                  {"cuStreamCreate", address(create_stream)},
                                                  {"cuStreamIsCapturing", address(is_capturing)},
                                                  {"cuMemAlloc", address(allocate)},
                                                  {"cuMemFree", address(release_memory)},
                                                  {"cuMemsetD8Async", address(fill)},
                                                  {"cuModuleLoadDataEx", address(load)},
                                                  {"cuModuleUnload", address(unload)},
                                                  {"cuModuleGetFunction", address(get_function)},
                                                  {"cuFuncGetAttribute", address(function_attribute)},
                                                  {"cuFuncGetParamInfo", address(parameter)},
                                                  {"cuLaunchKernelEx", address(launch)},
                                                  {"cuTensorMapEncodeTiled", address(encode)},
                                                  {"cuGetErrorName", address(error_text)},
                                                  {"cuGetErrorString", address(error_text)}};
  const auto found = known.find(name);
  *function = found == known.end() ? address(nothing) : found->second;
  return CUDA_SUCCESS;
}

}  // extern "C"
