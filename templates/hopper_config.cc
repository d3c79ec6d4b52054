#include "templates/hopper_config.h"

#include <algorithm>

namespace attune {

namespace axis = hopper_axis;

bool stores_by_copy_engine(const Config& config) {
  return config.has(axis::kStore) && config.text(axis::kStore) == "tma";
}

HopperTile HopperTile::read(const Config& config) {
  HopperTile tile;
  tile.packed_heads = config.has(axis::kPackedHeads) ? config.integer(axis::kPackedHeads) : 1;
  tile.block_m = config.integer(axis::kBlockM);
  tile.block_n = config.integer(axis::kBlockN);
  tile.kv_split = config.integer(axis::kKvSplit);
  tile.cta_split = config.has(axis::kCtaSplit) ? config.integer(axis::kCtaSplit) : 1;
  tile.producer = config.text(axis::kProducer);
  tile.ctas_per_sm = config.integer(axis::kCtasPerSm);
  tile.k_stages = config.integer(axis::kStagesK);
  tile.v_stages = config.integer(axis::kStagesV);
  tile.q_stages = config.has(axis::kStagesQ) ? config.integer(axis::kStagesQ) : 1;
  tile.swizzle = config.integer(axis::kSwizzle);
  tile.persistent = config.text(axis::kPidType) != "flat";
  tile.q_in_registers = config.text(axis::kQueryIn) == "registers";
  tile.softmax_in_batches = config.text(axis::kSoftmaxOrder) == "batches";
  return tile;
}

std::int64_t HopperTile::row_blocks(const Shape& shape) const {
  return (shape.q_len + positions() - 1) / positions();
}

std::int64_t HopperTile::head_tiles(const Shape& shape) const {
  return shape.batch * shape.q_heads / packed_heads;
}

std::int64_t HopperTile::shared_tiles(const Shape& shape, std::int64_t ctas) const {
  if (cta_split == 1) return 0;
  return persistent ? tiles(shape) % ctas : tiles(shape);
}

std::int64_t HopperTile::counter_bytes(std::int64_t shared_tiles) const {
  return ((2 + shared_tiles * row_groups()) * 4 + 255) / 256 * 256;
}

std::int64_t HopperTile::parts_bytes(std::int64_t shared_tiles, std::int64_t head_dim) const {
  return shared_tiles * row_groups() * cta_split * 64 * (head_dim + 2) * 4;
}

std::int64_t HopperTile::consumer_registers() const {
  if (producer != "warpgroup") return 0;
  return consumers() <= 2 ? 240 : 160;
}

std::int64_t HopperTile::producer_registers() const {
  if (producer != "warpgroup") return 0;
  return consumers() <= 2 ? 24 : 32;
}

std::int64_t HopperTile::register_limit(const DeviceFacts& device) const {
  if (producer == "warpgroup") return consumer_registers();
  const std::int64_t whole = (threads() + 127) / 128 * 128;
  return std::min<std::int64_t>(255, device.registers_per_sm / (ctas_per_sm * whole) / 8 * 8);
}

std::int64_t HopperTile::registers(std::int64_t head_dim) const {
  constexpr std::int64_t kMargin = 28;
  // The P of one block lives beside the S of the next.
  const std::int64_t scores = block_n / 2 + block_n / 4;
  const std::int64_t query = q_in_registers ? head_dim / 4 + 4 : 0;
  const std::int64_t feeding = producer == "none" ? 4 : 0;
  const std::int64_t batches = softmax_in_batches ? 4 : 0;
  return head_dim / 2 + scores + query + batches + kMargin + feeding;
}

std::int64_t HopperTile::smem_bytes(std::int64_t head_dim) const {
  const std::int64_t row_bytes = (2 * head_dim + swizzle - 1) / swizzle * swizzle;
  const std::int64_t q = block_m * row_bytes * q_stages;
  const std::int64_t merge = kv_split > 1 ? row_groups() * 128 * (head_dim / 2 + 4) * 4 * (kv_split - 1) : 0;
  const std::int64_t rings = (k_stages + v_stages) * block_n * row_bytes;
  const std::int64_t tiles = q + (persistent ? rings + merge : std::max(rings, merge));
  return (tiles + 7) / 8 * 8 + 16 * (q_stages + k_stages + v_stages) + 16 + 16;
}

}  // namespace attune
