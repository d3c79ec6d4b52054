#include "runtime/caller_context.h"

#include <dlfcn.h>

namespace attune {
namespace {

// CUresult and CUstreamCaptureMode of cuda.h.
constexpr int kSuccess = 0;
constexpr int kInvalidContext = 201;
constexpr int kCaptureModeRelaxed = 2;

// The driver is open already; its handle is kept for the process's life.
template <class Function>
Function* entry_point(const Driver& driver, const char* name) {
  void* library = ::dlopen(driver.path().c_str(), RTLD_NOW | RTLD_LOCAL);
  return library == nullptr ? nullptr : reinterpret_cast<Function*>(::dlsym(library, name));
}

}  // namespace

Result<std::optional<int>> current_device(const Driver& driver) {
  auto* get_device = entry_point<int(int*)>(driver, "cuCtxGetDevice");
  if (get_device == nullptr) return fail("{} has no cuCtxGetDevice: update the NVIDIA driver", driver.path());
  int device = 0;
  const int code = get_device(&device);
  if (code == kInvalidContext) return std::optional<int>();
  if (code != kSuccess) {
    Error error = fail("cuCtxGetDevice failed with {}", code);
    error.device_code = code;
    return error;
  }
  return std::optional<int>(device);
}

Result<bool> capturing(const Context& context, CUstream_st* stream) {
  const Context::Scope scope(context);
  if (!scope.status()) return scope.status().error();
  return Stream::borrow(stream).capturing();
}

RelaxedCapture::RelaxedCapture(const Driver& driver)
    : exchange_(entry_point<int(int*)>(driver, "cuThreadExchangeStreamCaptureMode")),
      mode_(kCaptureModeRelaxed) {
  if (exchange_ != nullptr && exchange_(&mode_) != kSuccess) exchange_ = nullptr;
}

RelaxedCapture::~RelaxedCapture() {
  if (exchange_ != nullptr) exchange_(&mode_);
}

}  // namespace attune
