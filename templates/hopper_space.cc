#include "templates/hopper_space.h"

#include <algorithm>
#include <stdexcept>

#include "templates/axis_values.h"
#include "templates/hopper_config.h"
#include "templates/portable_config.h"

namespace attune {
namespace {

namespace axis = hopper_axis;
using Reason = std::optional<std::string>;

std::int64_t divide_up(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

// 128 bytes always; 64 where it stores head_dim without unused columns. 32 won nowhere, and the loads of its
// many chunks need more registers than a producer has.
std::vector<AxisValue> swizzles(std::int64_t head_dim) {
  return head_dim % 64 == 32 ? integers({128, 64}) : integers({128});
}

// Heads a section; 0 puts all of them in one.
std::vector<AxisValue> groupings(const Shape& shape) {
  std::vector<AxisValue> all{std::int64_t{0}};
  for (std::int64_t n = 1; n <= 32 && n < shape.batch * shape.q_heads; n *= 2) all.emplace_back(n);
  return all;
}

// What divides the q heads of a kv head and leaves each a row of the smallest tile.
std::vector<AxisValue> packings(const Shape& shape) {
  const std::int64_t group = shape.q_heads / shape.kv_heads;
  std::vector<AxisValue> all;
  for (std::int64_t n = 1; n <= std::min<std::int64_t>(group, 64); ++n) {
    if (group % n == 0) all.emplace_back(n);
  }
  return all;
}

bool has_many_keys_a_query(const Shape& shape) {
  return shape.kv_len >= 4 * shape.q_len;
}

// Parts of the keys that CTAs take each: where there are many keys a row, as in decoding. Elsewhere what the
// parts write and read again outweighs all else (bench/notes/hopper.md, fourth round).
std::vector<AxisValue> cta_splits(const Shape& shape) {
  if (!has_many_keys_a_query(shape)) return integers({1});
  return covering({1, 2, 4, 8, 16, 32}, divide_up(shape.kv_len, 64));
}

bool flat(const Config& config) {
  return config.text(axis::kPidType) == "flat";
}

bool takes_turns(const Config& config) {
  return config.text(axis::kPipeline) != "overlap";
}

// Of a config in which at least these two axes are set.
HopperTile rows_of(const Config& config) {
  return {.packed_heads = config.integer(axis::kPackedHeads), .block_m = config.integer(axis::kBlockM)};
}

// O can leave through a buffer of Q: one that its registers have left, or the other of two.
bool has_buffer_for_output(const Config& config) {
  if (flat(config) || config.integer(axis::kKvSplit) != 1) return false;
  return config.integer(axis::kStagesQ) == (config.text(axis::kQueryIn) == "registers" ? 1 : 2);
}

std::vector<Axis> tile_axes(const Shape& shape) {
  return {
      {axis::kPackedHeads, "/block_sizes/0", packings(shape), "q heads of one kv head in a row tile"},
      {axis::kBlockM, "/block_sizes/1", covering({64, 128, 192}, shape.q_len),
       "rows of Q a tile, 64 a consumer warpgroup"},
      {axis::kBlockN, "/block_sizes/2",
       covering({32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224}, shape.kv_len),
       "rows of K and V a step"},
      {axis::kKvSplit, "/kv_split", integers({1, 2}),
       "warpgroups that share the rows and deal out the K and V blocks"},
      {axis::kProducer, "/producer", texts({"warpgroup", "warp", "none"}),
       "who loads: a warpgroup that gives its registers to the consumers, a warp, or the consumers "
       "themselves"},
      {axis::kCtasPerSm, "/ctas_per_sm", integers({1, 2, 3, 4}),
       "CTAs an SM that the register cap leaves room for"},
      {axis::kSwizzle, "/swizzle", swizzles(shape.head_dim), "bytes of a swizzled row in shared memory"},
      {axis::kPipeline, "/pipeline", texts({"overlap_gemm_turns", "overlap", "overlap_exp_turns"}),
       "what warpgroups take turns at, whose softmax runs beside the output of the block before it"},
      {axis::kQueryIn, "/q_in", texts({"smem", "registers"}),
       "where Q's fragments live: registers spare shared memory's bandwidth"},
      {axis::kSoftmaxOrder, "/softmax_order", texts({"batches", "compiler"}),
       "sums, packing and rescale a batch behind the exponentials, or as the compiler orders them"},
  };
}

std::vector<Axis> schedule_axes(const Shape& shape) {
  const bool masked = masks_scores(shape);
  // Not "last", which gains 1% alone and costs a program more: what stays in L2 is not there for the kernels
  // that follow (bench/notes/hopper.md, sixth round).
  const auto policies = texts({"", "first"});
  std::vector<Axis> axes{
      {axis::kPidType, "/pid_type", texts({"flat", "persistent_snake", "dynamic"}),
       "one CTA a tile, or CTAs that walk tiles: to and fro, or drawing from a counter"},
      {axis::kStagesK, "/range_num_stages/0", integers({1, 2, 3, 4, 6}), "depth of the ring of K blocks"},
      {axis::kStagesV, "/range_num_stages/1", integers({1, 2, 3, 4, 6}), "depth of the ring of V blocks"},
      {axis::kStagesQ,
       "/q_stages",
       integers({1, 2}),
       "buffers of Q: two load the next tile's before this one ends",
       {axis::kPidType},
       [](const Config& config) { return !flat(config); }},
      {axis::kL2Grouping, "/l2_groupings/0", groupings(shape),
       "heads of a section, whose row tiles run together (0: all heads; 1: head by head)"},
      {axis::kEvictQ, "/load_eviction_policies/0", policies, "L2 policy of loads of Q"},
      {axis::kEvictK, "/load_eviction_policies/1", policies, "L2 policy of loads of K"},
      {axis::kEvictV, "/load_eviction_policies/2", policies, "L2 policy of loads of V"},
  };
  axes.push_back({axis::kCtaSplit,
                  "/cta_split",
                  cta_splits(shape),
                  "CTAs that share the K and V blocks of a tile; the last to end adds up",
                  {axis::kPidType},
                  flat,
                  std::int64_t{1}});
  axes.push_back({axis::kStore,
                  "/store",
                  texts({"direct", "tma"}),
                  "how O is stored: from registers, or by the copy engine out of a buffer of Q",
                  {axis::kPidType, axis::kKvSplit, axis::kQueryIn, axis::kStagesQ},
                  has_buffer_for_output,
                  std::string("direct")});
  if (masked) {
    axes.push_back({axis::kRowOrder,
                    "/row_order",
                    texts({"longest_first", "ascending"}),
                    "order of a section's row tiles, whose lengths differ under a causal mask",
                    {axis::kPackedHeads, axis::kBlockM},
                    [shape](const Config& config) { return rows_of(config).row_blocks(shape) > 1; }});
    axes.push_back({axis::kCompact,
                    "/compact",
                    {false, true},
                    "one loop with the mask for all blocks: less code to fetch",
                    {axis::kPidType},
                    flat});
  }
  return axes;
}

// ---- rules
// -----------------------------------------------------------------------------------------------------------

Rule roles_rule() {
  return {"roles",
          {axis::kBlockM, axis::kKvSplit, axis::kProducer, axis::kCtasPerSm},
          [](const Config& config) -> Reason {
            const std::int64_t groups = config.integer(axis::kBlockM) / 64,
                               split = config.integer(axis::kKvSplit);
            const std::string& producer = config.text(axis::kProducer);
            if (groups * split > 3)
              return fmt::format("{} consumer warpgroups leave too few registers to each", groups * split);
            if (producer == "warpgroup" && config.integer(axis::kCtasPerSm) != 1) {
              return "setmaxnreg shares out the registers of one CTA an SM";
            }
            if (producer == "warpgroup" && groups * split == 1) {
              return "one consumer warpgroup has all the registers it can use without a producer warpgroup";
            }
            if (producer == "none" && groups != 1)
              return "consumers that load for themselves share no stage: block_m 64";
            return {};
          }};
}

Rule pipeline_rule() {
  return {"pipeline", {axis::kBlockM, axis::kKvSplit, axis::kPipeline}, [](const Config& config) -> Reason {
            if (!takes_turns(config)) return {};
            if (config.integer(axis::kBlockM) == 64) return "one warpgroup has no other to take turns with";
            if (config.integer(axis::kKvSplit) != 1)
              return "groups of a KV split have unequal numbers of blocks, so no turns";
            return {};
          }};
}

Rule flat_rule() {
  return {"one tile", {axis::kProducer, axis::kPidType}, [](const Config& config) -> Reason {
            if (flat(config)) return {};
            if (config.text(axis::kProducer) == "none")
              return "without a producer nobody loads ahead: needs pid_type flat";
            return {};
          }};
}

Rule ring_rule(const Shape& shape) {
  return {
      "ring",
      {axis::kBlockN, axis::kKvSplit, axis::kStagesK, axis::kStagesV, axis::kPidType},
      [kv_len = shape.kv_len](const Config& config) -> Reason {
        const std::int64_t blocks = divide_up(kv_len, config.integer(axis::kBlockN));
        const std::int64_t split = config.integer(axis::kKvSplit);
        for (const char* name : {axis::kStagesK, axis::kStagesV}) {
          const std::int64_t stages = config.integer(name);
          if (stages < split) return fmt::format("{} {} for {} groups", name, stages, split);
          // What such a producer keeps of a ring of one spills as well (bench/notes/hopper.md, sixth round).
          if (!flat(config) && stages == 1) {
            return fmt::format("{} 1: CTAs that walk tiles would load nothing ahead", name);
          }
          if (flat(config) && stages > std::max(blocks, split)) {
            return fmt::format("{} {} for {} blocks of K and V", name, stages, blocks);
          }
          if (stages % split != 0) {
            return fmt::format(
                "{} {}: a stage must stay with one of {} groups, whose waits tell two phases apart only then",
                name, stages, split);
          }
        }
        return {};
      }};
}

Rule split_rule(const Shape& shape, const DeviceFacts& device) {
  return {"parts of a tile",
          {axis::kPackedHeads, axis::kBlockM, axis::kBlockN, axis::kKvSplit, axis::kPidType, axis::kCtaSplit},
          [shape, sm_count = device.sm_count](const Config& config) -> Reason {
            if (!flat(config) || config.integer(axis::kCtaSplit) == 1) return {};
            const std::int64_t parts = config.integer(axis::kCtaSplit);
            const std::int64_t blocks = divide_up(shape.kv_len, config.integer(axis::kBlockN));
            if (parts * config.integer(axis::kKvSplit) > blocks) {
              return fmt::format("{} CTAs of {} groups for {} blocks of K and V", parts,
                                 config.integer(axis::kKvSplit), blocks);
            }
            HopperTile tile = rows_of(config);
            tile.cta_split = parts;
            const std::int64_t tiles = tile.tiles(shape);
            if (tiles * parts > 8 * std::int64_t{sm_count}) {
              return fmt::format("{} tiles in {} parts for {} SMs", tiles, parts, sm_count);
            }
            constexpr std::int64_t kMostBytes = std::int64_t{64} << 20;  // of every stream
            if (const std::int64_t bytes = tile.parts_bytes(shape); bytes > kMostBytes) {
              return fmt::format("the parts of {} tiles are {} MiB, more than {}", tiles, bytes >> 20,
                                 kMostBytes >> 20);
            }
            return {};
          }};
}

Rule store_rule(const Shape& shape) {
  return {"store",
          {axis::kPackedHeads, axis::kBlockM, axis::kKvSplit, axis::kQueryIn, axis::kPidType, axis::kStagesQ,
           axis::kStore},
          [shape](const Config& config) -> Reason {
            if (!stores_by_copy_engine(config)) return {};
            const HopperTile tile = rows_of(config);
            if (tile.row_groups() > 2 && shape.q_len % tile.positions() != 0) {
              return "the tile that begins before row 0 is stored from registers, which 3 warpgroups lack";
            }
            return {};
          }};
}

const std::vector<std::string> kResourceAxes{
    axis::kBlockM,  axis::kBlockN,       axis::kKvSplit, axis::kProducer, axis::kCtasPerSm, axis::kSwizzle,
    axis::kQueryIn, axis::kSoftmaxOrder, axis::kStagesK, axis::kStagesV,  axis::kPidType,   axis::kStagesQ};

Rule smem_rule(const Shape& shape, const DeviceFacts& device) {
  return {"shared memory", kResourceAxes,
          [head_dim = shape.head_dim, device](const Config& config) -> Reason {
            constexpr std::int64_t kReserved = 1024;  // of every CTA, by the system
            const HopperTile tile = HopperTile::read(config);
            const std::int64_t bytes = tile.smem_bytes(head_dim);
            if (bytes > device.smem_per_block_bytes) {
              return fmt::format("needs {} B of shared memory, the limit is {} B", bytes,
                                 device.smem_per_block_bytes);
            }
            if (tile.ctas_per_sm * (bytes + kReserved) > device.smem_per_sm_bytes) {
              return fmt::format("{} CTAs of {} B of shared memory do not fit the {} B of an SM",
                                 tile.ctas_per_sm, bytes, device.smem_per_sm_bytes);
            }
            return {};
          }};
}

Rule register_rule(const Shape& shape, const DeviceFacts& device) {
  return {"registers",
          {axis::kBlockM, axis::kBlockN, axis::kKvSplit, axis::kProducer, axis::kCtasPerSm, axis::kQueryIn,
           axis::kSoftmaxOrder, axis::kSwizzle, axis::kStagesK, axis::kStagesV, axis::kPidType},
          [head_dim = shape.head_dim, device](const Config& config) -> Reason {
            const HopperTile tile = HopperTile::read(config);
            const std::int64_t need = tile.registers(head_dim), limit = tile.register_limit(device);
            if (need <= limit) return {};
            return fmt::format(
                "needs about {} registers a thread, {} threads in {} CTAs an SM may have {} each", need,
                tile.threads(), tile.ctas_per_sm, limit);
          }};
}

Rule order_rule(const Shape& shape) {
  return {"tile order",
          {axis::kPackedHeads, axis::kBlockM, axis::kL2Grouping},
          [shape](const Config& config) -> Reason {
            const std::int64_t section = config.integer(axis::kL2Grouping);
            if (section == 0) return {};
            if (rows_of(config).row_blocks(shape) == 1)
              return "with one row tile a head every l2_grouping is the same order";
            if (section >= rows_of(config).head_tiles(shape))
              return fmt::format("a section of {} heads is all of them, as 0 is", section);
            return {};
          }};
}

Rule grid_rule(const Shape& shape, const DeviceFacts& device) {
  return {"persistent grid",
          {axis::kPackedHeads, axis::kBlockM, axis::kPidType, axis::kCtasPerSm},
          [shape, sm_count = device.sm_count](const Config& config) -> Reason {
            if (flat(config)) return {};
            const std::int64_t ctas = sm_count * config.integer(axis::kCtasPerSm);
            const std::int64_t tiles = rows_of(config).tiles(shape);
            if (tiles > ctas) return {};
            return fmt::format("{} tiles for {} persistent CTAs: the same as flat", tiles, ctas);
          }};
}

struct Choice {
  HopperTile tile;
  const char* pid;
  const char* pipeline;
  std::int64_t section = 0;
};

Config make_config(const Choice& choice, const Shape& shape) {
  const HopperTile& tile = choice.tile;
  Config config;
  config.set(axis::kPackedHeads, tile.packed_heads);
  config.set(axis::kBlockM, tile.block_m);
  config.set(axis::kBlockN, tile.block_n);
  config.set(axis::kKvSplit, tile.kv_split);
  config.set(axis::kProducer, tile.producer);
  config.set(axis::kCtasPerSm, tile.ctas_per_sm);
  config.set(axis::kSwizzle, tile.swizzle);
  config.set(axis::kPipeline, std::string(choice.pipeline));
  config.set(axis::kQueryIn, std::string(tile.q_in_registers ? "registers" : "smem"));
  config.set(axis::kSoftmaxOrder, std::string(tile.softmax_in_batches ? "batches" : "compiler"));
  config.set(axis::kPidType, std::string(choice.pid));
  config.set(axis::kStagesK, tile.k_stages);
  config.set(axis::kStagesV, tile.v_stages);
  if (!flat(config)) config.set(axis::kStagesQ, tile.q_stages);
  if (flat(config)) config.set(axis::kCtaSplit, tile.cta_split);
  if (has_buffer_for_output(config)) config.set(axis::kStore, std::string("direct"));
  config.set(axis::kL2Grouping, choice.section);
  for (const char* name : {axis::kEvictQ, axis::kEvictK, axis::kEvictV}) config.set(name, std::string());
  if (masks_scores(shape)) {
    if (tile.row_blocks(shape) > 1) config.set(axis::kRowOrder, std::string("longest_first"));
    if (flat(config)) config.set(axis::kCompact, false);
  }
  return config;
}

}  // namespace

SpaceDefinition hopper_space(const Shape& shape, const DeviceFacts& device) {
  SpaceDefinition space;
  for (auto part : {tile_axes(shape), schedule_axes(shape)}) {
    space.axes.insert(space.axes.end(), part.begin(), part.end());
  }
  space.rules = {roles_rule(),
                 pipeline_rule(),
                 flat_rule(),
                 ring_rule(shape),
                 split_rule(shape, device),
                 store_rule(shape),
                 register_rule(shape, device),
                 smem_rule(shape, device),
                 order_rule(shape),
                 grid_rule(shape, device)};
  return space;
}

Config hopper_default(const Shape& shape, const DeviceFacts& device) {
  // Best first, as bench/notes/hopper.md found on an H100; the last fit every shape.
  const HopperTile wide{.block_m = 128,
                        .block_n = 128,
                        .k_stages = 3,
                        .v_stages = 3,
                        .q_in_registers = true,
                        .softmax_in_batches = true};
  const HopperTile wide_short{.block_m = 128, .block_n = 64, .q_stages = 1};
  const HopperTile split{.block_m = 64,
                         .block_n = 64,
                         .kv_split = 2,
                         .k_stages = 4,
                         .v_stages = 4,
                         .producer = "warp",
                         .softmax_in_batches = true};
  HopperTile split_walking = split;
  split_walking.q_stages = 2;
  split_walking.softmax_in_batches = false;
  const HopperTile tall{.block_m = 192, .block_n = shape.head_dim <= 64 ? 128 : 96, .q_stages = 2};
  const HopperTile pair{.block_m = 64, .block_n = 64, .ctas_per_sm = 2, .producer = "warp"};
  const HopperTile one{.block_m = 64, .block_n = 64, .producer = "warp"};
  const HopperTile least{.block_m = 64, .block_n = 32, .k_stages = 1, .v_stages = 1, .producer = "warp"};
  const std::int64_t short_tiles = one.tiles(shape);
  const bool masked = masks_scores(shape);

  // Few rows of many keys: the q heads of a kv head share a tile, and CTAs its keys, until every SM has one.
  HopperTile decoding = split;
  decoding.packed_heads = std::get<std::int64_t>(packings(shape).back());
  const std::int64_t decoding_blocks = divide_up(shape.kv_len, decoding.block_n);
  for (const AxisValue& parts : cta_splits(shape)) {
    const std::int64_t n = std::get<std::int64_t>(parts);
    if (decoding.tiles(shape) * n > device.sm_count || 2 * n > decoding_blocks) break;
    decoding.cta_split = n;
  }

  std::vector<Choice> choices;
  const bool few_queries = has_many_keys_a_query(shape) && shape.q_len * decoding.packed_heads <= 64;
  if (decoding.cta_split > 1 || (few_queries && decoding.packed_heads > 1)) {
    choices.push_back({decoding, "flat", "overlap"});
  }
  const std::int64_t tall_tiles = tall.tiles(shape);
  if (short_tiles <= device.sm_count) choices.push_back({split, "flat", "overlap"});
  if (short_tiles <= 2 * device.sm_count) choices.push_back({split_walking, "persistent_snake", "overlap"});
  if (masked && shape.head_dim <= 80 && tall_tiles > 3 * device.sm_count) {
    choices.push_back({tall, "persistent_snake", "overlap_gemm_turns"});
  }
  choices.push_back({wide, masked ? "persistent_snake" : "dynamic",
                     shape.head_dim <= 64 ? "overlap_exp_turns" : "overlap_gemm_turns", masked ? 0 : 1});
  choices.push_back({wide_short, "flat", "overlap_gemm_turns"});
  for (const HopperTile& tile : {pair, one, least}) choices.push_back({tile, "flat", "overlap"});

  const SpaceDefinition space = hopper_space(shape, device);
  for (Choice choice : choices) {
    HopperTile& tile = choice.tile;
    while (tile.block_n > 32 && tile.block_n / 2 >= shape.kv_len) tile.block_n /= 2;
    if (std::string_view(choice.pid) == "flat") {  // one tile has no more to load than its blocks
      const std::int64_t blocks = std::max(divide_up(shape.kv_len, tile.block_n), tile.kv_split);
      tile.k_stages = tile.v_stages = std::min(tile.k_stages, blocks / tile.kv_split * tile.kv_split);
    }
    const Config config = make_config(choice, shape);
    if (check_config(config, space)) return config;
  }
  throw std::logic_error(
      fmt::format("the Hopper template has no default for {} on {}", to_string(shape), device.name));
}

}  // namespace attune
