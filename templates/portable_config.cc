#include "templates/portable_config.h"

#include <algorithm>

namespace attune {

PortableTile PortableTile::read(const Config& config) {
  namespace axis = portable_axis;
  return {.packed_heads = config.integer(axis::kPackedHeads),
          .block_m = config.integer(axis::kBlockM),
          .block_n = config.integer(axis::kBlockN),
          .num_warps = config.integer(axis::kNumWarps),
          .kv_split = config.integer(axis::kKvSplit),
          .num_stages = config.integer(axis::kNumStages),
          .q_in_shared = config.text(axis::kQueryIn) == "smem"};
}

std::int64_t PortableTile::smem_bytes(std::int64_t head_dim) const {
  const std::int64_t row_bytes = head_dim * 2;
  const std::int64_t query = q_in_shared ? block_m * row_bytes : 0;
  const std::int64_t rings = 2 * num_stages * block_n * row_bytes;
  // merge_groups(): of each 16 rows a lane holds head_dim / 2 outputs, two maxima and two sums, as fp32.
  const std::int64_t merge = (kv_split - 1) * (block_m / 16) * 32 * (head_dim / 2 + 4) * 4;
  return query + std::max(rings, merge);
}

std::int64_t PortableTile::registers(std::int64_t head_dim) const {
  const std::int64_t row_tiles = rows_per_warp() / 16;
  const std::int64_t scores = row_tiles * block_n / kv_split / 2;
  const std::int64_t output = row_tiles * head_dim / 2;
  const std::int64_t query = q_in_shared ? 0 : row_tiles * head_dim / 4;
  // Above 16 copies a thread the addresses of a block's copies no longer fit beside the rest.
  const std::int64_t copies = block_n * head_dim / 8 / threads();
  return (scores + output + query) * 21 / 20 + 44 + std::max<std::int64_t>(0, copies - 16);
}

std::int64_t register_limit(std::int64_t threads, const DeviceFacts& device) {
  return std::min<std::int64_t>(255, device.registers_per_sm / threads / 8 * 8);
}

std::int64_t row_blocks(const Shape& shape, std::int64_t packed_heads, std::int64_t block_m) {
  return (shape.q_len * packed_heads + block_m - 1) / block_m;
}

std::int64_t head_tiles(const Shape& shape, std::int64_t packed_heads) {
  return shape.batch * (shape.q_heads / packed_heads);
}

bool masks_scores(const Shape& shape) {
  return shape.causal() && shape.causal_offset() < shape.kv_len - 1;
}

}  // namespace attune
