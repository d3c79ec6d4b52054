#pragma once

#include <string>
#include <utility>

#include "attune/attune.h"
#include "base/result.h"

namespace attune {

// What a call of the C API answers: ATTUNE_OK without text, or a code and the line that explains it.
struct [[nodiscard]] Reply {
  attune_status code = ATTUNE_OK;
  std::string text = {};

  bool ok() const { return code == ATTUNE_OK; }
};

inline Reply reply(attune_status code, Error error) {
  return {code, std::move(error.message)};
}

// For a refusal of the CUDA driver.
inline Reply cuda_reply(Error error) {
  constexpr int kCudaErrorOutOfMemory = 2;
  return reply(error.device_code == kCudaErrorOutOfMemory ? ATTUNE_OUT_OF_MEMORY : ATTUNE_CUDA,
               std::move(error));
}

// For a call in a child of a process that used CUDA.
inline Reply forked_reply() {
  return {
      ATTUNE_CUDA,
      "this process was forked from one that used CUDA, which cannot be used after a fork; start the process "
      "with spawn or exec, and open the library in it"};
}

}  // namespace attune
