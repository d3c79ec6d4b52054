// What the fuzz targets share. A target is one function of bytes; libFuzzer (preset `fuzz`) or the runner of
// tests/fuzz/run_inputs.cc calls it. What must hold is checked with these: a broken promise aborts.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/result.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace attune {

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

inline void must(bool holds, const char* promise, std::string_view about = "") {
  if (holds) return;
  std::fprintf(stderr, "broken promise: %s: %.*s\n", promise, static_cast<int>(about.size()), about.data());
  std::abort();
}

// An error is one line for people, whatever the input was.
inline void must_be_one_line(const Error& error) {
  must(!error.message.empty(), "an error says something");
  for (const char c : error.message) {
    must(static_cast<unsigned char>(c) >= ' ', "an error is one line", error.message);
  }
}

}  // namespace attune
