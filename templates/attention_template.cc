#include "templates/attention_template.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/printable.h"
#include "templates/hopper_template.h"
#include "templates/portable_template.h"

namespace attune {

std::span<const AttentionTemplate* const> attention_templates() {
  static const std::array<const AttentionTemplate*, 2> all{&hopper_template(), &portable_template()};
  return all;
}

Result<const AttentionTemplate*> find_template(std::string_view name) {
  std::string known;
  for (const AttentionTemplate* candidate : attention_templates()) {
    if (candidate->name() == name) return candidate;
    known += (known.empty() ? "" : ", ") + std::string(candidate->name());
  }
  return fail("no kernel template named '{}'; there are: {}", printable(name), known);
}

Result<const AttentionTemplate*> default_template(const Shape& shape, const DeviceFacts& device) {
  std::string reasons;
  for (const AttentionTemplate* candidate : attention_templates()) {
    const Status status = candidate->supports(shape, device);
    if (status) return candidate;
    reasons += (reasons.empty() ? "" : "; ") + std::string(candidate->name()) + ": " + status.error().message;
  }
  return fail("no kernel template serves {} on {} ({})", to_string(shape), device.name, reasons);
}

std::optional<Config> servable_config(const AttentionTemplate& tmpl, const std::string& config_json,
                                      const Shape& shape, const DeviceFacts& device) {
  if (!tmpl.supports(shape, device)) return std::nullopt;
  const auto json = nlohmann::json::parse(config_json, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return std::nullopt;
  auto config = config_from_json(json, tmpl.space(shape, device));
  if (!config) return std::nullopt;
  return *std::move(config);
}

double attention_flops(const Shape& shape) {
  const auto q_len = static_cast<double>(shape.q_len), kv_len = static_cast<double>(shape.kv_len);
  double pairs = q_len * kv_len;
  if (shape.causal() && shape.q_len == shape.kv_len) {
    pairs /= 2;
  } else if (shape.causal()) {
    // Query i sees min(max(i + 1 + offset, 0), kv_len) keys: none before `first`, all from `full` on.
    const std::int64_t offset = shape.causal_offset();
    const std::int64_t first = std::clamp<std::int64_t>(-offset, 0, shape.q_len);
    const std::int64_t full = std::clamp<std::int64_t>(shape.kv_len - 1 - offset, first, shape.q_len);
    const auto rising = static_cast<double>(full - first);
    pairs = rising * static_cast<double>(first + 1 + offset + full + offset) / 2 +
            static_cast<double>(shape.q_len - full) * kv_len;
  }
  return 4.0 * static_cast<double>(shape.batch) * static_cast<double>(shape.q_heads) * pairs *
         static_cast<double>(shape.head_dim);
}

TensorStrides contiguous_strides(Layout layout, std::int64_t heads, std::int64_t length,
                                 std::int64_t head_dim) {
  const std::int64_t batch = heads * length * head_dim;
  if (layout == Layout::bhsd) return {.batch = batch, .head = length * head_dim, .seq = head_dim};
  return {.batch = batch, .head = head_dim, .seq = heads * head_dim};
}

}  // namespace attune
