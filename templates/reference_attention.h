// Host side of the reference kernel (reference_attention.cuh).
#pragma once

#include "compiler/kernel_source.h"
#include "templates/attention_template.h"

namespace attune {

// `low_precision`: scores, probabilities and output rounded to the dtype. Any arch from sm_80 on.
KernelSource reference_source(const Shape& shape, bool low_precision);

LaunchSpec reference_launch(const Shape& shape);

}  // namespace attune
