#pragma once

#include <cstddef>
#include <vector>

#include "autotuner/space.h"
#include "cache/pack.h"
#include "cache/trial_store.h"
#include "templates/attention_template.h"

namespace attune {

// Configs worth trying first on a shape: what won on it and on shapes near it (near_distance()) through the
// same template on the same arch, be it in the store (may be null) or in a pack, nearest first, `most` at
// most. Records of kernels that have changed since are as good a start as any. Only members of `space`. What
// the store cannot tell is left out: a search starts without it, too.
std::vector<Config> warm_start(const TrialStore* store, const Packs& packs, const Shape& shape,
                               const AttentionTemplate& tmpl, const Space& space, const DeviceFacts& device,
                               const MeasurementPolicy& policy, std::size_t most);

}  // namespace attune
