// The two matrix products of the Hopper kernel in PTX, which depends on their shapes and is therefore
// rendered.
#pragma once

#include <cstdint>
#include <string>

#include "base/shape.h"

namespace attune {

// CUDA C++ of namespace ptx, for the prelude of hopper_attention.cuh:
//
//   wgmma_scores(s, a, b, accumulate)   S[64, block_n] (+)= A[64, head_dim] B, B stored [block_n][head_dim]
//   wgmma_output(o, a, b, accumulate)   O[64, head_dim] (+)= A[64, block_n] B, B stored [block_n][head_dim]
//
// Each issues all of its wgmmas (PTX ISA 9.7.15), one for every 16 of the inner dimension, and waits for
// none. b has the operand descriptors of these steps; a likewise, or where it points to 32-bit words A
// itself, four registers a step. Both dimensions are multiples of 16.
std::string render_hopper_gemm(DType dtype, std::int64_t head_dim, std::int64_t block_n);

}  // namespace attune
