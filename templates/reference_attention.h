// The fp32 reference kernel (reference_attention.cuh): what every candidate's output is compared with.
#pragma once

#include "templates/attention_template.h"

namespace attune {

// `low_precision`: scores, probabilities and output rounded to the shape's dtype, as a framework does that stores
// each step; its distance from the fp32 result is what an error is measured against. Both write fp32. The source
// depends on dtype, head_dim, mask and LSE alone; compute capability 8.0 or newer.
KernelSource reference_source(const Shape& shape, bool low_precision);

const char* reference_entry();

LaunchSpec reference_launch(const Shape& shape);

// The parameters of the portable and the reference kernel, unchecked. For the reference, `o` is fp32 and o_strides
// count its elements. `lse` is dropped when the shape does not want it.
AttentionParams attention_params(const Shape& shape, const AttentionTensors& tensors);

}  // namespace attune
