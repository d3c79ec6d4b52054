// A shape that is ready to be launched.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "compiler/compiled_kernel.h"
#include "compiler/driver.h"
#include "runtime/argument_cache.h"
#include "runtime/choice.h"
#include "runtime/fork_watch.h"
#include "runtime/reply.h"
#include "runtime/stream_workspaces.h"

namespace attune {

// The GPU that a library serves, outliving its kernels.
struct Gpu {
  const Driver& driver;
  DeviceFacts facts;
  Context context;                     // primary, retained
  Stream setup;                        // for zeroing workspaces
  unsigned forks = fork_generation();  // when it was opened

  // Whether this is a child process, in which the GPU cannot be used.
  bool forked() const { return fork_generation() != forks; }
};

// Loaded modules by what was loaded: shapes of one class (other lengths, other head counts) share their code,
// so that a program that meets many lengths loads it once. Not thread safe.
class LoadedModules {
 public:
  // The GPU's context is current.
  Result<std::shared_ptr<const Module>> get(const Gpu& gpu, const CompiledKernel& compiled,
                                            std::int64_t smem_bytes);

 private:
  // A kernel's shared memory limit is its module's: another limit, another module.
  std::map<std::pair<std::string, std::int64_t>, std::shared_ptr<const Module>> modules_;
};

class PreparedKernel {
 public:
  // Loads the compiled kernel and allocates workspaces. The GPU's context is current.
  static Result<std::unique_ptr<PreparedKernel>> load(const Gpu& gpu, const Shape& shape, Choice choice,
                                                      const CompiledKernel& compiled, LoadedModules& modules);

  const Shape& shape() const { return shape_; }
  const Choice& choice() const { return choice_; }
  std::int64_t workspace_bytes() const { return workspaces_.bytes(); }

  // Enqueues one launch. The hot path: no lock, no allocation, no I/O unless it fails or, outside a capture,
  // a kernel with a workspace meets more streams than it has workspaces for. Where the caller has no current
  // context, or another device's, the library's is current for the launch.
  Reply launch(const AttentionTensors& tensors, CUstream_st* stream) const;

 private:
  PreparedKernel(const Gpu& gpu, const Shape& shape, Choice choice, std::shared_ptr<const Module> module,
                 Kernel kernel, const LaunchSpec& spec);
  Reply more_workspaces(CUstream_st* stream) const;
  Reply bind(const AttentionTensors& tensors, KernelArgument& argument) const;
  Status enqueue(const KernelArgument& argument, CUstream_st* stream) const;

  const Gpu& gpu_;
  const Shape shape_;
  const Choice choice_;
  const std::shared_ptr<const Module> module_;
  const Kernel kernel_;
  const LaunchSpec spec_;
  const KernelLaunch launch_;
  mutable StreamWorkspaces workspaces_;
  mutable ArgumentCache arguments_;
};

}  // namespace attune
