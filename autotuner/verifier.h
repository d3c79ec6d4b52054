// Is a kernel's output right? Inputs, references and tolerances of one shape on one GPU.
//
// The rule is that of FlashAttention's tests, and a bound beside it: with ref the fp32 reference and low the
// same computation with scores, probabilities and output rounded to the dtype,
//   max|out - ref| <= 2 max|low - ref| + eps   and   ||out - ref|| / ||ref|| <= tolerance (Frobenius).
// The output is poisoned with NaN before the run and guarded on both sides, so an element that was not
// written, or one written outside, fails.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "autotuner/sampler.h"
#include "base/result.h"
#include "base/shape.h"
#include "compiler/driver.h"
#include "templates/attention_template.h"

namespace attune {

// Files of the loaded kernels that verification and timing need beside the candidate.
struct SupportCubins {
  std::string reference;      // fp32 reference of the shape's class
  std::string low_precision;  // the same, rounding to the dtype
  std::string support;        // support_kernels.cuh
};

// Largest accepted relative Frobenius error. Correct kernels show 2.0e-3 to 2.3e-3 in bf16.
double relative_tolerance(DType dtype);

struct Verdict {
  std::string message;  // why the output is wrong; empty if it is right
  double relative_error = 0;
  double max_abs_error = 0;
  bool right() const { return message.empty(); }
};

enum class Inputs {
  normal,        // Q, K, V from N(0, 1)
  large_logits,  // Q from N(0, 6^2): nearly one-hot rows, which shake a wrong running maximum
};

// Not thread safe.
class Verifier {
 public:
  static Result<Verifier> create(const Context& context, const Stream& stream, const Shape& shape,
                                 const SupportCubins& cubins, const Module& support);

  // Addresses and strides for a launch on these inputs, references made on first use. `workspace` is not set.
  Result<AttentionTensors> tensors(Inputs inputs);

  // What the kernel touches, for the L2 flush.
  std::vector<MemoryRange> ranges(Inputs inputs) const;

  // Poisons the output, runs `launch`, judges. An Error is a failure of the GPU, not of the kernel's answer.
  Result<Verdict> verify(Inputs inputs, const std::function<Status()>& launch);

  // Runs `launch` `repeats` times more; the number of runs whose output differs in any bit from the first's.
  Result<int> count_unstable(Inputs inputs, int repeats, const std::function<Status()>& launch);

 private:
  struct Reference {
    DeviceBuffer q, k, v;
    DeviceBuffer output;  // fp32, at the output's element offsets
    DeviceBuffer lse;
    double low_max_abs = 0;
  };
  struct Difference {
    double relative = 0;
    double max_abs = 0;
    std::uint64_t non_finite = 0;
  };

  Verifier(const Context& context, const Stream& stream, const Shape& shape)
      : context_(&context), stream_(&stream), shape_(shape) {}
  Status prepare(Inputs inputs);
  Result<DeviceBuffer> random(std::int64_t count, std::uint64_t seed, float scale);
  Status run_reference(const std::string& cubin, Reference& reference, std::uint64_t output,
                       std::uint64_t lse);
  Result<Difference> compare(std::uint64_t output, const DeviceBuffer& reference, std::int64_t count,
                             int element_type);
  Result<std::optional<std::string>> damaged_guard();
  AttentionTensors place(const Reference& reference, std::uint64_t output, std::uint64_t lse) const;

  const Context* context_;
  const Stream* stream_;
  Shape shape_;
  SupportCubins cubins_;
  std::optional<Kernel> fill_, compare_, differences_;
  DeviceBuffer result_;  // for the comparison kernels
  DeviceBuffer output_;  // guard, output, guard
  DeviceBuffer lse_;     // guard, lse, guard
  std::array<std::optional<Reference>, 2> references_;
};

}  // namespace attune
