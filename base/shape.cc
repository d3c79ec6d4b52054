#include "base/shape.h"

#include <array>
#include <nlohmann/json.hpp>

#include "base/printable.h"

namespace attune {
namespace {

// Element counts of a tensor must stay far inside int64, and one head's rows inside int32 (kernels index them
// so).
constexpr std::int64_t kMaxLength = 1 << 28;
constexpr std::int64_t kMaxHeads = 1 << 16;
constexpr std::int64_t kMaxElements = std::int64_t{1} << 40;

struct NamedMask {
  std::string_view name;
  Mask mask;
};
constexpr std::array kMasks{NamedMask{"none", Mask::none}, NamedMask{"causal", Mask::causal_bottom_right},
                            NamedMask{"bottom-right", Mask::causal_bottom_right},
                            NamedMask{"top-left", Mask::causal_top_left}};

Status check_range(std::string_view name, std::int64_t value, std::int64_t max) {
  if (value < 1 || value > max) return fail("{} is {}, must be 1 to {}", name, value, max);
  return {};
}

}  // namespace

Result<Shape> validated(Shape shape) {
  const std::array<std::tuple<std::string_view, std::int64_t, std::int64_t>, 5> ranges{{
      {"batch", shape.batch, kMaxHeads},
      {"q_heads", shape.q_heads, kMaxHeads},
      {"kv_heads", shape.kv_heads, kMaxHeads},
      {"q_len", shape.q_len, kMaxLength},
      {"kv_len", shape.kv_len, kMaxLength},
  }};
  for (const auto& [name, value, max] : ranges) {
    if (auto status = check_range(name, value, max); !status) return status.error();
  }
  if (shape.q_heads % shape.kv_heads != 0) {
    return fail("q_heads {} is not a multiple of kv_heads {}: each kv head serves a whole group of q heads",
                shape.q_heads, shape.kv_heads);
  }
  if (shape.head_dim < 8 || shape.head_dim > 256 || shape.head_dim % 8 != 0) {
    return fail("head_dim is {}, must be a multiple of 8 from 8 to 256", shape.head_dim);
  }
  const std::int64_t longest = std::max(shape.q_len * shape.q_heads, shape.kv_len * shape.kv_heads);
  if (shape.batch > kMaxElements / longest / shape.head_dim) {
    return fail("batch {} x heads x length x head_dim {} overflows: a tensor may have up to 2^40 elements",
                shape.batch, shape.head_dim);
  }
  if (shape.causal() && shape.q_len == shape.kv_len) shape.mask = Mask::causal_bottom_right;
  return shape;
}

std::string_view to_string(DType dtype) {
  return dtype == DType::bf16 ? "bf16" : "fp16";
}

std::string_view to_string(Mask mask) {
  switch (mask) {
    case Mask::none:
      return "none";
    case Mask::causal_top_left:
      return "top-left";
    case Mask::causal_bottom_right:
      return "bottom-right";
  }
  return "none";
}

std::string_view to_string(Layout layout) {
  return layout == Layout::bhsd ? "bhsd" : "bshd";
}

Result<DType> parse_dtype(std::string_view text) {
  if (text == "bf16") return DType::bf16;
  if (text == "fp16") return DType::fp16;
  return fail("unknown dtype '{}': bf16 or fp16", printable(text));
}

Result<Mask> parse_mask(std::string_view text) {
  for (const auto& entry : kMasks) {
    if (entry.name == text) return entry.mask;
  }
  return fail("unknown mask '{}': none, causal, bottom-right or top-left", printable(text));
}

Result<Layout> parse_layout(std::string_view text) {
  if (text == "bhsd") return Layout::bhsd;
  if (text == "bshd") return Layout::bshd;
  return fail("unknown layout '{}': bhsd or bshd", printable(text));
}

std::string to_string(const Shape& shape) {
  std::string mask;
  if (shape.causal()) mask = shape.mask == Mask::causal_top_left ? " causal-top-left" : " causal";
  return fmt::format("b{} h{}/{} s{}x{} d{} {}{} {}{}", shape.batch, shape.q_heads, shape.kv_heads,
                     shape.q_len, shape.kv_len, shape.head_dim, to_string(shape.dtype), mask,
                     to_string(shape.layout), shape.wants_lse ? " lse" : "");
}

nlohmann::json to_json(const Shape& shape) {
  return {{"batch", shape.batch},
          {"q_heads", shape.q_heads},
          {"kv_heads", shape.kv_heads},
          {"q_len", shape.q_len},
          {"kv_len", shape.kv_len},
          {"head_dim", shape.head_dim},
          {"dtype", to_string(shape.dtype)},
          {"mask", to_string(shape.mask)},
          {"layout", to_string(shape.layout)},
          {"lse", shape.wants_lse}};
}

namespace {

template <class Parse, class Value>
Status read_word(const nlohmann::json& value, const std::string& key, Parse parse, Value& out) {
  if (!value.is_string()) return fail("shape key '{}' must be a string", key);
  auto parsed = parse(value.get<std::string>());
  if (!parsed) return parsed.error();
  out = *parsed;
  return {};
}

Status read_key(const std::string& key, const nlohmann::json& value, Shape& shape) {
  const std::array<std::pair<std::string_view, std::int64_t*>, 6> integers{{{"batch", &shape.batch},
                                                                            {"q_heads", &shape.q_heads},
                                                                            {"kv_heads", &shape.kv_heads},
                                                                            {"q_len", &shape.q_len},
                                                                            {"kv_len", &shape.kv_len},
                                                                            {"head_dim", &shape.head_dim}}};
  for (const auto& [name, field] : integers) {
    if (key != name) continue;
    if (!value.is_number_integer()) return fail("shape key '{}' must be an integer", key);
    *field = value.get<std::int64_t>();
    return {};
  }
  if (key == "dtype") return read_word(value, key, parse_dtype, shape.dtype);
  if (key == "mask") return read_word(value, key, parse_mask, shape.mask);
  if (key == "layout") return read_word(value, key, parse_layout, shape.layout);
  if (key == "lse") {
    if (!value.is_boolean()) return fail("shape key 'lse' must be true or false");
    shape.wants_lse = value.get<bool>();
    return {};
  }
  return fail("unknown shape key '{}'", printable(key));
}

}  // namespace

Result<Shape> shape_from_json(const nlohmann::json& json) {
  if (!json.is_object()) return fail("a shape must be a JSON object");
  Shape shape;
  for (const auto& [key, value] : json.items()) {
    if (auto status = read_key(key, value, shape); !status) return status.error();
  }
  return validated(shape);
}

}  // namespace attune
