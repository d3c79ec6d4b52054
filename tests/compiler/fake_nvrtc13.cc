// An NVRTC that compiles nothing, and whose threads take their time to end, as those of the real one do: it
// keeps things for each thread, which go when the thread goes.
#include <nvrtc.h>

#include <atomic>
#include <chrono>
#include <thread>

#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace {

std::atomic<int> threads_ended{0};

struct KeptForAThread {
  bool used = false;
  ~KeptForAThread() {
    std::this_thread::sleep_for(
        std::chrono::milliseconds(50));  // whoever does not wait for the thread is seen
    ++threads_ended;
  }
};
thread_local KeptForAThread kept;

}  // namespace

EXPORTED int fake_nvrtc13_threads_ended() {
  return threads_ended;
}

EXPORTED nvrtcResult nvrtcVersion(int* major, int* minor) {
  *major = 13;
  *minor = 0;
  return NVRTC_SUCCESS;
}

EXPORTED const char* nvrtcGetErrorString(nvrtcResult) {
  return "this one compiles nothing";
}

EXPORTED nvrtcResult nvrtcCreateProgram(nvrtcProgram* program, const char*, const char*, int,
                                        const char* const*, const char* const*) {
  static int any;
  *program = reinterpret_cast<nvrtcProgram>(&any);
  return NVRTC_SUCCESS;
}

EXPORTED nvrtcResult nvrtcDestroyProgram(nvrtcProgram*) {
  return NVRTC_SUCCESS;
}

EXPORTED nvrtcResult nvrtcCompileProgram(nvrtcProgram, int, const char* const*) {
  kept.used = true;
  return NVRTC_ERROR_COMPILATION;
}

EXPORTED nvrtcResult nvrtcGetCUBINSize(nvrtcProgram, size_t*) {
  return NVRTC_ERROR_INVALID_PROGRAM;
}
EXPORTED nvrtcResult nvrtcGetCUBIN(nvrtcProgram, char*) {
  return NVRTC_ERROR_INVALID_PROGRAM;
}
EXPORTED nvrtcResult nvrtcGetProgramLogSize(nvrtcProgram, size_t*) {
  return NVRTC_ERROR_INVALID_PROGRAM;
}
EXPORTED nvrtcResult nvrtcGetProgramLog(nvrtcProgram, char*) {
  return NVRTC_ERROR_INVALID_PROGRAM;
}
EXPORTED nvrtcResult nvrtcSetFlowCallback(nvrtcProgram, int (*)(void*, void*), void*) {
  return NVRTC_SUCCESS;
}
