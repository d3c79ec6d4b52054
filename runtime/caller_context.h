// What the runtime must know of its caller's CUDA state, beside compiler/driver.h.
#pragma once

#include <optional>

#include "compiler/driver.h"

namespace attune {

// The device of the calling thread's current context; nothing where no context is current.
Result<std::optional<int>> current_device(const Driver& driver);

// Whether the caller's stream is being captured. Asked in `context`, whose default stream NULL is, as a
// thread without a context cannot ask.
Result<bool> capturing(const Context& context, CUstream_st* stream);

// Within the scope this thread may load modules and allocate memory while another thread captures a graph
// (cuThreadExchangeStreamCaptureMode, relaxed).
class RelaxedCapture {
 public:
  explicit RelaxedCapture(const Driver& driver);
  ~RelaxedCapture();
  RelaxedCapture(const RelaxedCapture&) = delete;
  RelaxedCapture& operator=(const RelaxedCapture&) = delete;

 private:
  int (*exchange_)(int* mode) = nullptr;
  int mode_ = 0;
};

}  // namespace attune
