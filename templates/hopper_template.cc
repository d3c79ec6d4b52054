#include "templates/hopper_template.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>

#include "compiler/driver.h"
#include "templates/hopper_config.h"
#include "templates/hopper_divisor.h"
#include "templates/hopper_gemm.h"
#include "templates/hopper_params.cuh"
#include "templates/hopper_space.h"
#include "templates/kernel_files.h"
#include "templates/portable_config.h"

namespace attune {
namespace {

namespace axis = hopper_axis;

constexpr std::string_view kFiles[] = {"hopper_params.cuh", "hopper_ptx.cuh", "hopper_pipeline.cuh",
                                       "hopper_softmax.cuh", "hopper_attention.cuh"};

std::string_view grid_name(const std::string& pid) {
  if (pid == "persistent_snake") return "kPersistentSnake";
  return pid == "dynamic" ? "kDynamic" : "kFlat";
}

std::string_view sync_name(const std::string& pipeline) {
  if (pipeline == "overlap_gemm_turns") return "kGemm";
  return pipeline == "overlap_exp_turns" ? "kExp" : "kNone";
}

// The prelude that hopper_attention.cuh is written against, and nothing of the shape beyond its class.
std::string prelude(const Shape& shape, const Config& config) {
  const HopperTile tile = HopperTile::read(config);
  const bool masked = masks_scores(shape);
  std::string text = fmt::format("#define ATTUNE_FP16 {}\n", shape.dtype == DType::fp16 ? 1 : 0);
  text += "enum class Grid { kFlat, kPersistentSnake, kDynamic };\n";
  text += "enum class Sync { kNone, kGemm, kExp };\n";
  const auto number = [&](std::string_view name, std::int64_t value) {
    text += fmt::format("constexpr int {} = {};\n", name, value);
  };
  const auto flag = [&](std::string_view name, bool value) {
    text += fmt::format("constexpr bool {} = {};\n", name, value);
  };
  const auto choice = [&](std::string_view type, std::string_view name, std::string_view value) {
    text += fmt::format("constexpr {0} {1} = {0}::{2};\n", type, name, value);
  };
  number("kHeadDim", shape.head_dim);
  flag("kCausal", masked);
  flag("kRaggedQ", shape.q_len % tile.positions() != 0);
  flag("kRaggedKv", !masked && shape.kv_len % tile.block_n != 0);  // a causal mask looks at kv_len as well
  flag("kWantsLse", shape.wants_lse);
  flag("kQInRegisters", tile.q_in_registers);
  flag("kSoftmaxInBatches", config.text(axis::kSoftmaxOrder) == "batches");
  flag("kStoreThroughQ", stores_by_copy_engine(config));
  number("kPackedHeads", tile.packed_heads);
  number("kCtaSplit", tile.cta_split);
  number("kRowGroups", tile.row_groups());
  number("kKvGroups", tile.kv_split);
  number("kBlockN", tile.block_n);
  number("kStagesQ", tile.q_stages);
  number("kStagesK", tile.k_stages);
  number("kStagesV", tile.v_stages);
  number("kProducerWarps", tile.producer_warps());
  number("kConsumerRegisters", tile.consumer_registers());
  number("kProducerRegisters", tile.producer_registers());
  number("kCtasPerSm", tile.ctas_per_sm);
  choice("Sync", "kSync", sync_name(config.text(axis::kPipeline)));
  flag("kCompact", config.has(axis::kCompact) && config.flag(axis::kCompact));
  number("kSwizzleBytes", tile.swizzle);
  choice("Grid", "kGrid", grid_name(config.text(axis::kPidType)));
  // Without an order to choose, all row tiles are equally long.
  flag("kLongestFirst", !config.has(axis::kRowOrder) || config.text(axis::kRowOrder) == "longest_first");
  flag("kEvictFirstQ", config.text(axis::kEvictQ) == "first");
  flag("kEvictFirstK", config.text(axis::kEvictK) == "first");
  flag("kEvictFirstV", config.text(axis::kEvictV) == "first");
  text += render_hopper_gemm(shape.dtype, shape.head_dim, tile.block_n);
  return text;
}

struct Tensor {
  std::string_view name;
  std::uint64_t address;
  const TensorStrides& strides;
  std::int64_t heads, length;
};

// The copy engine wants addresses and strides in multiples of 16 bytes, below 2^40 (CUDA driver API,
// cuTensorMapEncodeTiled); O is stored 16 bytes at a time.
Status check_tensor(const Tensor& t, std::int64_t batch) {
  constexpr long long kLargestStride = (1LL << 39) - 1;  // elements
  if (t.address == 0) return fail("{} is a null pointer", t.name);
  if (t.address % 16 != 0)
    return fail("{} is at {:#x}, which is not a multiple of 16 bytes", t.name, t.address);
  const auto usable = [](std::int64_t extent, long long stride) {
    return extent == 1 || (stride % 8 == 0 && stride > 0 && stride <= kLargestStride);
  };
  if (usable(batch, t.strides.batch) && usable(t.heads, t.strides.head) && usable(t.length, t.strides.seq))
    return {};
  return fail(
      "{} has strides batch {}, head {}, seq {}: each must be a positive multiple of 8 elements (16 bytes); "
      "copy the "
      "tensor to make it contiguous",
      t.name, t.strides.batch, t.strides.head, t.strides.seq);
}

Result<TensorMap> tile_map(const Driver& driver, const Shape& shape, const HopperTile& tile, const Tensor& t,
                           std::int64_t rows, std::int64_t heads) {
  // The stride of a dimension of one is never used, yet checked by the driver.
  const auto bytes = [](std::int64_t extent, long long stride) {
    return extent == 1 ? std::uint64_t{16} : static_cast<std::uint64_t>(2 * stride);
  };
  TensorMapSpec spec;
  spec.address = t.address;
  spec.element = shape.dtype == DType::bf16 ? TensorElement::bf16 : TensorElement::fp16;
  spec.rank = 4;
  spec.sizes = {static_cast<std::uint64_t>(shape.head_dim), static_cast<std::uint64_t>(t.length),
                static_cast<std::uint64_t>(t.heads), static_cast<std::uint64_t>(shape.batch), 1};
  spec.stride_bytes = {bytes(t.length, t.strides.seq), bytes(t.heads, t.strides.head),
                       bytes(shape.batch, t.strides.batch), 0};
  spec.box = {static_cast<std::uint32_t>(tile.swizzle / 2), static_cast<std::uint32_t>(rows),
              static_cast<std::uint32_t>(heads), 1, 1};
  spec.swizzle = tile.swizzle == 128  ? TensorSwizzle::b128
                 : tile.swizzle == 64 ? TensorSwizzle::b64
                                      : TensorSwizzle::b32;
  spec.l2_promotion = TensorL2Promotion::b128;
  return encode_tensor_map(driver, spec);
}

class HopperTemplate final : public AttentionTemplate {
 public:
  HopperTemplate() : hash_(hash_of_template(prelude_version(), {std::begin(kFiles), std::end(kFiles)})) {}

  std::string_view name() const override { return "hopper"; }
  std::string_view hash() const override { return hash_; }

  Status supports(const Shape& shape, const DeviceFacts& device) const override {
    if (const auto valid = validated(shape); !valid) return valid.error();
    if (device.arch != "sm_90a") {
      return fail("needs sm_90a (wgmma, TMA, setmaxnreg), {} is {}", device.name, device.arch);
    }
    if (shape.head_dim % 16 != 0)
      return fail("needs a head_dim that is a multiple of 16, not {}", shape.head_dim);
    constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
    if (shape.q_len > kMost - 256 || shape.kv_len > kMost - 256 ||
        shape.q_len > kMost / 2 / (shape.batch * shape.q_heads)) {
      return fail("{} rows of {} heads are more tiles than a grid holds", shape.q_len,
                  shape.batch * shape.q_heads);
    }
    return {};
  }

  SpaceDefinition space(const Shape& shape, const DeviceFacts& device) const override {
    return hopper_space(shape, device);
  }

  Config default_config(const Shape& shape, const DeviceFacts& device) const override {
    return hopper_default(shape, device);
  }

  KernelSource render(const Shape& shape, const DeviceFacts&, const Config& config) const override {
    return {.name = "hopper_attention.cu",
            .text = prelude(shape, config) + "#include \"hopper_attention.cuh\"\n",
            .headers = kernel_files({std::begin(kFiles), std::end(kFiles)}),
            .options = {"-default-device"},
            .entry = "attention_forward"};
  }

  LaunchSpec launch_spec(const Shape& shape, const DeviceFacts& device, const Config& config) const override {
    const HopperTile tile = HopperTile::read(config);
    const std::string& pid = config.text(axis::kPidType);
    std::int64_t ctas = tile.tiles(shape) * tile.cta_split;
    if (pid != "flat") ctas = std::min(ctas, device.sm_count * tile.ctas_per_sm);
    LaunchSpec spec;
    spec.grid[0] = static_cast<unsigned>(ctas);
    spec.block[0] = static_cast<unsigned>(tile.threads());
    spec.smem_bytes = tile.smem_bytes(shape.head_dim);
    spec.workspace_bytes = pid == "dynamic"     ? 2 * sizeof(unsigned)
                           : tile.cta_split > 1 ? tile.part_counter_bytes(shape) + tile.parts_bytes(shape)
                                                : 0;
    spec.parameters = {section_heads(shape, tile, config)};
    return spec;
  }

  // Encodes the tensor maps, hence needs the driver and a current context. A few microseconds: once per set
  // of addresses.
  Result<KernelArgument> bind(const Shape& shape, const Config& config,
                              const AttentionTensors& tensors) const override {
    const Tensor q{"q", tensors.q, tensors.q_strides, shape.q_heads, shape.q_len};
    const Tensor k{"k", tensors.k, tensors.k_strides, shape.kv_heads, shape.kv_len};
    const Tensor v{"v", tensors.v, tensors.v_strides, shape.kv_heads, shape.kv_len};
    const Tensor o{"o", tensors.o, tensors.o_strides, shape.q_heads, shape.q_len};
    for (const Tensor* t : {&q, &k, &v, &o}) {
      if (const Status status = check_tensor(*t, shape.batch); !status) return status.error();
    }
    if (shape.wants_lse && tensors.lse == 0) return fail("the shape wants an LSE and lse is a null pointer");
    if (!std::isfinite(tensors.scale) || tensors.scale <= 0) {
      return fail("the softmax scale is {}, must be a finite number above 0", tensors.scale);
    }
    const HopperTile tile = HopperTile::read(config);
    if ((config.text(axis::kPidType) == "dynamic" || tile.cta_split > 1) && tensors.workspace == 0) {
      return fail("the kernel needs its workspace, which is a null pointer");
    }
    const auto driver = Driver::open();
    if (!driver) return driver.error();

    HopperParams params{};
    const struct {
      const Tensor& tensor;
      std::int64_t rows, heads;
      HopperTensorMap& place;
    } maps[] = {{q, tile.positions(), tile.packed_heads, params.q},
                {k, tile.block_n, 1, params.k},
                {v, tile.block_n, 1, params.v},
                {o, tile.positions(), tile.packed_heads, params.o_tiles}};
    for (const auto& m : maps) {
      if (&m.tensor == &o && !stores_by_copy_engine(config)) continue;
      const auto map = tile_map(**driver, shape, tile, m.tensor, m.rows, m.heads);
      if (!map) return map.error();
      static_assert(sizeof(*map) == sizeof(m.place));
      std::memcpy(&m.place, &*map, sizeof(*map));
    }
    fill(params, shape, config, tile, tensors);
    KernelArgument argument;
    static_assert(sizeof(params) <= sizeof(argument.bytes));
    argument.size = sizeof(params);
    std::memcpy(argument.bytes.data(), &params, sizeof(params));
    return argument;
  }

 private:
  // Head tiles whose row tiles run together; 0 in the config: all of them.
  static std::int64_t section_heads(const Shape& shape, const HopperTile& tile, const Config& config) {
    const std::int64_t section = config.integer(axis::kL2Grouping);
    return section == 0 ? tile.head_tiles(shape) : section;
  }

  static void fill(HopperParams& params, const Shape& shape, const Config& config, const HopperTile& tile,
                   const AttentionTensors& tensors) {
    params.o = reinterpret_cast<void*>(tensors.o);
    params.lse = shape.wants_lse ? reinterpret_cast<float*>(tensors.lse) : nullptr;
    params.counters = reinterpret_cast<unsigned*>(tensors.workspace);
    params.partials = reinterpret_cast<float*>(tensors.workspace + tile.part_counter_bytes(shape));
    params.o_batch_stride = tensors.o_strides.batch;
    params.o_head_stride = tensors.o_strides.head;
    params.o_row_stride = tensors.o_strides.seq;
    params.batch = static_cast<int>(shape.batch);
    params.q_heads = static_cast<int>(shape.q_heads);
    params.q_len = static_cast<int>(shape.q_len);
    params.kv_len = static_cast<int>(shape.kv_len);
    params.causal_offset = static_cast<int>(shape.causal_offset());
    const std::int64_t heads = tile.head_tiles(shape);
    const std::int64_t section = section_heads(shape, tile, config);
    params.head_tiles = static_cast<int>(shape.q_heads / tile.packed_heads);
    params.row_blocks = static_cast<int>(tile.row_blocks(shape));
    params.tiles = static_cast<int>(tile.tiles(shape) * tile.cta_split);
    params.section_heads = static_cast<int>(section);
    params.full_sections = static_cast<int>(heads / section);
    params.by_section_tiles = hopper_divisor(section * params.row_blocks);
    params.by_section_heads = hopper_divisor(section);
    params.by_rest_heads = hopper_divisor(std::max<std::int64_t>(1, heads % section));
    params.by_head_tiles = hopper_divisor(params.head_tiles);
    params.by_q_heads_per_kv_head = hopper_divisor(shape.q_heads / shape.kv_heads);
    params.scale_log2 = static_cast<float>(static_cast<double>(tensors.scale) * std::numbers::log2e);
  }

  // The host side's share of the hash: a rendering that shows every name the prelude writes.
  static std::string prelude_version() {
    const Shape shape = *validated(Shape{.q_len = 4096, .kv_len = 4096, .mask = Mask::causal_bottom_right});
    const DeviceFacts device = *nominal_facts("sm_90a");
    return prelude(shape, hopper_default(shape, device));
  }

  const std::string hash_;
};

}  // namespace

const AttentionTemplate& hopper_template() {
  static const HopperTemplate instance;
  return instance;
}

}  // namespace attune
