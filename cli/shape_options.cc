#include "cli/shape_options.h"

#include <array>
#include <charconv>
#include <string_view>

namespace attune::cli {
namespace {

constexpr std::array kNames{"B (batch)", "H (q heads)", "S (q length)", "D (head dim)"};

Result<std::array<std::int64_t, 4>> parse_numbers(std::string_view text) {
  std::array<std::int64_t, 4> numbers{};
  std::string_view rest = text;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const bool last = i + 1 == numbers.size();
    const std::size_t comma = rest.find(',');
    if (last != (comma == std::string_view::npos)) {
      return fail("--shape '{}': must be four whole numbers B,H,S,D, as in 4,32,4096,128", text);
    }
    const std::string_view word = rest.substr(0, comma);
    const auto [end, code] = std::from_chars(word.data(), word.data() + word.size(), numbers[i]);
    if (code == std::errc::result_out_of_range) return fail("--shape '{}': {} is too large", text, kNames[i]);
    if (code != std::errc() || end != word.data() + word.size()) {
      return fail("--shape '{}': {} is '{}', must be a whole number", text, kNames[i], word);
    }
    if (!last) rest.remove_prefix(comma + 1);
  }
  return numbers;
}

}  // namespace

void add_shape_flags(CLI::App& app, ShapeFlags& flags, bool required) {
  app.add_option("--shape", flags.shape, "Batch, q heads, q length, head dim")
      ->type_name("B,H,S,D")
      ->required(required);
  app.add_option("--kv-heads", flags.kv_heads, "K and V heads; fewer than H for GQA, 1 for MQA (default: H)")
      ->type_name("N");
  app.add_option("--kv-len", flags.kv_len, "K and V length (default: S)")->type_name("N");
  app.add_flag(
      "--causal{bottom-right}", flags.mask,
      "Causal mask; --causal=top-left aligns as PyTorch's is_causal does, the default bottom-right as "
      "FlashAttention does (the same where the lengths are equal)");
  app.add_option("--dtype", flags.dtype, "bf16 or fp16")->capture_default_str()->type_name("T");
  app.add_option("--layout", flags.layout, "Memory order of the tensors: bhsd or bshd")
      ->capture_default_str()
      ->type_name("L");
  app.add_flag("--lse", flags.lse, "The kernel also writes the log-sum-exp of each row");
}

Result<Shape> parse_shape(const ShapeFlags& flags) {
  const auto numbers = parse_numbers(flags.shape);
  if (!numbers) return numbers.error();
  const auto dtype = parse_dtype(flags.dtype);
  if (!dtype) return fail("--dtype: {}", dtype.error().message);
  const auto layout = parse_layout(flags.layout);
  if (!layout) return fail("--layout: {}", layout.error().message);
  const auto mask = parse_mask(flags.mask);
  if (!mask) return fail("--causal: {}", mask.error().message);

  Shape shape;
  shape.batch = (*numbers)[0];
  shape.q_heads = (*numbers)[1];
  shape.kv_heads = flags.kv_heads.value_or(shape.q_heads);
  shape.q_len = (*numbers)[2];
  shape.kv_len = flags.kv_len.value_or(shape.q_len);
  shape.head_dim = (*numbers)[3];
  shape.dtype = *dtype;
  shape.mask = *mask;
  shape.layout = *layout;
  shape.wants_lse = flags.lse;
  auto valid = validated(shape);
  if (!valid) return fail("this shape makes no sense: {}", valid.error().message);
  return valid;
}

}  // namespace attune::cli
