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

__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (int bit = 16; bit >= 1; bit /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffff, x, bit));
  return x;
}

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int bit = 16; bit >= 1; bit /= 2) x += __shfl_xor_sync(0xffffffff, x, bit);
  return x;
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

// The softmax of one block: turns the scores into P, packed to the A operand of O += P V, whose layout is the accumulator's,
// and updates the row state. In parts that can be ordered among the waits around them.
template <int kColumns, bool kFirst, bool kMasked>
struct SoftmaxBlock {
  float (&s)[kColumns / 2];
  u32 (&p)[kColumns / 4];
  RowState& state;
  const float scale_log2;
  float top[2], offset[2], rescale[2], sum[2][2];

  __device__ __forceinline__ SoftmaxBlock(float (&s)[kColumns / 2], u32 (&p)[kColumns / 4], RowState& state, float scale_log2)
      : s(s), p(p), state(state), scale_log2(scale_log2), sum{} {}

  __device__ __forceinline__ void find_maximum(int h) {
    // Two chains: one alone would be bound by latency.
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

  // rescale[h] is what O and the sums before this block are worth now.
  __device__ __forceinline__ void use_maximum(int h) {
    // A row that has seen nothing yet keeps -inf as its maximum; its exponentials are relative to 0, hence all 0.
    const float base = kMasked && top[h] == -kInfinity ? 0.0f : top[h];
    offset[h] = base * scale_log2;
    rescale[h] = kFirst ? 1.0f : ptx::exp2_approx(fmaf(state.max[h], scale_log2, -offset[h]));
    state.max[h] = top[h];
  }

  // ---- all at once ----

  __device__ __forceinline__ void exponentials_and_sums() {
#pragma unroll
    for (int i = 0; i < kColumns / 2; ++i) {
      const int h = i / 2 % 2;
      s[i] = ptx::exp2_approx(fmaf(s[i], scale_log2, -offset[h]));
      sum[h][i / 4 % 2] += s[i];
    }
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float block_sum = sum[h][0] + sum[h][1];
      state.sum[h] = kFirst ? block_sum : fmaf(state.sum[h], rescale[h], block_sum);
    }
  }

  __device__ __forceinline__ void pack() {
#pragma unroll
    for (int i = 0; i < kColumns / 4; ++i) p[i] = ptx::pack(s[2 * i], s[2 * i + 1]);
  }

  // ---- by batches of one row's elements ----

  static constexpr int kRowElements = kColumns / 4;  // of a thread in each of its two rows
  static constexpr int kBatch = kRowElements < 16 ? kRowElements : 16;
  static constexpr int kRowBatches = (kRowElements + kBatch - 1) / kBatch;
  static constexpr int kBatches = 2 * kRowBatches;

  // Element k of row h.
  static __device__ __forceinline__ constexpr int element(int h, int k) { return k / 2 * 4 + 2 * h + k % 2; }

  __device__ __forceinline__ void exponentials(int batch) {
    const int h = batch / kRowBatches, begin = batch % kRowBatches * kBatch;
#pragma unroll
    for (int k = begin; k < begin + kBatch && k < kRowElements; ++k) {
      float& value = s[element(h, k)];
      value = ptx::exp2_approx(fmaf(value, scale_log2, -offset[h]));
      ptx::pin(value);
    }
  }

  __device__ __forceinline__ void sum_and_pack(int batch) {
    const int h = batch / kRowBatches, begin = batch % kRowBatches * kBatch;
    if (begin == 0) sum[h][0] = state.sum[h] * rescale[h];
#pragma unroll
    for (int k = begin; k < begin + kBatch && k < kRowElements; k += 2) {
      const int i = element(h, k);
      sum[h][k / 2 % 2] += s[i];
      sum[h][k / 2 % 2] += s[i + 1];
      p[i / 2] = ptx::pack(s[i], s[i + 1]);
    }
    if (begin + kBatch >= kRowElements) state.sum[h] = sum[h][0] + sum[h][1];
  }
};
