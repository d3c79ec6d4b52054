#pragma once

#include "templates/attention_params.cuh"
#include "templates/attention_template.h"

namespace attune {

// The parameter of the portable and the reference kernel. Nothing is checked.
AttentionParams attention_params(const Shape& shape, const AttentionTensors& tensors);

}  // namespace attune
