// A config of the Hopper kernel as plain numbers, and what it costs.
#pragma once

#include <cstdint>
#include <string>

#include "base/device_facts.h"
#include "base/shape.h"
#include "templates/config.h"

namespace attune {

// Axis names of the Hopper template; values and meaning in hopper_space.cc.
namespace hopper_axis {
inline constexpr const char* kPackedHeads = "packed_heads";
inline constexpr const char* kBlockM = "block_m";
inline constexpr const char* kBlockN = "block_n";
inline constexpr const char* kKvSplit = "kv_split";
inline constexpr const char* kCtaSplit = "cta_split";
inline constexpr const char* kProducer = "producer";
inline constexpr const char* kCtasPerSm = "ctas_per_sm";
inline constexpr const char* kStagesK = "k_stages";
inline constexpr const char* kStagesV = "v_stages";
inline constexpr const char* kStagesQ = "q_stages";
inline constexpr const char* kPipeline = "pipeline";
inline constexpr const char* kCompact = "compact";
inline constexpr const char* kSwizzle = "swizzle";
inline constexpr const char* kEvictQ = "evict_q";
inline constexpr const char* kEvictK = "evict_k";
inline constexpr const char* kEvictV = "evict_v";
inline constexpr const char* kQueryIn = "q_in";
inline constexpr const char* kSoftmaxOrder = "softmax_order";
inline constexpr const char* kPidType = "pid_type";
inline constexpr const char* kL2Grouping = "l2_grouping";
inline constexpr const char* kRowOrder = "row_order";
inline constexpr const char* kStore = "store";
}  // namespace hopper_axis

// O leaves by the copy engine, out of a buffer of Q, and not from registers.
bool stores_by_copy_engine(const Config& config);

// The axes that decide the tile and its resources; read from a config in which at least those of its
// resources are set.
struct HopperTile {
  std::int64_t packed_heads = 1, block_m = 128, block_n = 128, kv_split = 1, cta_split = 1, q_stages = 1,
               k_stages = 2, v_stages = 2;
  std::int64_t swizzle = 128;  // bytes
  std::int64_t ctas_per_sm = 1;
  std::string producer = "warpgroup";  // warpgroup, warp, none
  bool q_in_registers = false, softmax_in_batches = false, persistent = false;

  static HopperTile read(const Config& config);

  // Rows of Q a tile has of each of its packed heads.
  std::int64_t positions() const { return block_m / packed_heads; }
  std::int64_t row_blocks(const Shape& shape) const;
  std::int64_t head_tiles(const Shape& shape) const;  // over the batch
  std::int64_t tiles(const Shape& shape) const { return row_blocks(shape) * head_tiles(shape); }

  std::int64_t row_groups() const { return block_m / 64; }
  std::int64_t consumers() const { return row_groups() * kv_split; }  // warpgroups
  std::int64_t producer_warps() const { return producer == "warpgroup" ? 4 : producer == "warp" ? 1 : 0; }
  std::int64_t threads() const { return 128 * consumers() + 32 * producer_warps(); }

  // Registers of a thread after setmaxnreg (PTX ISA 9.7.20.5), 0 where none is executed.
  std::int64_t consumer_registers() const;
  std::int64_t producer_registers() const;

  // Registers a consumer thread may have: setmaxnreg's, or what __launch_bounds__ leaves, which ptxas works
  // out for whole warpgroups.
  std::int64_t register_limit(const DeviceFacts& device) const;

  // Registers a consumer thread needs so as not to spill: S, P, O, perhaps Q, and a margin fitted to some 600
  // configs compiled for sm_90a with NVRTC 13.0.
  std::int64_t registers(std::int64_t head_dim) const;

  // CTAs that a persistent grid has on so many SMs.
  std::int64_t persistent_ctas(int sm_count) const { return sm_count * ctas_per_sm; }

  // Tiles that cta_split CTAs share: all of a flat grid, of a persistent one of so many CTAs those that are
  // left for the last round.
  std::int64_t shared_tiles(const Shape& shape, std::int64_t ctas) const;

  // Global memory: two counters of the dynamic schedule, one for each row group of a shared tile; then, where
  // CTAs share tiles, what each has of it.
  std::int64_t counter_bytes(std::int64_t shared_tiles) const;
  std::int64_t parts_bytes(std::int64_t shared_tiles, std::int64_t head_dim) const;

  // Dynamic shared memory of a CTA as hopper_pipeline.cuh lays it out. Exact.
  std::int64_t smem_bytes(std::int64_t head_dim) const;
};

}  // namespace attune
