// Compiles on several threads, through the cubin store: what the store has is never compiled.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "compiler/cubin_store.h"
#include "compiler/nvrtc.h"

namespace attune {

struct CompileStats {
  std::int64_t compiled = 0;  // by NVRTC, whatever the outcome
  std::int64_t from_store = 0;
  double compile_seconds = 0;  // summed over threads
};

class CompilePool {
 public:
  // `nvrtc` may be null: then only what the store has can be had (lookups on a machine without NVRTC).
  CompilePool(std::shared_ptr<const Nvrtc> nvrtc, CubinStore store, int threads,
              std::chrono::milliseconds timeout);
  ~CompilePool();  // drops what has not started, waits for what has

  // In order of submission. Two of the same key that meet are compiled once; the second counts as from the
  // store. Runs `done` on a pool thread when the kernel is compiled, found, or has failed. `done` must not
  // block or throw. What the destructor drops never runs its `done`.
  void submit(KernelSource source, std::string arch, std::function<void(CompiledKernel)> done);

  // The same on the caller's thread.
  CompiledKernel compile(const KernelSource& source, const std::string& arch);

  CompileStats stats() const;
  const CubinStore& store() const;
  std::string nvrtc_version() const;  // "" without NVRTC
  int threads() const;

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace attune
