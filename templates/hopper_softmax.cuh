// The online softmax of the Hopper attention kernel, on the accumulator fragments of one warpgroup.
//
// For the scores S of a KV block, in units of log2: m' = max(m, max_j S), P = 2^(S - m'), l' = l 2^(m - m') + sum_j P,
// O' = O 2^(m - m') + P V (Milakov and Gimelshein, arXiv 1805.02867; Dao et al., arXiv 2205.14135). A thread holds two
// rows of the fragment, h = 0 and 1; the four threads of a quad share them. Row sums stay per thread until the end.
#pragma once
#include "hopper_ptx.cuh"

constexpr float kInfinity = __builtin_bit_cast(float, 0x7f800000);

__device__ __forceinline__ float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xffffffff, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xffffffff, x, 2));
}

__device__ __forceinline__ float quad_sum(float x) {
  x += __shfl_xor_sync(0xffffffff, x, 1);
  return x + __shfl_xor_sync(0xffffffff, x, 2);
}

// 2^x on the FMA units, for a share of the exponentials where the special-function units are what binds (FA4's trick):
// x = n + f with |f| <= 1/2, 2^f by a minimax cubic (relative error 7.5e-5, bf16 keeps 4e-3), n added to the exponent.
__device__ __forceinline__ float exp2_polynomial(float x) {
  x = fmaxf(x, -125.0f);  // keeps the exponent in range
  const float shifted = x + 12582912.0f;  // 1.5 * 2^23: the integer part moves to the low mantissa bits
  const float f = x - (shifted - 12582912.0f);
  float y = fmaf(0.055171669f, f, 0.24261112f);
  y = fmaf(y, f, 0.69326099f);
  y = fmaf(y, f, 0.99992807f);
  return __int_as_float(__float_as_int(y) + (__float_as_int(shifted) << 23));
}

struct RowState {
  float max[2];  // the maximum that P is relative to, unscaled
  float sum[2];  // of this thread's columns
};

// Sets the scores a row may not see to minus infinity. limit[h]: how many columns of this block row h sees, counted from
// this thread's first column.
template <int kColumns>
__device__ __forceinline__ void mask_scores(float (&s)[kColumns / 2], const int (&limit)[2]) {
#pragma unroll
  for (int i = 0; i < kColumns / 2; ++i) {
    const int column = i / 4 * 8 + i % 2;
    if (column >= limit[i / 2 % 2]) s[i] = -kInfinity;
  }
}

// Turns the scores into P and updates the row state. rescale[h] is what O and the sums before this block are worth now.
// Returns whether any rescale differs from one, which only the lazy form asks for.
template <int kColumns, bool kFirst, bool kMasked>
__device__ __forceinline__ bool softmax_step(float (&s)[kColumns / 2], RowState& state, float (&rescale)[2], float scale_log2) {
  float top[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    // Two chains a row: one alone would be bound by latency.
    float even = fmaxf(s[2 * h], s[2 * h + 1]);
    float odd = fmaxf(s[2 * h + 4], s[2 * h + 5]);
#pragma unroll
    for (int i = 8; i < kColumns / 2; i += 8) {
      even = fmaxf(fmaxf(even, s[i + 2 * h]), s[i + 2 * h + 1]);
      odd = fmaxf(fmaxf(odd, s[i + 2 * h + 4]), s[i + 2 * h + 5]);
    }
    top[h] = fmaxf(even, odd);
    if constexpr (!kFirst) top[h] = fmaxf(top[h], state.max[h]);
    top[h] = quad_max(top[h]);
  }

  bool moved = true;
  if constexpr (kLazyRescale && !kFirst) {
    // Keep the old maximum while P stays below 2^8: O and the sums then need no rescale (FA4). -inf must always move.
    const float slack = 8.0f;
    const bool grown = (top[0] - state.max[0]) * scale_log2 > slack || (top[1] - state.max[1]) * scale_log2 > slack;
    moved = __any_sync(0xffffffff, grown);
    if (!moved) {
      top[0] = state.max[0];
      top[1] = state.max[1];
    }
  }

  float offset[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    // A row that has seen nothing yet keeps -inf as its maximum; its exponentials are relative to 0, hence all 0.
    const float base = kMasked && top[h] == -kInfinity ? 0.0f : top[h];
    offset[h] = base * scale_log2;
    rescale[h] = kFirst ? 1.0f : ptx::exp2_approx(fmaf(state.max[h], scale_log2, -offset[h]));
    state.max[h] = top[h];
  }

  float sum[2][2] = {};
#pragma unroll
  for (int i = 0; i < kColumns / 2; ++i) {
    const int h = i / 2 % 2;
    const float x = fmaf(s[i], scale_log2, -offset[h]);
    const bool emulate = kEmulatedExp > 0 && !kMasked && i % (kEmulatedExp > 0 ? kEmulatedExp : 1) == kEmulatedExp - 1;
    s[i] = emulate ? exp2_polynomial(x) : ptx::exp2_approx(x);
    sum[h][i / 4 % 2] += s[i];
  }
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const float block_sum = sum[h][0] + sum[h][1];
    state.sum[h] = kFirst ? block_sum : fmaf(state.sum[h], rescale[h], block_sum);
  }
  return moved;
}

// Packs P to the A operand of O += P V: the accumulator layout is the operand layout.
template <int kColumns>
__device__ __forceinline__ void pack_probabilities(u32 (&p)[kColumns / 4], const float (&s)[kColumns / 2]) {
#pragma unroll
  for (int i = 0; i < kColumns / 4; ++i) p[i] = ptx::pack(s[2 * i], s[2 * i + 1]);
}

template <int kCount>
__device__ __forceinline__ void rescale_rows(float (&o)[kCount], const float (&rescale)[2]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) o[i] *= rescale[i / 2 % 2];
}
