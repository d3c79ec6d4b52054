// The shape: what is asked of an attention kernel. How it is done is a config (templates/config.h).
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

namespace attune {

enum class DType { bf16, fp16 };

// Which key a query may see. FlashAttention aligns a causal mask to the bottom right corner of the score
// matrix (the last query sees every key), PyTorch's is_causal to the top left (query 0 sees key 0 alone).
// They differ only where q_len != kv_len.
enum class Mask { none, causal_top_left, causal_bottom_right };

// Memory order of Q, K, V and O: [batch, heads, seq, head_dim] or [batch, seq, heads, head_dim].
enum class Layout { bhsd, bshd };

struct Shape {
  std::int64_t batch = 1;
  std::int64_t q_heads = 1;
  std::int64_t kv_heads = 1;  // divides q_heads: GQA where smaller, MQA where 1
  std::int64_t q_len = 1;
  std::int64_t kv_len = 1;
  std::int64_t head_dim = 64;  // multiple of 8, at most 256; V has the same
  DType dtype = DType::bf16;
  Mask mask = Mask::none;
  Layout layout = Layout::bhsd;
  bool wants_lse = false;  // also write the row-wise log-sum-exp (natural log, fp32, [batch, q_heads, q_len])

  bool causal() const { return mask != Mask::none; }
  // Key j is visible to query i iff j <= i + causal_offset(). Meaningful only when causal().
  std::int64_t causal_offset() const { return mask == Mask::causal_bottom_right ? kv_len - q_len : 0; }

  bool operator==(const Shape&) const = default;
};

// The shape with aliases folded together (a square causal mask is bottom-right), or why it makes no sense.
Result<Shape> validated(Shape shape);

// A short line for people and file names of recordings, as in "b4 h32/8 s4096x4096 d128 bf16 causal bhsd".
std::string to_string(const Shape& shape);

std::string_view to_string(DType dtype);
std::string_view to_string(Mask mask);
std::string_view to_string(Layout layout);
Result<DType> parse_dtype(std::string_view text);
Result<Mask> parse_mask(std::string_view text);  // none, causal (bottom right), top-left, bottom-right
Result<Layout> parse_layout(std::string_view text);

nlohmann::json to_json(const Shape& shape);
// Reads what to_json writes; unknown keys, wrong types and senseless values are errors that name the key.
Result<Shape> shape_from_json(const nlohmann::json& json);

}  // namespace attune
