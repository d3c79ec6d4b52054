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
  // Opens libnvrtc.so.13 from ATTUNE_NVRTC (a file; nothing else is tried then), the loader's path,
  // CUDA_HOME, or the CUDA toolkit's usual folders. No library, or one of another major version, is an error
  // that says where it looked and what to install.
  static Result<std::shared_ptr<const Nvrtc>> open();
  virtual ~Nvrtc() = default;

  virtual std::string version() const = 0;  // "13.0"
  virtual std::string path() const = 0;     // the file that was opened

  // The content address of what compile() would make.
  virtual std::string key(const KernelSource& source, const std::string& arch) const = 0;

  // Compiles for an exact arch ("sm_90a"). Never throws for a bad source: outcome error and the log say why.
  // Thread safe; several compiles run at once. Zero or less: no timeout.
  //
  // A compile past the timeout is given up (outcome timeout) at once. NVRTC itself can only be stopped
  // between its passes: within one (all of template instantiation and constant evaluation, a long
  // optimisation of one huge function) it goes on, on a thread of its own, until the pass ends; abandoned()
  // counts these. And NVRTC 13.0 parses one source at a time in a process: one that never ends its front end
  // makes every other compile time out (their logs say so); only a new process helps. NVRTC has been seen to
  // crash on malformed inline PTX; that ends the process.
  virtual CompiledKernel compile(const KernelSource& source, const std::string& arch,
                                 std::chrono::milliseconds timeout) const = 0;

  // Compiles past their timeout that still hold a core and memory.
  virtual int abandoned() const { return 0; }
};

}  // namespace attune
