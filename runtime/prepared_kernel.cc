#include "runtime/prepared_kernel.h"

#include <fmt/format.h>

#include <cmath>
#include <span>

#include "runtime/caller_context.h"

namespace attune {
namespace {

constexpr unsigned kPortableClusterCtas = 8;

KernelLaunch launch_of(const LaunchSpec& spec) {
  return {.grid = spec.grid,
          .block = spec.block,
          .cluster = spec.cluster,
          .smem_bytes = spec.smem_bytes,
          .programmatic_dependent_launch = spec.programmatic_dependent_launch};
}

// CUDA_ERROR_INVALID_CONTEXT, CUDA_ERROR_INVALID_HANDLE: nothing was launched.
bool is_wrong_context(int device_code) {
  return device_code == 201 || device_code == 400;
}

Reply check_tensors(const Shape& shape, const AttentionTensors& tensors) {
  const auto null = [](const char* name) {
    return reply(ATTUNE_INVALID_ARGUMENT, fail("tensor {} has no data: its pointer is null", name));
  };
  if (tensors.q == 0) return null("q");
  if (tensors.k == 0) return null("k");
  if (tensors.v == 0) return null("v");
  if (tensors.o == 0) return null("o");
  if (shape.wants_lse && tensors.lse == 0) return null("lse");
  if (!std::isfinite(tensors.scale) || tensors.scale < 0) {
    return reply(ATTUNE_INVALID_ARGUMENT,
                 fail("scale is {}, must be positive (or 0 for 1/sqrt(head_dim))", tensors.scale));
  }
  return {};
}

}  // namespace

Result<std::shared_ptr<const Module>> LoadedModules::get(const Gpu& gpu, const CompiledKernel& compiled,
                                                         std::int64_t smem_bytes) {
  auto& known = modules_[{compiled.cubin_hash, smem_bytes}];
  if (known) return known;
  auto module = Module::load(gpu.context, compiled.cubin);
  if (!module) return module.error();
  known = std::make_shared<const Module>(std::move(*module));
  return known;
}

Result<std::unique_ptr<PreparedKernel>> PreparedKernel::load(const Gpu& gpu, const Shape& shape,
                                                             Choice choice, const CompiledKernel& compiled,
                                                             LoadedModules& modules) {
  const LaunchSpec spec = choice.tmpl->launch_spec(shape, gpu.facts, choice.config);
  auto module = modules.get(gpu, compiled, spec.smem_bytes);
  if (!module) return module.error();
  auto kernel = (*module)->kernel(compiled.entry);
  if (!kernel) return kernel.error();
  if (auto status = kernel->set_max_dynamic_smem(spec.smem_bytes); !status) return status.error();
  if (spec.cluster[0] * spec.cluster[1] * spec.cluster[2] > kPortableClusterCtas) {
    if (auto status = kernel->allow_non_portable_clusters(); !status) return status.error();
  }
  std::unique_ptr<PreparedKernel> prepared(
      new PreparedKernel(gpu, shape, std::move(choice), std::move(*module), *kernel, spec));
  if (spec.workspace_bytes > 0) {
    if (auto status = prepared->workspaces_.extend(); !status) return status.error();
  }
  return prepared;
}

PreparedKernel::PreparedKernel(const Gpu& gpu, const Shape& shape, Choice choice,
                               std::shared_ptr<const Module> module, Kernel kernel, const LaunchSpec& spec)
    : gpu_(gpu),
      shape_(shape),
      choice_(std::move(choice)),
      module_(std::move(module)),
      kernel_(kernel),
      launch_(launch_of(spec)),
      workspaces_(gpu.context, gpu.setup, spec.workspace_bytes) {}

Reply PreparedKernel::launch(const AttentionTensors& tensors, CUstream_st* stream) const {
  if (gpu_.forked()) return forked_reply();
  if (auto checked = check_tensors(shape_, tensors); !checked.ok()) return checked;
  AttentionTensors bound = tensors;
  if (bound.scale == 0) bound.scale = 1.0F / std::sqrt(static_cast<float>(shape_.head_dim));
  if (workspaces_.bytes() > 0) {
    bound.workspace = workspaces_.find(stream);
    if (bound.workspace == 0) {
      if (auto more = more_workspaces(stream); !more.ok()) return more;
      bound.workspace = workspaces_.find(stream);
      if (bound.workspace == 0)
        return {ATTUNE_INTERNAL, "new workspaces were taken by other streams; try again"};
    }
  }
  KernelArgument argument;
  if (!arguments_.find(bound, argument)) {
    if (auto binding = bind(bound, argument); !binding.ok()) return binding;
  }
  if (auto status = enqueue(argument, stream); !status) return cuda_reply(status.error());
  return {};
}

Reply PreparedKernel::bind(const AttentionTensors& tensors, KernelArgument& argument) const {
  auto made = choice_.tmpl->bind(shape_, choice_.config, tensors);
  if (!made && is_wrong_context(made.error().device_code)) {  // tensor maps are encoded in a context
    const Context::Scope scope(gpu_.context);
    if (!scope.status()) return cuda_reply(scope.status().error());
    made = choice_.tmpl->bind(shape_, choice_.config, tensors);
  }
  if (!made) return reply(ATTUNE_INVALID_ARGUMENT, made.error());
  argument = *made;
  arguments_.store(tensors, argument);
  return {};
}

Status PreparedKernel::enqueue(const KernelArgument& argument, CUstream_st* stream) const {
  const auto bytes = std::span(argument.bytes).first(argument.size);
  Status status = kernel_.launch(launch_, bytes, Stream::borrow(stream));
  if (status || !is_wrong_context(status.error().device_code)) return status;
  // A thread that never used CUDA, or one that is busy with another device.
  const Context::Scope scope(gpu_.context);
  if (!scope.status()) return scope.status().error();
  status = kernel_.launch(launch_, bytes, Stream::borrow(stream));
  if (status || !is_wrong_context(status.error().device_code)) return status;
  Error error = status.error();
  error.message +=
      fmt::format("; the stream must be one of GPU {}, which this library serves", gpu_.context.device());
  return error;
}

Reply PreparedKernel::more_workspaces(CUstream_st* stream) const {
  const auto captured = capturing(gpu_.context, stream);
  if (!captured) return cuda_reply(captured.error());
  if (*captured) {
    return {
        ATTUNE_NOT_PREPARED,
        "the stream is being captured and all workspaces belong to other streams; launch the shape on this "
        "stream once before the capture"};
  }
  const RelaxedCapture relaxed(gpu_.driver);
  const Context::Scope scope(gpu_.context);
  if (!scope.status()) return cuda_reply(scope.status().error());
  if (auto status = workspaces_.extend(); !status) return cuda_reply(status.error());
  return {};
}

}  // namespace attune
