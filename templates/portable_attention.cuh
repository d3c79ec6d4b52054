// Attention forward with mma.sync, ldmatrix and cp.async: sm_80 and newer.
//
//   O = softmax(scale Q K^T + mask) V, online over blocks of K and V (Milakov and Gimelshein, arXiv 1805.02867;
//   FlashAttention-2, arXiv 2307.08691). LSE = scale max + ln(sum), natural logarithm.
//
// A CTA owns kBlockM rows of Q and walks K and V in blocks of kBlockN, from the right end to the left, so that all
// blocks that need a mask (causal diagonal, ragged end) come first and the main loop has none. A row is a query
// position of one of kPackedHeads q heads that share a kv head: row = position * kPackedHeads + head.
//
// Warps: kKvSplit groups of kRowWarps. The warps of one group own kBlockM / kRowWarps rows each (16 or a multiple: each
// K and V fragment is then used that often) and kBlockN / kKvSplit columns of every block. Groups meet once, at the end.
//
// Shared memory: [Q, if kQueryInShared] [K ring, kStages] [V ring, kStages]; the merge of the groups reuses the rings.
// Rows are dense. The 16-byte chunk c of row r lies at c ^ swizzle(r), which gives the 8 rows that an ldmatrix phase
// reads 8 different bank groups for every head_dim that is a multiple of 8, without padding.
//
// Pipeline, iteration j, s = kStages; every load is a cp.async group, empty ones are committed too, so counts are fixed:
//   split loads:  wait K(j)  | barrier | load V(j+s-1) | S = Q K(j)^T | wait V(j) | barrier | load K(j+s) | softmax, O += P V(j)
//   joint loads:  wait KV(j) | barrier | load KV(j+s-1) | S = Q K(j)^T | softmax, O += P V(j)
// Split loads with s = 1 are FlashAttention-2's schedule; joint loads have one barrier an iteration and need s >= 2.
//
// The configuration is namespace config of the generated prelude (portable_template.cc writes it).
#include "attention_params.cuh"
#include "portable_ptx.cuh"

namespace {

using namespace config;
using ptx::u32;
using ptx::u64;

constexpr int kThreads = kNumWarps * 32;
constexpr int kRowWarps = kNumWarps / kKvSplit;
constexpr int kWarpRows = kBlockM / kRowWarps;
constexpr int kRowTiles = kWarpRows / 16;
constexpr int kWarpColumns = kBlockN / kKvSplit;
constexpr int kScoreTiles = kWarpColumns / 8;
constexpr int kOutTiles = kHeadDim / 8;
constexpr int kSlices = kHeadDim / 16;
constexpr bool kHalfSlice = kHeadDim % 16 != 0;
constexpr int kChunks = kHeadDim / 8;
constexpr int kRowBytes = kHeadDim * 2;
constexpr int kBlockBytes = kBlockN * kRowBytes;
constexpr int kQueryBytes = kQueryInShared ? kBlockM * kRowBytes : 0;
constexpr bool kMayMask = kCausal || kRaggedKv;
constexpr float kInfinity = __builtin_bit_cast(float, 0x7f800000u);

// A compile-time bool as an argument.
template <bool kValue>
struct Constant {
  static constexpr bool value = kValue;
};

static_assert(kHeadDim % 8 == 0 && kBlockM % (16 * kRowWarps) == 0 && kBlockN % (16 * kKvSplit) == 0);
static_assert(kNumWarps % kKvSplit == 0 && (!kJointLoads || kStages >= 2));

// ---- the layout of shared memory -----------------------------------------------------------------------------------

// A row of 2^a * odd chunks moves 8 rows over 2^(3-a) bank groups by itself; the exclusive or does the rest.
constexpr int kSwizzleBits = kChunks % 8 == 0 ? 3 : kChunks % 4 == 0 ? 2 : kChunks % 2 == 0 ? 1 : 0;
constexpr int kPhases = kSwizzleBits >= 1 ? 1 << (kSwizzleBits - 1) : 1;

__device__ __forceinline__ int swizzle(int row) {
  return (row >> (3 - kSwizzleBits)) & ((1 << kSwizzleBits) - 1);
}

// Where this lane points ldmatrix, for 16 rows and the two chunks of slice i. Only the low bits of i meet the swizzle:
// they are an exclusive or into the address (rows are multiples of 32 kPhases bytes), the rest is an immediate.
struct FragmentAddress {
  u32 phase[kPhases];
  u32 half;  // the one chunk left when head_dim is an odd multiple of 8

  __device__ __forceinline__ FragmentAddress(u32 base, u32 lane_offset, int lane) {
#pragma unroll
    for (int i = 0; i < kPhases; ++i) phase[i] = (base + lane_offset) ^ (i * 32);
    half = base + (lane % 16) * kRowBytes + (kChunks - 1) * 16;
  }
  // Of `rows` further down (a multiple of 16).
  __device__ __forceinline__ u32 slice(int i, int rows) const {
    return phase[i % kPhases] + i / kPhases * (kPhases * 32) + rows * kRowBytes;
  }
};
__device__ __forceinline__ u32 fragment_offset(int row, int chunk) {
  return row * kRowBytes + (chunk ^ swizzle(row)) * 16;
}

// ---- which tile ----------------------------------------------------------------------------------------------------

struct Tile {
  int batch, q_head, kv_head, first_row;
};

__device__ __forceinline__ int row_blocks(const attune::AttentionParams& p) {
  return (p.q_len * kPackedHeads + kBlockM - 1) / kBlockM;
}

// Tile number to place: heads before rows or rows before heads, heads in groups of kHeadGroup whose K and V stay in L2.
__device__ __forceinline__ Tile find_tile(const attune::AttentionParams& p, int number) {
  const int blocks = row_blocks(p);
  const int head_tiles = p.q_heads / kPackedHeads;
  const int heads = p.batch * head_tiles;
  int head, block;
  if constexpr (!kHeadFastest) {
    head = number / blocks;
    block = number - head * blocks;
  } else if constexpr (kHeadGroup <= 1) {
    block = number / heads;
    head = number - block * heads;
  } else {
    const int group = number / (kHeadGroup * blocks);
    const int rest = number - group * kHeadGroup * blocks;
    const int width = min(kHeadGroup, heads - group * kHeadGroup);
    block = rest / width;
    head = group * kHeadGroup + rest - block * width;
  }
  if constexpr (kRowOrder == RowOrder::kLongestFirst) {
    block = blocks - 1 - block;
  } else if constexpr (kRowOrder == RowOrder::kPaired) {
    block = block & 1 ? blocks - 1 - block / 2 : block / 2;
  }
  Tile t;
  t.batch = head / head_tiles;
  t.q_head = (head - t.batch * head_tiles) * kPackedHeads;
  t.kv_head = t.q_head / (p.q_heads / p.kv_heads);
  t.first_row = block * kBlockM;
  return t;
}

// ---- global to shared ----------------------------------------------------------------------------------------------

// NVRTC 13.0 mis-encodes a hinted cp.async whose shared address is a register plus a uniform register (seen on sm_90a:
// "illegal instruction"). threadIdx.y, always 0 here and unknown to the compiler, makes the sum an ordinary register.
template <ptx::Evict kEvict>
__device__ __forceinline__ u32 plain_address(u32 shared) {
  return kEvict == ptx::Evict::kNormal ? shared : shared ^ threadIdx.y;
}

// kBlockN rows of K or V. kGuard: rows from `valid` on become zeros and are not read.
template <ptx::Evict kEvict, bool kGuard>
__device__ __forceinline__ void load_block(u32 dst, const char* src, int row_bytes, int valid, u64 policy) {
  constexpr int kCopies = kBlockN * kChunks;
  constexpr int kPasses = (kCopies + kThreads - 1) / kThreads;
  dst = plain_address<kEvict>(dst);
  const auto copy = [&](u32 to, const char* from, int row) {
    if constexpr (kGuard) {
      ptx::cp_async_16_zfill<kEvict>(to, row < valid ? from : src, row < valid, policy);
    } else {
      ptx::cp_async_16<kEvict>(to, from, policy);
    }
  };
  if constexpr (kThreads % kChunks == 0 && kThreads / kChunks % 8 == 0) {
    // A pass is a whole number of rows: a thread keeps its column, and one pointer walks down.
    constexpr int kPassRows = kThreads / kChunks;
    const int row = threadIdx.x / kChunks, chunk = threadIdx.x % kChunks;
    const u32 to = dst + row * kRowBytes + (chunk ^ swizzle(row)) * 16;
    const char* from = src + row * row_bytes + chunk * 16;
#pragma unroll
    for (int i = 0; i < kPasses; ++i) {
      if (kBlockN % kPassRows != 0 && row + i * kPassRows >= kBlockN) break;
      copy(to + i * kPassRows * kRowBytes, from, row + i * kPassRows);
      from += kPassRows * row_bytes;
    }
  } else {
#pragma unroll
    for (int i = 0; i < kPasses; ++i) {
      const int id = i * kThreads + threadIdx.x;
      if (kCopies % kThreads != 0 && id >= kCopies) break;
      const int row = id / kChunks, chunk = id - row * kChunks;
      copy(dst + row * kRowBytes + (chunk ^ swizzle(row)) * 16, src + row * row_bytes + chunk * 16, row);
    }
  }
}

// Byte address of a row of Q. Rows past the end repeat the last position: they are computed and not stored.
__device__ __forceinline__ const char* query_row(const attune::AttentionParams& p, const Tile& t, int row) {
  const int position = min(row / kPackedHeads, p.q_len - 1);
  const long long element = t.batch * p.q_strides.batch + (t.q_head + row % kPackedHeads) * p.q_strides.head +
                            position * p.q_strides.seq;
  return static_cast<const char*>(p.q) + 2 * element;
}

__device__ __forceinline__ void load_query_to_shared(const attune::AttentionParams& p, const Tile& t, u32 dst, u64 policy) {
  constexpr int kCopies = kBlockM * kChunks;
  dst = plain_address<kEvictQ>(dst);
#pragma unroll
  for (int i = 0; i < (kCopies + kThreads - 1) / kThreads; ++i) {
    const int id = i * kThreads + threadIdx.x;
    if (kCopies % kThreads != 0 && id >= kCopies) break;
    const int row = id / kChunks;
    const int chunk = id - row * kChunks;
    ptx::cp_async_16<kEvictQ>(dst + row * kRowBytes + (chunk ^ swizzle(row)) * 16,
                              query_row(p, t, t.first_row + row) + chunk * 16, policy);
  }
}

// ---- Q fragments: kept in registers for the whole tile, or read again from shared memory for every block -----------

using Fragment = u32[4];

template <bool kInShared>
struct Query;

template <>
struct Query<true> {
  u32 base;

  __device__ __forceinline__ void load_early(const attune::AttentionParams& p, const Tile& t, int first_row, u32 shared,
                                             u64 policy) {
    load_query_to_shared(p, t, shared, policy);
    base = shared + (first_row - t.first_row) * kRowBytes;
  }
  __device__ __forceinline__ void load_late(const attune::AttentionParams&, const Tile&, int, int, u64) {}
  __device__ __forceinline__ void fetch(Fragment (&a)[kRowTiles], int slice, const FragmentAddress& at) const {
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) ptx::ldmatrix_x4(a[r], at.slice(slice, r * 16));
  }
  __device__ __forceinline__ void fetch_half(Fragment (&a)[kRowTiles], const FragmentAddress& at) const {
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) ptx::ldmatrix_x2(a[r][0], a[r][1], at.half + r * 16 * kRowBytes);
  }
};

template <>
struct Query<false> {
  static constexpr u32 base = 0;  // unused
  u32 held[kRowTiles][kSlices + (kHalfSlice ? 1 : 0)][4];

  __device__ __forceinline__ void load_early(const attune::AttentionParams&, const Tile&, int, u32, u64) {}
  // Straight from global memory in the order of mma's A operand.
  __device__ __forceinline__ void load_late(const attune::AttentionParams& p, const Tile& t, int first_row, int lane,
                                            u64 policy) {
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
      const char* low = query_row(p, t, first_row + r * 16 + lane / 4) + lane % 4 * 4;
      const char* high = query_row(p, t, first_row + r * 16 + lane / 4 + 8) + lane % 4 * 4;
#pragma unroll
      for (int i = 0; i < kSlices; ++i) {
        held[r][i][0] = ptx::load_global_u32<kEvictQ>(low + i * 32, policy);
        held[r][i][1] = ptx::load_global_u32<kEvictQ>(high + i * 32, policy);
        held[r][i][2] = ptx::load_global_u32<kEvictQ>(low + i * 32 + 16, policy);
        held[r][i][3] = ptx::load_global_u32<kEvictQ>(high + i * 32 + 16, policy);
      }
      if constexpr (kHalfSlice) {
        held[r][kSlices][0] = ptx::load_global_u32<kEvictQ>(low + kSlices * 32, policy);
        held[r][kSlices][1] = ptx::load_global_u32<kEvictQ>(high + kSlices * 32, policy);
      }
    }
  }
  __device__ __forceinline__ void fetch(Fragment (&a)[kRowTiles], int slice, const FragmentAddress&) const {
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
      for (int e = 0; e < 4; ++e) a[r][e] = held[r][slice][e];
    }
  }
  __device__ __forceinline__ void fetch_half(Fragment (&a)[kRowTiles], const FragmentAddress&) const {
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
      a[r][0] = held[r][kSlices][0];
      a[r][1] = held[r][kSlices][1];
    }
  }
};

// ---- the two products ----------------------------------------------------------------------------------------------

using Scores = float[kRowTiles][kScoreTiles][4];
using Output = float[kRowTiles][kOutTiles][4];

// S = Q K^T. Fragments are read one step ahead of the mma that use them.
__device__ __forceinline__ void multiply_qk(Scores& s, const Query<kQueryInShared>& query, const FragmentAddress& q_at,
                                            const FragmentAddress& k_at) {
  constexpr int kPairs = kScoreTiles / 2;
#pragma unroll
  for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
    for (int n = 0; n < kScoreTiles; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) s[r][n][e] = 0.0f;
    }
  }
  Fragment a[2][kRowTiles], b[2];
  if constexpr (kSlices > 0) {
    query.fetch(a[0], 0, q_at);
    ptx::ldmatrix_x4(b[0], k_at.slice(0, 0));
  }
#pragma unroll
  for (int i = 0; i < kSlices; ++i) {
    if (i + 1 < kSlices) query.fetch(a[(i + 1) % 2], i + 1, q_at);
#pragma unroll
    for (int n = 0; n < kPairs; ++n) {
      const int now = i * kPairs + n, next = now + 1;
      if (next < kSlices * kPairs) {
        ptx::ldmatrix_x4(b[next % 2], k_at.slice(next / kPairs, next % kPairs * 16));
      }
#pragma unroll
      for (int r = 0; r < kRowTiles; ++r) {
        ptx::mma_m16n8k16<Element>(s[r][2 * n], a[i % 2][r], b[now % 2][0], b[now % 2][1]);
        ptx::mma_m16n8k16<Element>(s[r][2 * n + 1], a[i % 2][r], b[now % 2][2], b[now % 2][3]);
      }
    }
  }
  if constexpr (kHalfSlice) {
    query.fetch_half(a[0], q_at);
#pragma unroll
    for (int n = 0; n < kPairs; ++n) {
      u32 b0, b1;
      ptx::ldmatrix_x2(b0, b1, k_at.half + n * 16 * kRowBytes);
#pragma unroll
      for (int r = 0; r < kRowTiles; ++r) {
        ptx::mma_m16n8k8<Element>(s[r][2 * n], a[0][r][0], a[0][r][1], b0);
        ptx::mma_m16n8k8<Element>(s[r][2 * n + 1], a[0][r][0], a[0][r][1], b1);
      }
    }
  }
}

// O += P V for 16 columns of P, whose accumulator layout is already that of an A operand.
__device__ __forceinline__ void multiply_pv(Output& o, const Fragment (&p)[kRowTiles], int row,
                                            const FragmentAddress& v_at) {
  constexpr int kPairs = kOutTiles / 2;
  Fragment b[2];
  if constexpr (kPairs > 0) ptx::ldmatrix_x4_trans(b[0], v_at.slice(0, row));
#pragma unroll
  for (int d = 0; d < kPairs; ++d) {
    if (d + 1 < kPairs) ptx::ldmatrix_x4_trans(b[(d + 1) % 2], v_at.slice(d + 1, row));
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
      ptx::mma_m16n8k16<Element>(o[r][2 * d], p[r], b[d % 2][0], b[d % 2][1]);
      ptx::mma_m16n8k16<Element>(o[r][2 * d + 1], p[r], b[d % 2][2], b[d % 2][3]);
    }
  }
  if constexpr (kHalfSlice) {
    u32 b0, b1;
    ptx::ldmatrix_x2_trans(b0, b1, v_at.half + row * kRowBytes);
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) ptx::mma_m16n8k16<Element>(o[r][kOutTiles - 1], p[r], b0, b1);
  }
}

// ---- softmax -------------------------------------------------------------------------------------------------------

__device__ __forceinline__ float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
  return fmaxf(x, __shfl_xor_sync(~0u, x, 2));
}
__device__ __forceinline__ float quad_sum(float x) {
  x += __shfl_xor_sync(~0u, x, 1);
  return x + __shfl_xor_sync(~0u, x, 2);
}

// Running state of the two rows a lane holds of each 16-row tile. `sum` is this lane's share; quads add up at the end.
struct Softmax {
  float max[kRowTiles][2];
  float sum[kRowTiles][2];
};

// Scores of hidden keys become -inf. `row` and `column` are those of this lane's first score.
__device__ __forceinline__ void mask(Scores& s, const attune::AttentionParams& p, int row, int column) {
#pragma unroll
  for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int position = (row + r * 16 + h * 8) / kPackedHeads;
      const int last = min(kCausal ? position + p.causal_offset : 0x7fffffff, p.kv_len - 1) - column;
#pragma unroll
      for (int n = 0; n < kScoreTiles; ++n) {
        if (n * 8 > last) s[r][n][2 * h] = -kInfinity;
        if (n * 8 + 1 > last) s[r][n][2 * h + 1] = -kInfinity;
      }
    }
  }
}

// New row maxima of S; O and the sums are brought to them. Leaves -max * scale in `shift`, 0 for a row without a key.
template <bool kMasked>
__device__ __forceinline__ void rescale(Softmax& state, Output& o, const Scores& s, float scale_log2,
                                        float (&shift)[kRowTiles][2]) {
  float grown[kRowTiles][2];
  bool any = false;
#pragma unroll
  for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float m = fmaxf(s[r][0][2 * h], s[r][0][2 * h + 1]);
#pragma unroll
      for (int n = 1; n < kScoreTiles; ++n) m = fmaxf(m, fmaxf(s[r][n][2 * h], s[r][n][2 * h + 1]));
      grown[r][h] = fmaxf(state.max[r][h], quad_max(m));
      // -inf - -inf is NaN, which compares false: a row without a key asks for nothing.
      any |= (grown[r][h] - state.max[r][h]) * scale_log2 > kLazyRescale;
    }
  }
  // With kLazyRescale > 0 (FlashAttention-4) the maximum may lag by that many powers of two: the result is the same.
  if (kLazyRescale <= 0 || __any_sync(~0u, any)) {
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const float m = kMasked && grown[r][h] == -kInfinity ? 0.0f : grown[r][h];
        const float factor = ptx::exp2_approx((state.max[r][h] - m) * scale_log2);
        state.max[r][h] = grown[r][h];
        state.sum[r][h] *= factor;
#pragma unroll
        for (int d = 0; d < kOutTiles; ++d) {
          o[r][d][2 * h] *= factor;
          o[r][d][2 * h + 1] *= factor;
        }
      }
    }
  }
#pragma unroll
  for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      shift[r][h] = kMasked && state.max[r][h] == -kInfinity ? 0.0f : -state.max[r][h] * scale_log2;
    }
  }
}

// P = exp2(S * scale - max * scale) for 16 columns, rounded to the element type as the A operand of P V.
__device__ __forceinline__ void exponentiate(Fragment (&p)[kRowTiles], Softmax& state, const Scores& s, int column,
                                             float scale_log2, const float (&shift)[kRowTiles][2]) {
#pragma unroll
  for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int h = e % 2, n = 2 * column + e / 2;
      const float x = ptx::exp2_approx(fmaf(s[r][n][2 * h], scale_log2, shift[r][h]));
      const float y = ptx::exp2_approx(fmaf(s[r][n][2 * h + 1], scale_log2, shift[r][h]));
      state.sum[r][h] += x + y;
      p[r][e] = ptx::pack2<Element>(x, y);
    }
  }
}

// ---- the end of a tile ---------------------------------------------------------------------------------------------

// Brings the partial results of groups 1.. to group 0 through shared memory, value-major: no bank conflicts.
__device__ __forceinline__ void merge_groups(Softmax& state, Output& o, u32 shared, int group, float scale_log2) {
  constexpr int kValues = kRowTiles * (kOutTiles * 4 + 4);
  constexpr int kLanes = kRowWarps * 32;
  const u32 mine = shared + threadIdx.x % kLanes * 4;
  __syncthreads();
  if (group > 0) {
    u32 to = mine + (group - 1) * kValues * kLanes * 4;
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        ptx::store_shared_f32(to, state.max[r][h]);
        ptx::store_shared_f32(to + kLanes * 4, state.sum[r][h]);
        to += kLanes * 8;
      }
#pragma unroll
      for (int d = 0; d < kOutTiles; ++d) {
#pragma unroll
        for (int e = 0; e < 4; ++e, to += kLanes * 4) ptx::store_shared_f32(to, o[r][d][e]);
      }
    }
  }
  __syncthreads();
  if (group > 0) return;
#pragma unroll 1
  for (int g = 1; g < kKvSplit; ++g) {
    u32 from = mine + (g - 1) * kValues * kLanes * 4;
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
      float ours[2], theirs[2];
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const float max = ptx::load_shared_f32(from), sum = ptx::load_shared_f32(from + kLanes * 4);
        from += kLanes * 8;
        const float both = fmaxf(max, state.max[r][h]);
        const float base = both == -kInfinity ? 0.0f : both;
        ours[h] = ptx::exp2_approx((state.max[r][h] - base) * scale_log2);
        theirs[h] = ptx::exp2_approx((max - base) * scale_log2);
        state.max[r][h] = both;
        state.sum[r][h] = state.sum[r][h] * ours[h] + sum * theirs[h];
      }
#pragma unroll
      for (int d = 0; d < kOutTiles; ++d) {
#pragma unroll
        for (int e = 0; e < 4; ++e, from += kLanes * 4) {
          o[r][d][e] = o[r][d][e] * ours[e / 2] + ptx::load_shared_f32(from) * theirs[e / 2];
        }
      }
    }
  }
}

// Word i of lane q of a quad becomes word q of lane i: the four 4-byte pieces of a 16-byte chunk meet in one lane.
__device__ __forceinline__ void transpose_quad(u32 (&w)[4], int lane) {
#pragma unroll
  for (int bit = 1; bit <= 2; bit *= 2) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (i & bit) continue;
      const bool odd = lane & bit;
      const u32 got = __shfl_xor_sync(~0u, odd ? w[i] : w[i + bit], bit);
      w[i] = odd ? got : w[i];
      w[i + bit] = odd ? w[i + bit] : got;
    }
  }
}

__device__ __forceinline__ void store_rows(const attune::AttentionParams& p, const Tile& t, const Softmax& state,
                                           const Output& o, int first_row, int lane) {
#pragma unroll
  for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = first_row + r * 16 + h * 8 + lane / 4;
      const int position = row / kPackedHeads, head = t.q_head + row % kPackedHeads;
      const bool inside = position < p.q_len;
      const float sum = quad_sum(state.sum[r][h]);
      const float inverse = sum > 0.0f ? 1.0f / sum : sum;  // no key: 0; NaN stays NaN
      char* out = static_cast<char*>(p.o) +
                  2 * (t.batch * p.o_strides.batch + head * p.o_strides.head + position * p.o_strides.seq);
#pragma unroll
      for (int d = 0; d < kOutTiles; d += 4) {
        if (d + 4 <= kOutTiles) {
          u32 w[4];
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            w[i] = ptx::pack2<Element>(o[r][d + i][2 * h] * inverse, o[r][d + i][2 * h + 1] * inverse);
          }
          transpose_quad(w, lane);
          if (inside) ptx::store_global_v4(out + (d + lane % 4) * 16, w);
        } else {
#pragma unroll
          for (int i = d; i < kOutTiles; ++i) {
            const u32 w = ptx::pack2<Element>(o[r][i][2 * h] * inverse, o[r][i][2 * h + 1] * inverse);
            if (inside) ptx::store_global_u32(out + i * 16 + lane % 4 * 4, w);
          }
        }
      }
      if constexpr (kWantLse) {
        constexpr float kLn2 = 0.69314718055994530942f;
        const float lse = sum > 0.0f ? state.max[r][h] * p.scale + ptx::log2_approx(sum) * kLn2 : -kInfinity;
        if (inside && lane % 4 == 0) {
          p.lse[(static_cast<long long>(t.batch) * p.q_heads + head) * p.q_len + position] = lse;
        }
      }
    }
  }
}

// ---- one tile ------------------------------------------------------------------------------------------------------

__device__ __forceinline__ void attend(const attune::AttentionParams& p, const Tile& t, u32 shared) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int group = kKvSplit > 1 ? warp / kRowWarps : 0;
  const int warp_row = t.first_row + (kKvSplit > 1 ? warp % kRowWarps : warp) * kWarpRows;
  const float scale_log2 = p.scale * 1.44269504088896340736f;

  // Keys this tile sees, its blocks, and how many of them (the first ones walked) need the mask.
  const int first_position = t.first_row / kPackedHeads;
  const int last_position = min((t.first_row + kBlockM - 1) / kPackedHeads, p.q_len - 1);
  const int keys = kCausal ? max(0, min(p.kv_len, last_position + p.causal_offset + 1)) : p.kv_len;
  const int common_keys = kCausal ? max(0, min(p.kv_len, first_position + p.causal_offset + 1)) : p.kv_len;
  const int blocks = (keys + kBlockN - 1) / kBlockN;
  const int masked_blocks = kMayMask ? blocks - common_keys / kBlockN : 0;

  const u64 policy_q = ptx::make_policy<kEvictQ>();
  const u64 policy_k = ptx::make_policy<kEvictK>();
  const u64 policy_v = ptx::make_policy<kEvictV>();
  const u32 k_ring = shared + kQueryBytes, v_ring = k_ring + kStages * kBlockBytes;
  const int k_row_bytes = static_cast<int>(p.k_strides.seq) * 2, v_row_bytes = static_cast<int>(p.v_strides.seq) * 2;
  const char* k_head = static_cast<const char*>(p.k) + 2 * (t.batch * p.k_strides.batch + t.kv_head * p.k_strides.head);
  const char* v_head = static_cast<const char*>(p.v) + 2 * (t.batch * p.v_strides.batch + t.kv_head * p.v_strides.head);

  // Block j of the walk; only j = 0 can hold the ragged end.
  auto load_k = [&](int j, int slot, auto guard) {
    if (j >= blocks) return;
    const long long first = static_cast<long long>(blocks - 1 - j) * kBlockN;
    load_block<kEvictK, guard.value>(k_ring + slot * kBlockBytes, k_head + first * k_row_bytes, k_row_bytes,
                                     p.kv_len - static_cast<int>(first), policy_k);
  };
  auto load_v = [&](int j, int slot, auto guard) {
    if (j >= blocks) return;
    const long long first = static_cast<long long>(blocks - 1 - j) * kBlockN;
    load_block<kEvictV, guard.value>(v_ring + slot * kBlockBytes, v_head + first * v_row_bytes, v_row_bytes,
                                     p.kv_len - static_cast<int>(first), policy_v);
  };

  if constexpr (kPid != Pid::kFlat) __syncthreads();  // the tile before is done with shared memory
  Query<kQueryInShared> query;
  query.load_early(p, t, warp_row, shared, policy_q);  // with the first group of K
#pragma unroll
  for (int i = 0; i < kStages - 1; ++i) {
    load_k(i, i, Constant<kRaggedKv>{});
    if constexpr (!kJointLoads) ptx::cp_async_commit();
    load_v(i, i, Constant<kRaggedKv>{});
    ptx::cp_async_commit();
  }
  if constexpr (!kJointLoads) {
    load_k(kStages - 1, kStages - 1, Constant<kRaggedKv && kStages == 1>{});
    ptx::cp_async_commit();
  }
  query.load_late(p, t, warp_row, lane, policy_q);

  // ldmatrix takes 16 x 16 of Q and V as (rows 0-7, rows 8-15) x (chunk 0, chunk 1), of K with these two swapped.
  const u32 qv_offset = fragment_offset(lane % 16, lane / 16);
  const u32 k_offset = fragment_offset(lane % 8 + lane / 16 * 8, lane / 8 % 2);
  const u32 group_bytes = group * kWarpColumns * kRowBytes;

  Softmax state;
  Output o;
#pragma unroll
  for (int r = 0; r < kRowTiles; ++r) {
    state.max[r][0] = state.max[r][1] = -kInfinity;
    state.sum[r][0] = state.sum[r][1] = 0.0f;
#pragma unroll
    for (int d = 0; d < kOutTiles; ++d) {
#pragma unroll
      for (int e = 0; e < 4; ++e) o[r][d][e] = 0.0f;
    }
  }

  int slot = 0;  // j % kStages
  auto step = [&](int j, auto masked) {
    constexpr bool kMasked = masked.value;
    constexpr Constant<kMasked && kRaggedKv && kStages == 1> guard_v{};
    const int last_slot = kStages == 1 ? 0 : slot == 0 ? kStages - 1 : slot - 1;
    const u32 k = k_ring + slot * kBlockBytes + group_bytes, v = v_ring + slot * kBlockBytes + group_bytes;
    Scores s;

    ptx::cp_async_wait<kJointLoads ? kStages - 2 : 2 * (kStages - 1)>();
    __syncthreads();
    if constexpr (kJointLoads) load_k(j + kStages - 1, last_slot, Constant<false>{});
    load_v(j + kStages - 1, last_slot, guard_v);
    ptx::cp_async_commit();

    // Under a causal mask the right end of the diagonal lies beyond all rows of the upper warps: nothing to do there.
    const int first_column = (blocks - 1 - j) * kBlockN + group * kWarpColumns;
    const bool sees = !kMasked || !kCausal || first_column <= (warp_row + kWarpRows - 1) / kPackedHeads + p.causal_offset;

    if (sees) multiply_qk(s, query, FragmentAddress(query.base, qv_offset, lane), FragmentAddress(k, k_offset, lane));

    if constexpr (!kJointLoads) {
      ptx::cp_async_wait<2 * (kStages - 1)>();
      __syncthreads();
      load_k(j + kStages, slot, Constant<false>{});
      ptx::cp_async_commit();
    }
    if (sees) {
      if constexpr (kMasked) mask(s, p, warp_row + lane / 4, first_column + lane % 4 * 2);
      const FragmentAddress v_at(v, qv_offset, lane);
      float shift[kRowTiles][2];
      rescale<kMasked>(state, o, s, scale_log2, shift);
#pragma unroll
      for (int c = 0; c < kWarpColumns / 16; ++c) {
        Fragment probabilities[kRowTiles];
        exponentiate(probabilities, state, s, c, scale_log2, shift);
        multiply_pv(o, probabilities, c * 16, v_at);
      }
    }
    slot = slot + 1 == kStages ? 0 : slot + 1;
  };

  int j = 0;
  if constexpr (kMayMask) {
#pragma unroll 1
    for (; j < masked_blocks; ++j) step(j, Constant<true>{});
  }
#pragma unroll 1
  while (j < blocks) {
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      step(j, Constant<false>{});
      if (++j == blocks) break;
    }
  }

  if constexpr (kKvSplit > 1) {
    merge_groups(state, o, shared + kQueryBytes, group, scale_log2);
    if (group > 0) return;
  }
  store_rows(p, t, state, o, warp_row, lane);
}

}  // namespace

extern "C" __global__ void ATTUNE_KERNEL_BOUNDS attention_forward(const __grid_constant__ attune::AttentionParams p) {
  extern __shared__ __align__(1024) unsigned char shared[];
  const u32 base = ptx::shared_address(shared);
  if constexpr (kPid == Pid::kFlat) {
    attend(p, find_tile(p, blockIdx.x), base);
  } else {
    const int tiles = row_blocks(p) * (p.q_heads / kPackedHeads) * p.batch;
    int tile = blockIdx.x, end = tiles, stride = gridDim.x;
    if constexpr (kPid == Pid::kPersistentBlocked) {
      // Consecutive tiles, the first tiles % gridDim.x CTAs one more.
      const int share = tiles / gridDim.x, more = tiles % gridDim.x;
      tile = blockIdx.x * share + min(static_cast<int>(blockIdx.x), more);
      end = tile + share + (blockIdx.x < more ? 1 : 0);
      stride = 1;
    }
#pragma unroll 1
    for (; tile < end; tile += stride) attend(p, find_tile(p, tile), base);
  }
}
