// A CUDA driver on a machine whose GPU is gone: it has every function, and each gives CUDA_ERROR_NO_DEVICE.
#include <cuda.h>

#include <cstring>

namespace {

CUresult no_device() {
  return CUDA_ERROR_NO_DEVICE;
}

CUresult error_name(CUresult, const char** text) {
  *text = "CUDA_ERROR_NO_DEVICE";
  return CUDA_SUCCESS;
}

CUresult error_string(CUresult, const char** text) {
  *text = "no CUDA-capable device is detected";
  return CUDA_SUCCESS;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) CUresult cuGetProcAddress_v2(
    const char* symbol, void** function, int, cuuint64_t, CUdriverProcAddressQueryResult*) {
  *function = reinterpret_cast<void*>(&no_device);
  if (std::strcmp(symbol, "cuGetErrorName") == 0) *function = reinterpret_cast<void*>(&error_name);
  if (std::strcmp(symbol, "cuGetErrorString") == 0) *function = reinterpret_cast<void*>(&error_string);
  return CUDA_SUCCESS;
}
