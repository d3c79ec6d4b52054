// The one parameter of the Hopper kernel, passed by value as const __grid_constant__.
// Shared by device code (NVRTC, which has no standard headers) and the host side, hence plain types only.
#pragma once

namespace attune {

// 128 opaque bytes that cuTensorMapEncodeTiled fills. The copy engine reads them where the parameter lies.
struct alignas(64) HopperTensorMap {
  unsigned char bytes[128];
};

// Division of n < 2^31 by a divisor known before the launch, as a multiplication (Granlund and Montgomery, PLDI 1994): a
// tile's place takes three, which as divisions cost 800 clocks a tile.
struct HopperDivisor {
  unsigned multiplier;  // floor(2^shift / divisor) + 1
  unsigned shift;       // 31 + ceil(log2(divisor))
};

// The maps have the dimensions (column, row, head, batch) and boxes of one swizzle span of columns by the rows (and, of q
// and o, the heads) of a tile.
struct HopperParams {
  HopperTensorMap q, k, v, o_tiles;
  void* o;                 // [batch, q_heads, q_len, head_dim] by the strides
  float* lse;              // [batch, q_heads, q_len] contiguous, natural log; null when not wanted
  unsigned int* counters;  // zero before and after every launch: two words of the dynamic schedule, then one for each row
                           // group of a tile that CTAs share
  float* partials;         // for each such row group and CTA, 64 x (head_dim + 2) words
  long long o_batch_stride, o_head_stride, o_row_stride;  // elements; columns are contiguous
  int batch, q_heads, head_tiles;  // head_tiles: q_heads / packed heads
  int q_len, kv_len;
  int causal_offset;         // key j is visible to query i iff j <= i + causal_offset
  int row_blocks;            // tiles of a head
  int whole_tiles, items;    // the first whole_tiles of all row_blocks * head_tiles * batch tiles are one CTA's each, the
                             // rest shared by kCtaSplit; items counts a shared tile once for each of its CTAs
  int section_heads;         // head tiles (over the batch) that a section of the tile order holds
  float scale_log2;          // softmax scale times log2(e), above 0
  int full_sections;         // sections of section_heads heads; one more may hold the rest
  HopperDivisor by_section_tiles, by_section_heads, by_rest_heads, by_head_tiles, by_q_heads_per_kv_head;
};

}  // namespace attune
