#include "templates/portable_template.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "templates/attention_params.h"
#include "templates/kernel_files.h"
#include "templates/portable_config.h"
#include "templates/portable_space.h"

namespace attune {
namespace {

namespace axis = portable_axis;

constexpr std::string_view kFiles[] = {"attention_params.cuh", "portable_ptx.cuh", "portable_attention.cuh"};

std::string_view evict_name(const std::string& policy) {
  return policy == "first" ? "kFirst" : policy == "last" ? "kLast" : "kNormal";
}

std::string_view row_order_name(const Config& config) {
  if (!config.has(axis::kRowOrder)) return "kAscending";
  const std::string& order = config.text(axis::kRowOrder);
  return order == "longest_first" ? "kLongestFirst" : order == "paired" ? "kPaired" : "kAscending";
}

std::string_view pid_name(const std::string& pid) {
  if (pid == "persistent_blocked") return "kPersistentBlocked";
  return pid == "persistent_interleaved" ? "kPersistentInterleaved" : "kFlat";
}

// The prelude that portable_attention.cuh is written against, and nothing of the shape beyond its class.
std::string prelude(const Shape& shape, const Config& config) {
  const PortableTile tile = PortableTile::read(config);
  const std::int64_t cap = config.integer(axis::kMaxRegisters);
  const bool joint = config.has(axis::kLoadGroups) && config.text(axis::kLoadGroups) == "joint";
  std::string text = "#include \"portable_ptx.cuh\"\n";
  // The two qualifiers exclude each other (CUDA C++ Programming Guide, Maximum Number of Registers per
  // Thread).
  text += cap == 0 ? fmt::format("#define ATTUNE_KERNEL_BOUNDS __launch_bounds__({}, 1)\n", tile.threads())
                   : fmt::format("#define ATTUNE_KERNEL_BOUNDS __maxnreg__({})\n", cap);
  text += "namespace config {\n";
  text += "enum class RowOrder { kAscending, kLongestFirst, kPaired };\n";
  text += "enum class Pid { kFlat, kPersistentBlocked, kPersistentInterleaved };\n";
  text += fmt::format("using Element = ptx::{};\n", shape.dtype == DType::bf16 ? "Bf16" : "Fp16");
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
  flag("kCausal", masks_scores(shape));
  flag("kRaggedKv", shape.kv_len % tile.block_n != 0);
  flag("kWantLse", shape.wants_lse);
  number("kPackedHeads", tile.packed_heads);
  number("kBlockM", tile.block_m);
  number("kBlockN", tile.block_n);
  number("kNumWarps", tile.num_warps);
  number("kKvSplit", tile.kv_split);
  number("kStages", tile.num_stages);
  flag("kJointLoads", joint);
  flag("kQueryInShared", tile.q_in_shared);
  choice("ptx::Evict", "kEvictQ", evict_name(config.text(axis::kEvictQ)));
  choice("ptx::Evict", "kEvictK", evict_name(config.text(axis::kEvictK)));
  choice("ptx::Evict", "kEvictV", evict_name(config.text(axis::kEvictV)));
  number("kUnroll", config.integer(axis::kUnroll));
  text += fmt::format("constexpr float kLazyRescale = {}.0f;\n", config.integer(axis::kLazyRescale));
  flag("kHeadFastest", config.text(axis::kLoopOrder) == "[0,1]");
  number("kHeadGroup", config.integer(axis::kL2Grouping));
  choice("RowOrder", "kRowOrder", row_order_name(config));
  choice("Pid", "kPid", pid_name(config.text(axis::kPidType)));
  return text + "}  // namespace config\n";
}

// What the kernel reads 16 bytes at a time must lie so: addresses, and every stride that is used.
Status check_tensor(std::string_view name, std::uint64_t address, const TensorStrides& strides,
                    std::int64_t batch, std::int64_t heads, std::int64_t length) {
  constexpr std::int64_t kLargestStride = std::int64_t{1} << 21;  // 256 rows of it stay inside 32 bits
  if (address == 0) return fail("{} is a null pointer", name);
  if (address % 16 != 0) return fail("{} is at {:#x}, which is not a multiple of 16 bytes", name, address);
  const auto aligned = [](std::int64_t extent, long long stride) { return extent == 1 || stride % 8 == 0; };
  if (!aligned(batch, strides.batch) || !aligned(heads, strides.head) || !aligned(length, strides.seq)) {
    return fail(
        "{} has strides batch {}, head {}, seq {}: each must be a multiple of 8 elements (16 bytes); copy "
        "the tensor to make it contiguous",
        name, strides.batch, strides.head, strides.seq);
  }
  if (length > 1 && std::abs(strides.seq) > kLargestStride) {
    return fail("{} has a seq stride of {} elements, the limit is {}", name, strides.seq, kLargestStride);
  }
  return {};
}

class PortableTemplate final : public AttentionTemplate {
 public:
  PortableTemplate() : hash_(hash_of_template(prelude_version(), {std::begin(kFiles), std::end(kFiles)})) {}

  std::string_view name() const override { return "portable"; }
  std::string_view hash() const override { return hash_; }

  Status supports(const Shape& shape, const DeviceFacts& device) const override {
    if (const auto valid = validated(shape); !valid) return valid.error();
    if (device.compute_major < 8) {
      return fail("needs compute capability 8.0 (bf16 mma.sync, cp.async), {} has {}.{}", device.name,
                  device.compute_major, device.compute_minor);
    }
    constexpr std::int64_t kMostTiles = std::numeric_limits<std::int32_t>::max();
    if (row_blocks(shape, 1, 16) > kMostTiles / head_tiles(shape, 1) || shape.q_len > kMostTiles / 16) {
      return fail("{} rows of {} heads are more tiles than a grid holds", shape.q_len, head_tiles(shape, 1));
    }
    return {};
  }

  SpaceDefinition space(const Shape& shape, const DeviceFacts& device) const override {
    return portable_space(shape, device);
  }

  Config default_config(const Shape& shape, const DeviceFacts& device) const override {
    return portable_default(shape, device);
  }

  KernelSource render(const Shape& shape, const DeviceFacts&, const Config& config) const override {
    return {.name = "portable_attention.cu",
            .text = prelude(shape, config) + "#include \"portable_attention.cuh\"\n",
            .headers = kernel_files({std::begin(kFiles), std::end(kFiles)}),
            .options = {"-default-device"},  // lambdas in device code
            .entry = "attention_forward"};
  }

  LaunchSpec launch_spec(const Shape& shape, const DeviceFacts& device, const Config& config) const override {
    const PortableTile tile = PortableTile::read(config);
    std::int64_t ctas =
        row_blocks(shape, tile.packed_heads, tile.block_m) * head_tiles(shape, tile.packed_heads);
    if (config.text(axis::kPidType) != "flat") {
      ctas = std::min(ctas, device.sm_count * config.integer(axis::kSmMultiplier));
    }
    LaunchSpec spec;
    spec.grid[0] = static_cast<unsigned>(ctas);
    spec.block[0] = static_cast<unsigned>(tile.threads());
    spec.smem_bytes = tile.smem_bytes(shape.head_dim);
    return spec;
  }

  Result<KernelArgument> bind(const Shape& shape, const Config&, const LaunchSpec&,
                              const AttentionTensors& tensors) const override {
    const struct {
      std::string_view name;
      std::uint64_t address;
      const TensorStrides& strides;
      std::int64_t heads, length;
    } all[] = {{"q", tensors.q, tensors.q_strides, shape.q_heads, shape.q_len},
               {"k", tensors.k, tensors.k_strides, shape.kv_heads, shape.kv_len},
               {"v", tensors.v, tensors.v_strides, shape.kv_heads, shape.kv_len},
               {"o", tensors.o, tensors.o_strides, shape.q_heads, shape.q_len}};
    for (const auto& t : all) {
      const Status status = check_tensor(t.name, t.address, t.strides, shape.batch, t.heads, t.length);
      if (!status) return status.error();
    }
    if (shape.wants_lse && tensors.lse == 0) return fail("the shape wants an LSE and lse is a null pointer");
    if (!std::isfinite(tensors.scale) || tensors.scale <= 0) {
      return fail("the softmax scale is {}, must be a finite number above 0", tensors.scale);
    }
    const AttentionParams params = attention_params(shape, tensors);
    KernelArgument argument;
    argument.size = sizeof(params);
    std::memcpy(argument.bytes.data(), &params, sizeof(params));
    return argument;
  }

 private:
  // The host side's share of the hash: a rendering that shows every name the prelude writes.
  static std::string prelude_version() {
    const Shape shape = *validated(Shape{.q_len = 4096, .kv_len = 4096, .mask = Mask::causal_bottom_right});
    const DeviceFacts device = *nominal_facts("sm_80");
    return prelude(shape, portable_default(shape, device));
  }

  const std::string hash_;
};

}  // namespace

const AttentionTemplate& portable_template() {
  static const PortableTemplate instance;
  return instance;
}

}  // namespace attune
