#include "cache/lookup.h"

#include <fmt/format.h>

#include <cmath>

namespace attune {
namespace {

constexpr std::int64_t kDecodeQueries = 16;
constexpr std::int64_t kDecodeKeysPerQuery = 4;

bool same_kind_of_mask(const Shape& a, const Shape& b) {
  if (a.mask == b.mask) return true;
  const bool either_square = a.q_len == a.kv_len || b.q_len == b.kv_len;
  return a.causal() && b.causal() && either_square;
}

double log_ratio(std::int64_t a, std::int64_t b) {
  return std::log(static_cast<double>(a)) - std::log(static_cast<double>(b));
}

void add_change(std::string& text, const char* what, const std::string& then, const std::string& now) {
  if (then.empty() || now.empty() || then == now) return;
  text += fmt::format("{}{} {} then, {} now", text.empty() ? "" : ", ", what, then, now);
}

std::string known(int version) {
  return version == 0 ? "" : std::to_string(version);
}

std::string describe(const Trial& trial) {
  return fmt::format("{:.2f} us on {}{}, {}", trial.timing ? trial.timing->median_us : 0, trial.device.name,
                     trial.replayed ? " (replayed from a recording)" : "", trial.created_at);
}

}  // namespace

bool is_decode(const Shape& shape) {
  return shape.q_len <= kDecodeQueries && shape.kv_len >= kDecodeKeysPerQuery * shape.q_len;
}

std::optional<double> near_distance(const Shape& asked, const Shape& measured) {
  const bool comparable = asked.head_dim == measured.head_dim && asked.dtype == measured.dtype &&
                          same_kind_of_mask(asked, measured) &&
                          asked.q_heads * measured.kv_heads == measured.q_heads * asked.kv_heads &&
                          is_decode(asked) == is_decode(measured);
  if (!comparable) return std::nullopt;
  const double q_len = log_ratio(asked.q_len, measured.q_len);
  const double kv_len = log_ratio(asked.kv_len, measured.kv_len);
  const double batch = log_ratio(asked.batch, measured.batch);
  const double heads = log_ratio(asked.q_heads, measured.q_heads);
  return std::sqrt(q_len * q_len + kv_len * kv_len + batch * batch + heads * heads);
}

bool answers_exactly(const Shape& asked, const Shape& measured) {
  Shape same_order = measured;
  same_order.layout = asked.layout;
  return same_order == asked;
}

int minor_differences(const Shape& asked, const Shape& measured) {
  return 2 * (measured.wants_lse != asked.wants_lse) + (measured.layout != asked.layout);
}

std::string staleness(const Trial& trial, const DeviceFacts& device, const std::string& nvrtc_version) {
  std::string text;
  add_change(text, "CUDA driver", known(trial.device.driver_version), known(device.driver_version));
  add_change(text, "kernel driver", trial.device.driver, device.driver);
  add_change(text, "NVRTC", trial.nvrtc_version, nvrtc_version);
  return text;
}

LookupAnswer answer_with(Trial trial, const Shape& asked, double distance, const DeviceFacts& device,
                         const std::string& nvrtc_version) {
  LookupAnswer answer;
  answer.provenance = answers_exactly(asked, trial.shape) ? Provenance::exact : Provenance::near;
  answer.distance = distance;
  const std::string changed = staleness(trial, device, nvrtc_version);
  answer.stale = !changed.empty();
  answer.reason =
      answer.provenance == Provenance::exact
          ? fmt::format("measured for this shape{}: {}",
                        trial.shape.layout == asked.layout
                            ? ""
                            : fmt::format(" in {} order", to_string(trial.shape.layout)),
                        describe(trial))
          : fmt::format("nothing measured for this shape; the nearest is {} (distance {:.2f}): {}",
                        to_string(trial.shape), distance, describe(trial));
  if (trial.device.name != device.name) answer.reason += fmt::format("; another {} GPU", device.arch);
  if (answer.stale) answer.reason += fmt::format("; stale: {}", changed);
  answer.record = std::move(trial);
  return answer;
}

}  // namespace attune
