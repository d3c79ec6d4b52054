// The host side of an attention kernel template: which configs exist for a shape on a device, what source a
// config stands for, and how the compiled kernel is launched on given tensors.
//
// Implementations are immutable after construction and safe to use from any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/device_facts.h"
#include "base/result.h"
#include "base/shape.h"
#include "compiler/kernel_source.h"
#include "templates/attention_params.cuh"
#include "templates/axis.h"
#include "templates/config.h"

namespace attune {

// Device addresses and strides of one call. Addresses are of the caller's context; nothing is owned.
struct AttentionTensors {
  std::uint64_t q = 0, k = 0, v = 0, o = 0;
  std::uint64_t lse = 0;        // 0 when the shape does not want it
  std::uint64_t workspace = 0;  // at least LaunchSpec::workspace_bytes, zeroed once by its owner
  TensorStrides q_strides{}, k_strides{}, v_strides{}, o_strides{};
  float scale = 1.0F;
};

// What does not depend on addresses. Two trials with the same cubin and the same LaunchSpec are the same
// trial.
struct LaunchSpec {
  std::array<unsigned, 3> grid{1, 1, 1};
  std::array<unsigned, 3> block{1, 1, 1};
  std::array<unsigned, 3> cluster{1, 1, 1};
  std::int64_t smem_bytes = 0;       // dynamic shared memory a CTA
  std::int64_t workspace_bytes = 0;  // global memory the kernel needs beside the tensors
  bool programmatic_dependent_launch = false;
  // What bind() takes from the config into the kernel's argument: neither machine code nor grid tell it.
  std::vector<std::int64_t> parameters = {};

  bool operator==(const LaunchSpec&) const = default;
};

// The kernel's parameters as bytes: one struct, passed by value (its size is the kernel's parameter size).
struct KernelArgument {
  alignas(64) std::array<std::byte, 1024> bytes{};
  std::size_t size = 0;
};

class AttentionTemplate {
 public:
  virtual ~AttentionTemplate() = default;

  virtual std::string_view name() const = 0;  // "portable", "hopper"

  // Changes whenever the source of the kernels or what the host side renders changes: trials of another hash
  // are history, not answers.
  virtual std::string_view hash() const = 0;

  // Why the template cannot serve this shape on this device, or ok.
  virtual Status supports(const Shape& shape, const DeviceFacts& device) const = 0;

  // Axes and legality rules for the shape on the device. Precondition: supports().
  virtual SpaceDefinition space(const Shape& shape, const DeviceFacts& device) const = 0;

  // A config that is legal and sensible without any search. Precondition: supports().
  virtual Config default_config(const Shape& shape, const DeviceFacts& device) const = 0;

  // Source and compiler options. Depends on the shape's class (dtype, head_dim, mask, LSE, raggedness), not
  // on its lengths or head counts, so that shapes share cubins. Precondition: the config is legal.
  virtual KernelSource render(const Shape& shape, const DeviceFacts& device, const Config& config) const = 0;

  virtual LaunchSpec launch_spec(const Shape& shape, const DeviceFacts& device,
                                 const Config& config) const = 0;

  // Packs the kernel's parameters for a launch as launch_spec() has it. An address or stride the kernel
  // cannot use (not 16-byte aligned, say) is an error that names the tensor.
  virtual Result<KernelArgument> bind(const Shape& shape, const Config& config, const LaunchSpec& launch,
                                      const AttentionTensors& tensors) const = 0;
};

// All templates, most specific first ("hopper" before "portable").
std::span<const AttentionTemplate* const> attention_templates();

// By name, or an error that lists the names.
Result<const AttentionTemplate*> find_template(std::string_view name);

// The first of attention_templates() that supports the shape on the device, or why none does.
Result<const AttentionTemplate*> default_template(const Shape& shape, const DeviceFacts& device);

// The config that the JSON of a stored record stands for, if the template can serve the shape on the device
// with it: it supports them, and the config is of its space and legal. Text that is no JSON is none either.
std::optional<Config> servable_config(const AttentionTemplate& tmpl, const std::string& config_json,
                                      const Shape& shape, const DeviceFacts& device);

// Multiply and add of QK^T and PV: 4 * batch * q_heads * q_len * kv_len * head_dim, of which a causal mask
// keeps half where q_len == kv_len (the field's convention), else the visible share.
double attention_flops(const Shape& shape);

// Contiguous strides of a shape's tensors in its layout.
TensorStrides contiguous_strides(Layout layout, std::int64_t heads, std::int64_t length,
                                 std::int64_t head_dim);

// Tests and people who edit kernels: take .cuh files from this folder instead of those in the binary. Set
// before first use (the CLI's --kernel-dir, ATTUNE_KERNEL_DIR). Not thread safe.
Status use_kernel_directory(const std::string& folder);

}  // namespace attune
