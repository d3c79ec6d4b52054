#include "templates/portable_space.h"

#include <algorithm>
#include <stdexcept>

#include "templates/axis_values.h"
#include "templates/portable_config.h"

namespace attune {
namespace {

namespace axis = portable_axis;
using Reason = std::optional<std::string>;

std::int64_t divide_up(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

// Divisors of the q heads that share a kv head.
std::vector<AxisValue> packings(const Shape& shape) {
  constexpr std::int64_t kMost = 16;
  const std::int64_t group = shape.q_heads / shape.kv_heads;
  std::vector<AxisValue> all;
  for (std::int64_t n = 1; n <= std::min(group, kMost); ++n) {
    if (group % n == 0) all.emplace_back(n);
  }
  return all;
}

std::vector<AxisValue> groupings(const Shape& shape) {
  std::vector<AxisValue> all{std::int64_t{1}};
  for (std::int64_t n = 2; n <= 64 && n < head_tiles(shape, 1); n *= 2) all.emplace_back(n);
  return all;
}

bool persistent(const Config& config) {
  return config.text(axis::kPidType) != "flat";
}

std::vector<Axis> tile_axes(const Shape& shape) {
  const std::int64_t group = shape.q_heads / shape.kv_heads;
  return {
      {axis::kPackedHeads, "/block_sizes/0", packings(shape), "q heads of one kv head in a row tile"},
      {axis::kBlockM, "/block_sizes/1", covering({16, 32, 64, 128, 256}, shape.q_len * group),
       "rows of Q a CTA, over its packed heads"},
      {axis::kBlockN, "/block_sizes/2",
       covering({16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 256}, shape.kv_len), "rows of K and V a step"},
      {axis::kNumWarps, "/num_warps", integers({1, 2, 4, 8, 16}), "warps a CTA"},
      {axis::kKvSplit, "/kv_split", integers({1, 2, 4, 8}),
       "groups of warps that share each K and V block by columns, merged at the end"},
      {axis::kNumStages, "/num_stages", integers({1, 2, 3, 4}), "depth of the K and V rings"},
      {axis::kLoadGroups,
       "/load_groups",
       texts({"split", "joint"}),
       "K and V of a block as two copy groups and two barriers, or as one",
       {axis::kNumStages},
       [](const Config& config) { return config.integer(axis::kNumStages) >= 2; }},
      {axis::kQueryIn, "/q_in", texts({"smem", "registers"}), "where Q's fragments live"},
  };
}

std::vector<Axis> instruction_axes() {
  const auto policies = texts({"", "first", "last"});
  return {
      {axis::kEvictQ, "/load_eviction_policies/0", policies, "L2 policy of loads of Q"},
      {axis::kEvictK, "/load_eviction_policies/1", policies, "L2 policy of loads of K"},
      {axis::kEvictV, "/load_eviction_policies/2", policies, "L2 policy of loads of V"},
      {axis::kUnroll, "/range_unroll_factors/0", integers({1, 2, 4}),
       "copies of the unmasked K and V loop's body"},
      {axis::kLazyRescale, "/lazy_rescale", integers({0, 8}),
       "rescale O only when a row's maximum grows by more than 2^this (0: at every step)"},
      {axis::kMaxRegisters, "/maxnreg", integers({0, 80, 96, 128, 168}),
       "cap on registers a thread, for more CTAs an SM (0: none)"},
  };
}

std::vector<Axis> schedule_axes(const Shape& shape) {
  std::vector<Axis> axes{
      {axis::kLoopOrder, "/loop_orders/0", texts({"[0,1]", "[1,0]"}),
       "tiles that run together: the same rows of all heads, or all rows of one head"},
      {axis::kL2Grouping, "/l2_groupings/0", groupings(shape),
       "heads that run together, so that their K and V stay in L2 (1: all)"},
  };
  if (masks_scores(shape)) {
    axes.push_back({axis::kRowOrder,
                    "/row_order",
                    texts({"ascending", "longest_first", "paired"}),
                    "order of a head's row tiles, whose lengths differ under a causal mask",
                    {axis::kPackedHeads, axis::kBlockM},
                    [shape](const Config& config) {
                      return row_blocks(shape, config.integer(axis::kPackedHeads),
                                        config.integer(axis::kBlockM)) > 1;
                    }});
  }
  axes.push_back({axis::kPidType, "/pid_type",
                  texts({"flat", "persistent_blocked", "persistent_interleaved"}),
                  "one CTA a tile, or CTAs that walk tiles"});
  axes.push_back({axis::kSmMultiplier,
                  "/num_sm_multiplier",
                  integers({1, 2, 3, 4}),
                  "persistent CTAs an SM",
                  {axis::kPidType},
                  persistent});
  return axes;
}

// ---- rules
// -----------------------------------------------------------------------------------------------------------

Rule warps_rule() {
  return {
      "warps",
      {axis::kBlockM, axis::kBlockN, axis::kNumWarps, axis::kKvSplit},
      [](const Config& config) -> Reason {
        const std::int64_t warps = config.integer(axis::kNumWarps), split = config.integer(axis::kKvSplit);
        const std::int64_t block_m = config.integer(axis::kBlockM), block_n = config.integer(axis::kBlockN);
        if (warps % split != 0) return fmt::format("{} warps do not form {} groups", warps, split);
        if (block_n % (16 * split) != 0) {
          return fmt::format("block_n {} does not give each of {} groups a multiple of 16 columns", block_n,
                             split);
        }
        const std::int64_t row_warps = warps / split;
        if (block_m % (16 * row_warps) != 0) {
          return fmt::format("block_m {} does not give each of {} warps a multiple of 16 rows", block_m,
                             row_warps);
        }
        if (block_m / row_warps > 64) {
          return fmt::format("{} rows a warp: more than 64 never fit in registers", block_m / row_warps);
        }
        return {};
      }};
}

Rule ring_rule(const Shape& shape) {
  return {"ring",
          {axis::kBlockN, axis::kNumStages, axis::kUnroll},
          [kv_len = shape.kv_len](const Config& config) -> Reason {
            const std::int64_t blocks = divide_up(kv_len, config.integer(axis::kBlockN));
            const std::int64_t stages = config.integer(axis::kNumStages),
                               unroll = config.integer(axis::kUnroll);
            if (stages > blocks) return fmt::format("{} stages for {} blocks of K and V", stages, blocks);
            if (unroll > blocks)
              return fmt::format("unroll {} of a loop of at most {} steps", unroll, blocks);
            return {};
          }};
}

const std::vector<std::string> kResourceAxes{axis::kPackedHeads, axis::kBlockM,  axis::kBlockN,
                                             axis::kNumWarps,    axis::kKvSplit, axis::kNumStages,
                                             axis::kQueryIn};

bool forms_warps(const PortableTile& tile) {
  return tile.num_warps % tile.kv_split == 0 && tile.block_m % (16 * tile.row_warps()) == 0;
}

Rule smem_rule(const Shape& shape, const DeviceFacts& device) {
  return {"shared memory", kResourceAxes,
          [head_dim = shape.head_dim, limit = device.smem_per_block_bytes](const Config& config) -> Reason {
            const std::int64_t bytes = PortableTile::read(config).smem_bytes(head_dim);
            if (bytes <= limit) return {};
            return fmt::format("needs {} B of shared memory, the limit is {} B", bytes, limit);
          }};
}

Rule register_rule(const Shape& shape, const DeviceFacts& device) {
  std::vector<std::string> reads = kResourceAxes;
  reads.emplace_back(axis::kMaxRegisters);
  return {"registers", std::move(reads), [head_dim = shape.head_dim, device](const Config& config) -> Reason {
            // A cap this far below the need spills; one above it changes nothing.
            constexpr std::int64_t kSqueeze = 24;
            const PortableTile tile = PortableTile::read(config);
            if (!forms_warps(tile)) return {};  // the rule on warps has said so
            const std::int64_t need = tile.registers(head_dim);
            const std::int64_t limit = register_limit(tile.threads(), device);
            if (need > limit) {
              return fmt::format("needs about {} registers a thread, {} threads may have {} each", need,
                                 tile.threads(), limit);
            }
            const std::int64_t cap = config.integer(axis::kMaxRegisters);
            if (cap == 0) return {};
            if (cap >= limit) return fmt::format("maxnreg {} is no cap: {} is the limit already", cap, limit);
            if (need > cap + kSqueeze)
              return fmt::format("needs about {} registers, maxnreg {} spills", need, cap);
            return {};
          }};
}

Rule packing_rule(const Shape& shape) {
  return {
      "row tile", {axis::kPackedHeads, axis::kBlockM}, [q_len = shape.q_len](const Config& config) -> Reason {
        const std::int64_t packed = config.integer(axis::kPackedHeads),
                           block_m = config.integer(axis::kBlockM);
        if (block_m > 16 && block_m >= 2 * q_len * packed) {
          return fmt::format("block_m {} is over twice the {} rows there are", block_m, q_len * packed);
        }
        return {};
      }};
}

Rule order_rule(const Shape& shape) {
  return {"tile order",
          {axis::kPackedHeads, axis::kBlockM, axis::kLoopOrder, axis::kL2Grouping},
          [shape](const Config& config) -> Reason {
            const std::int64_t packed = config.integer(axis::kPackedHeads);
            const std::int64_t blocks = row_blocks(shape, packed, config.integer(axis::kBlockM));
            const std::int64_t heads = head_tiles(shape, packed), group = config.integer(axis::kL2Grouping);
            const bool row_fastest = config.text(axis::kLoopOrder) == "[1,0]";
            if (row_fastest && (blocks == 1 || heads == 1)) {
              return fmt::format("with {} row tiles of {} heads both loop orders are one", blocks, heads);
            }
            if (group == 1) return {};
            if (row_fastest) return "l2_groupings group heads, which needs loop_orders [[0,1]]";
            if (blocks == 1) return "with one row tile a head every l2_grouping is the same order";
            if (group >= heads)
              return fmt::format("an l2_grouping of {} holds all {} heads: 1 says so", group, heads);
            return {};
          }};
}

Rule row_order_rule(const Shape& shape) {
  return {"row order",
          {axis::kPackedHeads, axis::kBlockM, axis::kRowOrder},
          [shape](const Config& config) -> Reason {
            if (!config.has(axis::kRowOrder) || config.text(axis::kRowOrder) != "paired") return {};
            if (row_blocks(shape, config.integer(axis::kPackedHeads), config.integer(axis::kBlockM)) > 2)
              return {};
            return "of two row tiles paired is ascending";
          }};
}

Rule grid_rule(const Shape& shape, const DeviceFacts& device) {
  return {"persistent grid",
          {axis::kPackedHeads, axis::kBlockM, axis::kPidType, axis::kSmMultiplier},
          [shape, sm_count = device.sm_count](const Config& config) -> Reason {
            if (!persistent(config)) return {};
            const std::int64_t packed = config.integer(axis::kPackedHeads);
            const std::int64_t tiles =
                row_blocks(shape, packed, config.integer(axis::kBlockM)) * head_tiles(shape, packed);
            const std::int64_t ctas = sm_count * config.integer(axis::kSmMultiplier);
            if (tiles > ctas) return {};
            return fmt::format("{} tiles for {} persistent CTAs: the same as flat", tiles, ctas);
          }};
}

Config make_default(const PortableTile& tile, bool masked, bool many_rows) {
  Config config;
  config.set(axis::kPackedHeads, tile.packed_heads);
  config.set(axis::kBlockM, tile.block_m);
  config.set(axis::kBlockN, tile.block_n);
  config.set(axis::kNumWarps, tile.num_warps);
  config.set(axis::kKvSplit, tile.kv_split);
  config.set(axis::kNumStages, tile.num_stages);
  if (tile.num_stages >= 2) config.set(axis::kLoadGroups, std::string("joint"));
  config.set(axis::kQueryIn, std::string(tile.q_in_shared ? "smem" : "registers"));
  for (const char* name : {axis::kEvictQ, axis::kEvictK, axis::kEvictV}) config.set(name, std::string());
  config.set(axis::kUnroll, std::int64_t{1});
  config.set(axis::kLazyRescale, std::int64_t{8});
  config.set(axis::kMaxRegisters, std::int64_t{0});
  config.set(axis::kLoopOrder, std::string("[0,1]"));
  config.set(axis::kL2Grouping, std::int64_t{1});
  // Longest first leaves the short tiles to fill the last wave.
  if (masked && many_rows) config.set(axis::kRowOrder, std::string("longest_first"));
  config.set(axis::kPidType, std::string("flat"));
  return config;
}

}  // namespace

SpaceDefinition portable_space(const Shape& shape, const DeviceFacts& device) {
  SpaceDefinition space;
  for (auto part : {tile_axes(shape), instruction_axes(), schedule_axes(shape)}) {
    space.axes.insert(space.axes.end(), part.begin(), part.end());
  }
  space.rules = {warps_rule(),
                 packing_rule(shape),
                 ring_rule(shape),
                 smem_rule(shape, device),
                 register_rule(shape, device),
                 order_rule(shape),
                 grid_rule(shape, device)};
  if (masks_scores(shape)) space.rules.push_back(row_order_rule(shape));
  return space;
}

Config portable_default(const Shape& shape, const DeviceFacts& device) {
  // Best first; which ones led on an H100 is in bench/. The last one fits every device and head_dim.
  const std::int64_t group = shape.q_heads / shape.kv_heads;
  std::int64_t packed = 1;
  if (shape.q_len < 16) {
    for (const AxisValue& value : packings(shape)) packed = std::get<std::int64_t>(value);
  }
  const PortableTile wide{packed, 128, 64, 4, 1, 2, true}, wide_short_step{packed, 128, 32, 4, 1, 2, true};
  const PortableTile middle{packed, 64, 64, 4, 1, 2, true}, middle_one_stage{packed, 64, 32, 4, 1, 1, true};
  const PortableTile small{packed, 32, 64, 4, 2, 2, true}, thin{packed, 16, 64, 4, 4, 2, true};
  const PortableTile least{packed, 16, 16, 1, 1, 1, true};
  const auto tiles = [&](std::int64_t block_m) {
    return row_blocks(shape, packed, block_m) * head_tiles(shape, packed);
  };
  std::vector<PortableTile> choices;
  if (shape.q_len * packed <= 16)
    choices = {thin};
  else if (tiles(64) < device.sm_count)
    choices = {small, middle};
  else if (tiles(128) < 4 * device.sm_count)
    choices = {middle, small};
  else
    choices = {wide, wide_short_step, middle};
  choices.insert(choices.end(), {middle_one_stage, least});

  const SpaceDefinition space = portable_space(shape, device);
  for (PortableTile tile : choices) {
    // D=128 with 64 columns is at the very edge of 255 registers; 32 columns are as fast and never spill.
    if (tile.rows_per_warp() > 16 && shape.head_dim > 112 && tile.block_n > 32) continue;
    tile.num_stages = std::min(tile.num_stages, divide_up(shape.kv_len, tile.block_n));
    while (tile.kv_split == 1 && tile.block_n > 16 && tile.block_n / 2 >= shape.kv_len) tile.block_n /= 2;
    const bool many_rows = row_blocks(shape, packed, tile.block_m) > 1;
    Config config = make_default(tile, masks_scores(shape), many_rows);
    if (check_config(config, space)) return config;
  }
  throw std::logic_error(fmt::format("the portable template has no default for {} (group {}) on {}",
                                     to_string(shape), group, device.name));
}

}  // namespace attune
