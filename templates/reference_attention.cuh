// What every attention kernel is compared with: softmax(scale Q K^T + mask) V in fp32, two passes over K (maxima and
// sums, then probabilities), no tensor cores, no exponent tricks. O is written as fp32.
//
// kLowPrecision rounds to the element type what a framework rounds that stores each step as a tensor: scores,
// probabilities, output. Its distance from the fp32 result is the scale of errors that the inputs' type implies.
//
// 256 threads as 16 x 16. A CTA owns kRows query rows of one head; thread (ty, tx) computes of each block of scores the
// rows ty + 16 i and keys tx + 16 j, and of the output the same rows and columns 4 tx + 64 j + {0..3}.
#include "attention_params.cuh"
#include "portable_ptx.cuh"

namespace {

using namespace config;

constexpr int kThreads = 256;
constexpr int kRowsPerThread = kHeadDim <= 128 ? 4 : 2;
constexpr int kRows = 16 * kRowsPerThread;
constexpr int kKeys = kRows;
constexpr int kStride = kHeadDim + 4;  // floats; an odd number of 16-byte words, so 16 rows never share a bank
constexpr int kScoreStride = kKeys + 1;
constexpr int kColumnGroups = (kHeadDim + 63) / 64;
constexpr float kInfinity = __builtin_bit_cast(float, 0x7f800000u);

__device__ __forceinline__ float rounded(float x) { return kLowPrecision ? ptx::round_to<Element>(x) : x; }

__device__ __forceinline__ void load_rows(float* to, const void* from, long long first, long long stride, int rows) {
  const ptx::u16* source = static_cast<const ptx::u16*>(from) + first;
#pragma unroll 4
  for (int i = threadIdx.x; i < kRows * kHeadDim; i += kThreads) {
    const int row = i / kHeadDim, column = i % kHeadDim;
    to[row * kStride + column] = row < rows ? ptx::widen<Element>(source[row * stride + column]) : 0.0f;
  }
}

struct Block {
  const attune::AttentionParams& p;
  const float* q;
  float* kv;
  int first_row, keys, ty, tx;

  // Scores of kKeys keys from `first`, -inf where masked.
  __device__ __forceinline__ void scores(float (&s)[kRowsPerThread][kRowsPerThread], long long k_head, int first) {
    __syncthreads();
    load_rows(kv, p.k, k_head + first * p.k_strides.seq, p.k_strides.seq, min(kKeys, p.kv_len - first));
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kRowsPerThread; ++i) {
#pragma unroll
      for (int j = 0; j < kRowsPerThread; ++j) s[i][j] = 0.0f;
    }
#pragma unroll 4
    for (int d = 0; d < kHeadDim; d += 4) {
      float4 a[kRowsPerThread], b[kRowsPerThread];
#pragma unroll
      for (int i = 0; i < kRowsPerThread; ++i) {
        a[i] = *reinterpret_cast<const float4*>(q + (ty + 16 * i) * kStride + d);
        b[i] = *reinterpret_cast<const float4*>(kv + (tx + 16 * i) * kStride + d);
      }
#pragma unroll
      for (int i = 0; i < kRowsPerThread; ++i) {
#pragma unroll
        for (int j = 0; j < kRowsPerThread; ++j) {
          s[i][j] += a[i].x * b[j].x + a[i].y * b[j].y + a[i].z * b[j].z + a[i].w * b[j].w;
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kRowsPerThread; ++i) {
#pragma unroll
      for (int j = 0; j < kRowsPerThread; ++j) {
        const int row = first_row + ty + 16 * i, key = first + tx + 16 * j;
        const bool visible = key < p.kv_len && (!kCausal || key <= row + p.causal_offset);
        s[i][j] = visible ? rounded(rounded(s[i][j]) * p.scale) : -kInfinity;
      }
    }
  }
};

// Over the 16 threads of a row, which are half a warp.
__device__ __forceinline__ float row_max(float x) {
  for (int lane = 8; lane > 0; lane /= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, lane));
  return x;
}
__device__ __forceinline__ float row_sum(float x) {
  for (int lane = 8; lane > 0; lane /= 2) x += __shfl_xor_sync(~0u, x, lane);
  return x;
}

}  // namespace

extern "C" __global__ void __launch_bounds__(256) reference_attention(
    const __grid_constant__ attune::AttentionParams p) {
  extern __shared__ float4 shared_vectors[];
  float* const q = reinterpret_cast<float*>(shared_vectors);
  float* const kv = q + kRows * kStride;
  float* const probabilities = kv + kKeys * kStride;

  const int row_blocks = (p.q_len + kRows - 1) / kRows;
  const int head_index = blockIdx.x / row_blocks;
  const int batch = head_index / p.q_heads, head = head_index % p.q_heads;
  const int kv_head = head / (p.q_heads / p.kv_heads);
  const int first_row = blockIdx.x % row_blocks * kRows;
  const int rows = min(kRows, p.q_len - first_row);
  const int keys = kCausal ? max(0, min(p.kv_len, first_row + rows + p.causal_offset)) : p.kv_len;
  const long long k_head = batch * p.k_strides.batch + kv_head * p.k_strides.head;
  const long long v_head = batch * p.v_strides.batch + kv_head * p.v_strides.head;
  const int ty = threadIdx.x / 16, tx = threadIdx.x % 16;

  load_rows(q, p.q, batch * p.q_strides.batch + head * p.q_strides.head + first_row * p.q_strides.seq,
            p.q_strides.seq, rows);
  Block block{p, q, kv, first_row, keys, ty, tx};
  float s[kRowsPerThread][kRowsPerThread];

  float max[kRowsPerThread], sum[kRowsPerThread];
  for (int i = 0; i < kRowsPerThread; ++i) max[i] = -kInfinity, sum[i] = 0.0f;
#pragma unroll 1
  for (int first = 0; first < keys; first += kKeys) {
    block.scores(s, k_head, first);
#pragma unroll
    for (int i = 0; i < kRowsPerThread; ++i) {
      float m = s[i][0];
#pragma unroll
      for (int j = 1; j < kRowsPerThread; ++j) m = fmaxf(m, s[i][j]);
      m = fmaxf(max[i], row_max(m));
      if (m == -kInfinity) continue;  // no key yet; the same for all 16 threads of the row
      float total = 0.0f;
#pragma unroll
      for (int j = 0; j < kRowsPerThread; ++j) total += expf(s[i][j] - m);
      sum[i] = sum[i] * expf(max[i] - m) + total;
      max[i] = m;
    }
  }
#pragma unroll
  for (int i = 0; i < kRowsPerThread; ++i) sum[i] = row_sum(sum[i]);

  float o[kRowsPerThread][kColumnGroups][4] = {};
#pragma unroll 1
  for (int first = 0; first < keys; first += kKeys) {
    block.scores(s, k_head, first);
    __syncthreads();  // K has been read
    load_rows(kv, p.v, v_head + first * p.v_strides.seq, p.v_strides.seq, min(kKeys, p.kv_len - first));
#pragma unroll
    for (int i = 0; i < kRowsPerThread; ++i) {
#pragma unroll
      for (int j = 0; j < kRowsPerThread; ++j) {
        const float x = max[i] == -kInfinity ? 0.0f : expf(s[i][j] - max[i]) / sum[i];
        probabilities[(ty + 16 * i) * kScoreStride + tx + 16 * j] = rounded(x);
      }
    }
    __syncthreads();
#pragma unroll 4
    for (int k = 0; k < kKeys; ++k) {
#pragma unroll
      for (int c = 0; c < kColumnGroups; ++c) {
        if (c * 64 + tx * 4 >= kHeadDim) continue;
        const float4 v = *reinterpret_cast<const float4*>(kv + k * kStride + c * 64 + tx * 4);
#pragma unroll
        for (int i = 0; i < kRowsPerThread; ++i) {
          const float x = probabilities[(ty + 16 * i) * kScoreStride + k];
          o[i][c][0] += x * v.x;
          o[i][c][1] += x * v.y;
          o[i][c][2] += x * v.z;
          o[i][c][3] += x * v.w;
        }
      }
    }
  }

#pragma unroll
  for (int i = 0; i < kRowsPerThread; ++i) {
    const int row = first_row + ty + 16 * i;
    if (row >= p.q_len) continue;
    float* out = static_cast<float*>(p.o) + batch * p.o_strides.batch + head * p.o_strides.head + row * p.o_strides.seq;
#pragma unroll
    for (int c = 0; c < kColumnGroups; ++c) {
      if (c * 64 + tx * 4 >= kHeadDim) continue;
#pragma unroll
      for (int e = 0; e < 4; ++e) out[c * 64 + tx * 4 + e] = rounded(o[i][c][e]);
    }
    if (kWantLse && tx == 0) {
      p.lse[(static_cast<long long>(batch) * p.q_heads + head) * p.q_len + row] = max[i] + logf(sum[i]);
    }
  }
}
