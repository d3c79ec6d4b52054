// Internal to compiler/: the driver's entry points and the one way to call them.
#pragma once

#include <cuda.h>

#include "base/result.h"

namespace attune::driver_api {

// Everything of libcuda that attune calls.
// The tool never settles on a layout for such lists.
// clang-format off
#define ATTUNE_CUDA_FUNCTIONS(X) \
  X(cuInit) X(cuDriverGetVersion) X(cuGetErrorName) X(cuGetErrorString) X(cuDeviceGetCount) \
  X(cuDeviceGet) X(cuDeviceGetName) X(cuDeviceGetAttribute) X(cuDeviceTotalMem) X(cuDeviceGetPCIBusId) \
  X(cuDevicePrimaryCtxRetain) X(cuDevicePrimaryCtxRelease) X(cuCtxSetCurrent) X(cuCtxPushCurrent) \
  X(cuCtxPopCurrent) X(cuCtxSynchronize) X(cuStreamCreate) X(cuStreamDestroy) X(cuStreamSynchronize) \
  X(cuStreamQuery) X(cuStreamIsCapturing) X(cuStreamBeginCapture) X(cuStreamEndCapture) X(cuEventCreate) \
  X(cuEventDestroy) X(cuEventRecord) X(cuEventSynchronize) X(cuEventQuery) X(cuEventElapsedTime) \
  X(cuMemAlloc) X(cuMemFree) X(cuMemAllocHost) X(cuMemFreeHost) X(cuMemcpyHtoDAsync) \
  X(cuMemcpyDtoHAsync) X(cuMemcpyDtoDAsync) X(cuMemsetD8Async) X(cuMemsetD32Async) X(cuModuleLoadDataEx) \
  X(cuModuleUnload) X(cuModuleGetFunction) X(cuFuncGetAttribute) X(cuFuncSetAttribute) \
  X(cuFuncGetParamInfo) X(cuFuncLoad) X(cuLaunchKernelEx) X(cuOccupancyMaxActiveBlocksPerMultiprocessor) \
  X(cuOccupancyMaxActiveClusters) X(cuGraphInstantiateWithFlags) X(cuGraphLaunch) X(cuGraphDestroy) \
  X(cuGraphExecDestroy) X(cuTensorMapEncodeTiled)
// clang-format on

// cuda.h's macros rename some functions (cuMemAlloc is cuMemAlloc_v2); members are renamed with them.
struct Table {
#define ATTUNE_DECLARE(function) decltype(&::function) function = nullptr;
  ATTUNE_CUDA_FUNCTIONS(ATTUNE_DECLARE)
#undef ATTUNE_DECLARE
};

// Fills the table from the library at `path` and initialises the driver. Called by Driver::open() alone.
Result<Table> load(const char* path);

// The table of the opened driver. Precondition: Driver::open() has succeeded.
const Table& table();
void set_table(const Table& table);

// "cuX(...) failed: CUDA_ERROR_Y (700), an illegal memory access was encountered, at compiler/driver.cc:12"
Error failure(const Table& table, const char* call, CUresult code, const char* file, int line);

}  // namespace attune::driver_api

// Calls and returns from the enclosing function with an Error if the driver refuses.
#define ATTUNE_CU(call)                                                                                 \
  do {                                                                                                  \
    const CUresult attune_code = ::attune::driver_api::table().call;                                    \
    if (attune_code != CUDA_SUCCESS) {                                                                  \
      return ::attune::driver_api::failure(::attune::driver_api::table(), #call, attune_code, __FILE__, \
                                           __LINE__);                                                   \
    }                                                                                                   \
  } while (false)
