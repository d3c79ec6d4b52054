// The reference that candidates are judged by: plain, tiled, fp32, two passes, no tensor cores. The output is
// fp32 at the element offsets that a 16-bit output would have.
//
// A generated prelude defines kHeadDim, kBf16, kCausal and kLowPrecision. With kLowPrecision the scores, the
// probabilities and the output are rounded to the dtype, as a framework without a fused kernel would do: the
// distance of that from fp32 is what a candidate is allowed (twice).
//
//   pass 1:  m_i = max_j s_ij,  l_i = sum_j exp(s_ij - m_i)
//   pass 2:  o_i = sum_j (exp(s_ij - m_i) / l_i) v_j,  lse_i = m_i + ln l_i
//
// One CTA computes kRows query rows of one head. Thread (tx, ty) of 16 x 16 holds rows ty + 16 i and, of a
// score tile, columns tx + 16 j. Shared rows are padded to an odd number of 4-byte words: no bank conflicts.
#include "attention_params.cuh"

using u16 = unsigned short;
using u32 = unsigned int;
using attune::AttentionParams;

constexpr int kRows = 64;     // query rows of a CTA; reference_attention.cc launches accordingly
constexpr int kColumns = 64;  // keys of a tile
constexpr int kLanes = 16;
constexpr int kPairs = kHeadDim / 2;  // elements are read two at a time
constexpr int kPaddedPairs = kPairs | 1;
constexpr int kPairsPerLane = (kPairs + kLanes - 1) / kLanes;
constexpr float kLowest = -1e30f;  // below any score; finite, so that differences of it are not NaN

struct Float2 {
  float x, y;
};

__device__ __forceinline__ float widen(u16 bits) {
  if constexpr (kBf16) return __uint_as_float(static_cast<u32>(bits) << 16);
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
}

__device__ __forceinline__ Float2 widen_pair(u32 bits) {
  return {widen(static_cast<u16>(bits)), widen(static_cast<u16>(bits >> 16))};
}

// To the dtype and back where the low-precision variant rounds.
__device__ __forceinline__ float rounded(float value) {
  if constexpr (!kLowPrecision) return value;
  u16 bits;
  if constexpr (kBf16) {
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  } else {
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  }
  return widen(bits);
}

// Rows [first, first + 64) of a [length, head_dim] matrix; rows beyond its end are zeros.
__device__ __forceinline__ void load_tile(u32* tile, const void* base, long long offset, long long row_stride,
                                          int first, int length) {
  const u16* source = static_cast<const u16*>(base) + offset;
  for (int i = threadIdx.x; i < kRows * kPairs; i += blockDim.x) {
    const int row = i / kPairs, pair = i % kPairs;
    u32 bits = 0;
    if (first + row < length) {
      const u16* element = source + (first + row) * row_stride + 2 * pair;
      bits = element[0] | static_cast<u32>(element[1]) << 16;
    }
    tile[row * kPaddedPairs + pair] = bits;
  }
}

// Scaled and masked scores of rows ty + 16 i against keys tx + 16 j of the tile that begins at `first_key`.
__device__ __forceinline__ void score(const AttentionParams& p, const u32* q, const u32* k, int first_row,
                                      int first_key, float (&s)[4][4]) {
  const int tx = threadIdx.x % kLanes, ty = threadIdx.x / kLanes;
  for (auto& row : s) {
    for (float& value : row) value = 0;
  }
  for (int pair = 0; pair < kPairs; ++pair) {
    Float2 key[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) key[j] = widen_pair(k[(tx + kLanes * j) * kPaddedPairs + pair]);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const Float2 query = widen_pair(q[(ty + kLanes * i) * kPaddedPairs + pair]);
#pragma unroll
      for (int j = 0; j < 4; ++j) s[i][j] += query.x * key[j].x + query.y * key[j].y;
    }
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int row = first_row + ty + kLanes * i, key = first_key + tx + kLanes * j;
      const bool visible = key < p.kv_len && (!kCausal || key <= row + p.causal_offset);
      s[i][j] = visible ? rounded(s[i][j] * p.scale) : kLowest;
    }
  }
}

extern "C" __global__ void __launch_bounds__(256)
    reference_attention(const __grid_constant__ AttentionParams p) {
  extern __shared__ u32 shared[];
  u32* q = shared;
  u32* kv = q + kRows * kPaddedPairs;
  float* probabilities = reinterpret_cast<float*>(kv + kColumns * kPaddedPairs);  // [kRows][kColumns]
  const int tx = threadIdx.x % kLanes, ty = threadIdx.x / kLanes;
  const int first_row = blockIdx.x * kRows, head = blockIdx.y, batch = blockIdx.z;
  const int kv_head = head / (p.q_heads / p.kv_heads);
  const long long k_offset = batch * p.k_strides.batch + kv_head * p.k_strides.head;
  const long long v_offset = batch * p.v_strides.batch + kv_head * p.v_strides.head;
  int keys = p.kv_len;  // keys that any row of the CTA sees
  if (kCausal) keys = max(0, min(keys, first_row + kRows + p.causal_offset));

  load_tile(q, p.q, batch * p.q_strides.batch + head * p.q_strides.head, p.q_strides.seq, first_row, p.q_len);
  float s[4][4], m[4], l[4];
  for (int i = 0; i < 4; ++i) m[i] = kLowest, l[i] = 0;
  for (int key = 0; key < keys; key += kColumns) {
    __syncthreads();
    load_tile(kv, p.k, k_offset, p.k_strides.seq, key, p.kv_len);
    __syncthreads();
    score(p, q, kv, first_row, key, s);
    for (int i = 0; i < 4; ++i) {
      float top = fmaxf(fmaxf(s[i][0], s[i][1]), fmaxf(s[i][2], s[i][3]));
      for (int lane = kLanes / 2; lane > 0; lane /= 2) top = fmaxf(top, __shfl_xor_sync(~0u, top, lane));
      const float m_new = fmaxf(m[i], top);
      float sum = 0;
      for (int j = 0; j < 4; ++j) sum += s[i][j] > kLowest ? expf(s[i][j] - m_new) : 0.0f;
      for (int lane = kLanes / 2; lane > 0; lane /= 2) sum += __shfl_xor_sync(~0u, sum, lane);
      l[i] = l[i] * expf(m[i] - m_new) + sum;
      m[i] = m_new;
    }
  }

  Float2 o[4][kPairsPerLane];
  for (auto& row : o) {
    for (Float2& value : row) value = {0, 0};
  }
  for (int key = 0; key < keys; key += kColumns) {
    __syncthreads();
    load_tile(kv, p.k, k_offset, p.k_strides.seq, key, p.kv_len);
    __syncthreads();
    score(p, q, kv, first_row, key, s);
    for (int i = 0; i < 4; ++i) {
      for (int j = 0; j < 4; ++j) {
        const float probability = s[i][j] > kLowest ? expf(s[i][j] - m[i]) / l[i] : 0.0f;
        probabilities[(ty + kLanes * i) * kColumns + tx + kLanes * j] = rounded(probability);
      }
    }
    __syncthreads();
    load_tile(kv, p.v, v_offset, p.v_strides.seq, key, p.kv_len);
    __syncthreads();
    for (int column = 0; column < kColumns; ++column) {
#pragma unroll
      for (int c = 0; c < kPairsPerLane; ++c) {
        const int pair = tx + kLanes * c;
        if (pair >= kPairs) continue;
        const Float2 value = widen_pair(kv[column * kPaddedPairs + pair]);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const float probability = probabilities[(ty + kLanes * i) * kColumns + column];
          o[i][c].x += probability * value.x;
          o[i][c].y += probability * value.y;
        }
      }
    }
  }

  float* output = static_cast<float*>(p.o) + batch * p.o_strides.batch + head * p.o_strides.head;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int row = first_row + ty + kLanes * i;
    if (row >= p.q_len) continue;
#pragma unroll
    for (int c = 0; c < kPairsPerLane; ++c) {
      const int pair = tx + kLanes * c;
      if (pair >= kPairs) continue;
      output[row * p.o_strides.seq + 2 * pair] = rounded(o[i][c].x);
      output[row * p.o_strides.seq + 2 * pair + 1] = rounded(o[i][c].y);
    }
    if (p.lse != nullptr && tx == 0) {
      const float none = __int_as_float(0xff800000);  // -infinity: the row sees no key
      p.lse[(static_cast<long long>(batch) * p.q_heads + head) * p.q_len + row] =
          l[i] > 0 ? m[i] + logf(l[i]) : none;
    }
  }
}
