// A config of the portable kernel as plain numbers, what it costs, and how a shape is cut into tiles by it.
#pragma once

#include <cstdint>
#include <string>

#include "base/device_facts.h"
#include "base/shape.h"
#include "templates/config.h"

namespace attune {

// Axis names of the portable template; values and meaning in portable_space.cc.
namespace portable_axis {
inline constexpr const char* kPackedHeads = "packed_heads";
inline constexpr const char* kBlockM = "block_m";
inline constexpr const char* kBlockN = "block_n";
inline constexpr const char* kNumWarps = "num_warps";
inline constexpr const char* kKvSplit = "kv_split";
inline constexpr const char* kNumStages = "num_stages";
inline constexpr const char* kLoadGroups = "load_groups";
inline constexpr const char* kQueryIn = "q_in";
inline constexpr const char* kEvictQ = "evict_q";
inline constexpr const char* kEvictK = "evict_k";
inline constexpr const char* kEvictV = "evict_v";
inline constexpr const char* kLoopOrder = "loop_order";
inline constexpr const char* kL2Grouping = "l2_grouping";
inline constexpr const char* kRowOrder = "row_order";
inline constexpr const char* kPidType = "pid_type";
inline constexpr const char* kSmMultiplier = "num_sm_multiplier";
inline constexpr const char* kUnroll = "unroll";
inline constexpr const char* kLazyRescale = "lazy_rescale";
inline constexpr const char* kMaxRegisters = "maxnreg";
}  // namespace portable_axis

// The axes that decide the tile and its resources; read from a config in which at least these are set.
struct PortableTile {
  std::int64_t packed_heads = 1, block_m = 64, block_n = 64, num_warps = 4, kv_split = 1, num_stages = 1;
  bool q_in_shared = true;

  static PortableTile read(const Config& config);

  std::int64_t threads() const { return num_warps * 32; }
  std::int64_t row_warps() const { return num_warps / kv_split; }
  std::int64_t rows_per_warp() const { return block_m / row_warps(); }

  // Dynamic shared memory of a CTA: Q, the K and V rings, or in their place the merge of the KV groups.
  // Exact.
  std::int64_t smem_bytes(std::int64_t head_dim) const;

  // Registers a thread needs so as not to spill: what the accumulators and Q take, plus a margin fitted to
  // some 150 configs compiled for sm_90a. ptxas uses more where it may, and spills a few bytes near the
  // limit.
  std::int64_t registers(std::int64_t head_dim) const;
};

// Registers a thread may have at most in a CTA of so many threads (255, and the register file divided).
std::int64_t register_limit(std::int64_t threads, const DeviceFacts& device);

// Row tiles of a head tile, head tiles over the batch, and their product.
std::int64_t row_blocks(const Shape& shape, std::int64_t packed_heads, std::int64_t block_m);
std::int64_t head_tiles(const Shape& shape, std::int64_t packed_heads);

// Whether any score of the shape is masked: a bottom-right mask of one query hides nothing, for one.
bool masks_scores(const Shape& shape);

}  // namespace attune
