#include "autotuner/verifier.h"

#include <bit>
#include <cmath>

#include "templates/attention_params.h"
#include "templates/reference_attention.h"

namespace attune {
namespace {

constexpr std::int64_t kGuardBytes = 64 * 1024;
constexpr std::uint8_t kGuardPattern = 0xA5;
constexpr std::uint8_t kPoison = 0xFF;  // 0xFFFF is a NaN in bf16 and fp16, 0xFFFFFFFF in fp32
constexpr double kAbsoluteSlack = 1e-5;
constexpr double kLseTolerance = 1e-3;  // absolute, natural log
constexpr std::uint64_t kSeed = 20260101;

// Mirror support_kernels.cuh.
enum ElementType : int { kBf16 = 0, kFp16 = 1, kFp32 = 2 };
struct FillArgument {
  std::uint64_t data, count, seed;
  float scale;
  int type;
};
struct ComparisonResult {
  double squared_difference, squared_reference;
  std::uint64_t non_finite;
  std::uint32_t max_abs_bits, reserved;
};
struct CompareArgument {
  std::uint64_t output, reference, count, result;
  int type;
};
struct DifferencesArgument {
  std::uint64_t a, b, words, result;
};

const KernelLaunch kGridStride{.grid = {1056, 1, 1}, .block = {256, 1, 1}};

template <class Argument>
std::span<const std::byte> bytes_of(const Argument& argument) {
  return std::as_bytes(std::span(&argument, 1));
}

int element_type(DType dtype) {
  return dtype == DType::bf16 ? kBf16 : kFp16;
}

std::int64_t q_elements(const Shape& s) {
  return s.batch * s.q_heads * s.q_len * s.head_dim;
}
std::int64_t kv_elements(const Shape& s) {
  return s.batch * s.kv_heads * s.kv_len * s.head_dim;
}
std::int64_t rows(const Shape& s) {
  return s.batch * s.q_heads * s.q_len;
}

}  // namespace

double relative_tolerance(DType dtype) {
  return dtype == DType::bf16 ? 5e-3 : 1e-3;
}

Result<Verifier> Verifier::create(const Context& context, const Stream& stream, const Shape& shape,
                                  const SupportCubins& cubins, const Module& support) {
  Verifier verifier(context, stream, shape);
  verifier.cubins_ = cubins;
  for (auto& [kernel, entry] :
       {std::pair(&verifier.fill_, "fill_normal"), std::pair(&verifier.compare_, "compare_outputs"),
        std::pair(&verifier.differences_, "count_differences")}) {
    auto found = support.kernel(entry);
    if (!found) return found.error();
    *kernel = *found;
  }
  const std::int64_t output_bytes = 2 * q_elements(shape) + 2 * kGuardBytes;
  const std::int64_t lse_bytes = shape.wants_lse ? 4 * rows(shape) + 2 * kGuardBytes : 0;
  for (auto& [buffer, bytes] :
       {std::pair(&verifier.output_, output_bytes), std::pair(&verifier.lse_, lse_bytes),
        std::pair(&verifier.result_, std::int64_t{sizeof(ComparisonResult)})}) {
    auto allocated = DeviceBuffer::allocate(context, bytes);
    if (!allocated) return allocated.error();
    *buffer = std::move(*allocated);
  }
  return verifier;
}

AttentionTensors Verifier::place(const Reference& reference, std::uint64_t output, std::uint64_t lse) const {
  const Shape& s = shape_;
  const TensorStrides q = contiguous_strides(s.layout, s.q_heads, s.q_len, s.head_dim);
  const TensorStrides kv = contiguous_strides(s.layout, s.kv_heads, s.kv_len, s.head_dim);
  return {.q = reference.q.address(),
          .k = reference.k.address(),
          .v = reference.v.address(),
          .o = output,
          .lse = s.wants_lse ? lse : 0,
          .q_strides = q,
          .k_strides = kv,
          .v_strides = kv,
          .o_strides = q,
          .scale = 1.0F / std::sqrt(static_cast<float>(s.head_dim))};
}

Result<DeviceBuffer> Verifier::random(std::int64_t count, std::uint64_t seed, float scale) {
  auto buffer = DeviceBuffer::allocate(*context_, 2 * count);
  if (!buffer) return buffer.error();
  const FillArgument argument{buffer->address(), static_cast<std::uint64_t>(count), seed, scale,
                              element_type(shape_.dtype)};
  if (auto status = fill_->launch(kGridStride, bytes_of(argument), *stream_); !status) return status.error();
  return buffer;
}

Status Verifier::run_reference(const std::string& cubin, Reference& reference, std::uint64_t output,
                               std::uint64_t lse) {
  auto module = Module::load_file(*context_, cubin);
  if (!module) return module.error();
  auto kernel = module->kernel("reference_attention");
  if (!kernel) return kernel.error();
  const LaunchSpec spec = reference_launch(shape_);
  if (auto status = kernel->set_max_dynamic_smem(spec.smem_bytes); !status) return status;
  const AttentionParams params = attention_params(shape_, place(reference, output, lse));
  const KernelLaunch launch{.grid = spec.grid, .block = spec.block, .smem_bytes = spec.smem_bytes};
  if (auto status = kernel->launch(launch, bytes_of(params), *stream_); !status) return status;
  return stream_->synchronize();
}

Status Verifier::prepare(Inputs inputs) {
  auto& slot = references_.at(static_cast<std::size_t>(inputs));
  if (slot) return {};
  Reference reference;
  const float q_scale = inputs == Inputs::large_logits ? 6.0F : 1.0F;
  const std::array<std::tuple<DeviceBuffer*, std::int64_t, float>, 3> tensors{
      {{&reference.q, q_elements(shape_), q_scale},
       {&reference.k, kv_elements(shape_), 1.0F},
       {&reference.v, kv_elements(shape_), 1.0F}}};
  std::uint64_t seed = kSeed;
  for (const auto& [buffer, count, scale] : tensors) {
    auto filled = random(count, seed++, scale);
    if (!filled) return filled.error();
    *buffer = std::move(*filled);
  }
  DeviceBuffer low;
  DeviceBuffer low_lse;
  const std::int64_t lse_bytes = shape_.wants_lse ? 4 * rows(shape_) : 0;
  for (auto& [buffer, bytes] :
       {std::pair(&reference.output, 4 * q_elements(shape_)), std::pair(&low, 4 * q_elements(shape_)),
        std::pair(&reference.lse, lse_bytes), std::pair(&low_lse, lse_bytes)}) {
    auto allocated = DeviceBuffer::allocate(*context_, bytes);
    if (!allocated) return allocated.error();
    *buffer = std::move(*allocated);
  }
  if (auto status =
          run_reference(cubins_.reference, reference, reference.output.address(), reference.lse.address());
      !status)
    return status;
  if (auto status = run_reference(cubins_.low_precision, reference, low.address(), low_lse.address());
      !status)
    return status;
  const auto difference = compare(low.address(), reference.output, q_elements(shape_), kFp32);
  if (!difference) return difference.error();
  reference.low_max_abs = difference->max_abs;
  slot = std::move(reference);
  return {};
}

Result<AttentionTensors> Verifier::tensors(Inputs inputs) {
  if (auto status = prepare(inputs); !status) return status.error();
  return place(*references_.at(static_cast<std::size_t>(inputs)), output_.address() + kGuardBytes,
               shape_.wants_lse ? lse_.address() + kGuardBytes : 0);
}

std::vector<MemoryRange> Verifier::ranges(Inputs inputs) const {
  const Reference& reference = *references_.at(static_cast<std::size_t>(inputs));
  return {{reference.q.address(), reference.q.bytes()},
          {reference.k.address(), reference.k.bytes()},
          {reference.v.address(), reference.v.bytes()},
          {output_.address(), output_.bytes()}};
}

Result<Verifier::Difference> Verifier::compare(std::uint64_t output, const DeviceBuffer& reference,
                                               std::int64_t count, int type) {
  if (auto status = result_.fill(0, *stream_); !status) return status.error();
  const CompareArgument argument{output, reference.address(), static_cast<std::uint64_t>(count),
                                 result_.address(), type};
  if (auto status = compare_->launch(kGridStride, bytes_of(argument), *stream_); !status)
    return status.error();
  ComparisonResult result{};
  if (auto status = result_.download(std::as_writable_bytes(std::span(&result, 1)), *stream_); !status)
    return status.error();
  if (auto status = stream_->synchronize(); !status) return status.error();
  // A reference of zeros alone (every row masked) is matched by zeros alone.
  const double scale = result.squared_reference > 0 ? result.squared_reference : 1e-30;
  return Difference{std::sqrt(result.squared_difference / scale), std::bit_cast<float>(result.max_abs_bits),
                    result.non_finite};
}

Result<std::optional<std::string>> Verifier::damaged_guard() {
  for (const auto& [buffer, name] : {std::pair(&output_, "output"), std::pair(&lse_, "LSE")}) {
    if (buffer->bytes() == 0) continue;
    for (const auto& [offset, side] :
         {std::pair(std::int64_t{0}, "before"), std::pair(buffer->bytes() - kGuardBytes, "after")}) {
      std::vector<std::byte> guard(kGuardBytes);
      if (auto status = buffer->download(guard, *stream_, offset); !status) return status.error();
      if (auto status = stream_->synchronize(); !status) return status.error();
      for (const std::byte byte : guard) {
        if (byte != std::byte{kGuardPattern})
          return std::optional(fmt::format("wrote outside: memory {} the {} changed", side, name));
      }
    }
  }
  return std::optional<std::string>();
}

Result<Verdict> Verifier::verify(Inputs inputs, const std::function<Status()>& launch) {
  if (auto status = prepare(inputs); !status) return status.error();
  const Reference& reference = *references_.at(static_cast<std::size_t>(inputs));
  for (const auto& buffer : {&output_, &lse_}) {
    if (buffer->bytes() == 0) continue;
    if (auto status = buffer->fill(kGuardPattern, *stream_); !status) return status.error();
    if (auto status = buffer->fill_range(kPoison, kGuardBytes, buffer->bytes() - 2 * kGuardBytes, *stream_);
        !status)
      return status.error();
  }
  if (auto status = launch(); !status) return status.error();
  const auto difference = compare(output_.address() + kGuardBytes, reference.output, q_elements(shape_),
                                  element_type(shape_.dtype));
  if (!difference) return difference.error();
  Verdict verdict{
      .message = "", .relative_error = difference->relative, .max_abs_error = difference->max_abs};
  const double max_abs_bound = 2 * reference.low_max_abs + kAbsoluteSlack;
  const double relative_bound = relative_tolerance(shape_.dtype);
  const char* on = inputs == Inputs::normal ? "normal inputs" : "large logits";
  if (difference->non_finite > 0) {
    verdict.message = fmt::format("{} output elements are NaN or infinite, or were not written ({})",
                                  difference->non_finite, on);
  } else if (!(difference->relative <= relative_bound)) {
    verdict.message =
        fmt::format("relative error {:.2e} exceeds {:.0e} ({})", difference->relative, relative_bound, on);
  } else if (!(difference->max_abs <= max_abs_bound)) {
    verdict.message =
        fmt::format("max abs error {:.2e} exceeds {:.2e}, twice that of a low-precision reference ({})",
                    difference->max_abs, max_abs_bound, on);
  }
  if (verdict.right() && shape_.wants_lse) {
    const auto lse = compare(lse_.address() + kGuardBytes, reference.lse, rows(shape_), kFp32);
    if (!lse) return lse.error();
    if (lse->non_finite > 0 || !(lse->max_abs <= kLseTolerance)) {
      verdict.message =
          fmt::format("LSE is off by {:.2e}, {} elements not finite ({})", lse->max_abs, lse->non_finite, on);
    }
  }
  if (verdict.right()) {
    auto guard = damaged_guard();
    if (!guard) return guard.error();
    if (*guard) verdict.message = **guard;
  }
  return verdict;
}

Result<int> Verifier::count_unstable(Inputs inputs, int repeats, const std::function<Status()>& launch) {
  if (auto status = prepare(inputs); !status) return status.error();
  if (auto status = launch(); !status) return status.error();
  auto first = DeviceBuffer::allocate(*context_, output_.bytes());
  if (!first) return first.error();
  if (auto status = first->copy_from(output_, *stream_); !status) return status.error();
  int unstable = 0;
  for (int i = 0; i < repeats; ++i) {
    if (auto status = result_.fill(0, *stream_); !status) return status.error();
    if (auto status = launch(); !status) return status.error();
    const DifferencesArgument argument{output_.address(), first->address(),
                                       static_cast<std::uint64_t>(output_.bytes()) / 4, result_.address()};
    if (auto status = differences_->launch(kGridStride, bytes_of(argument), *stream_); !status)
      return status.error();
    std::uint64_t differing = 0;
    if (auto status = result_.download(std::as_writable_bytes(std::span(&differing, 1)), *stream_); !status)
      return status.error();
    if (auto status = stream_->synchronize(); !status) return status.error();
    unstable += differing != 0;
  }
  return unstable;
}

}  // namespace attune
