// CUDA C++ to cubin through NVRTC, which is opened at run time (dlopen), never linked.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "base/result.h"
#include "compiler/compiled_kernel.h"
#include "compiler/kernel_source.h"

namespace attune {

class Nvrtc {
 public:
  // Opens libnvrtc.so.13 from ATTUNE_NVRTC (a file), the loader's path, or the CUDA toolkit's usual folders.
  // No library, or one of another major version, is an error that says where it looked and what to install.
  static Result<std::shared_ptr<const Nvrtc>> open();
  virtual ~Nvrtc() = default;

  virtual std::string version() const = 0;  // "13.0"
  virtual std::string path() const = 0;     // the file that was opened

  // The content address of what compile() would make.
  virtual std::string key(const KernelSource& source, const std::string& arch) const = 0;

  // Compiles for an exact arch ("sm_90a"). Never throws for a bad source: outcome error and the log say why.
  // Thread safe; several compiles run at once. A compile past the timeout is given up (outcome timeout).
  virtual CompiledKernel compile(const KernelSource& source, const std::string& arch,
                                 std::chrono::milliseconds timeout) const = 0;
};

}  // namespace attune
