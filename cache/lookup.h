// Which measured shape may stand in for another, and how far it is. Pure functions; the store applies them.
#pragma once

#include <optional>
#include <string>

#include "base/device_facts.h"
#include "base/shape.h"
#include "cache/trial.h"
#include "cache/trial_store.h"

namespace attune {

// Decode: a few queries (up to 16, for speculative decoding) against a cache at least four times as long.
// Everything else is prefill. The two want different kernels: neither ever answers for the other.
bool is_decode(const Shape& shape);

// Euclidean distance of (ln q_len, ln kv_len, ln batch, ln q_heads), or nothing where a config of `measured`
// says little about `asked`: another head_dim, dtype, kind of mask, GQA ratio or regime. A square causal mask
// is of both causal kinds.
std::optional<double> near_distance(const Shape& asked, const Shape& measured);

// Whether a record of `measured` answers for `asked` exactly: the same shape, in either memory order. Kernels
// take strides, so the order changes neither their code nor their work.
bool answers_exactly(const Shape& asked, const Shape& measured);

// Which of two records at one distance to prefer: the one whose shape differs less in what is no distance,
// the log-sum-exp before the memory order. Less is better.
int minor_differences(const Shape& asked, const Shape& measured);

// What changed on the machine since the trial was measured, as in "driver 13000 then, 13010 now"; "" if
// nothing (or nothing known) did.
std::string staleness(const Trial& trial, const DeviceFacts& device, const std::string& nvrtc_version);

// The trial as an answer for `asked`, with provenance, staleness and the reason in words.
LookupAnswer answer_with(Trial trial, const Shape& asked, double distance, const DeviceFacts& device,
                         const std::string& nvrtc_version);

}  // namespace attune
