#pragma once

#include <vector>

#include "autotuner/space.h"
#include "cache/pack.h"
#include "cache/trial_store.h"
#include "templates/attention_template.h"

namespace attune {

// Configs worth trying first on a shape: what won on it and on shapes near it (near_distance()) through the
// same template on the same arch, be it in the store or in a pack, nearest first, a few. Records of kernels
// that have changed since are as good a start as any; the store's own of this very search (shape, kernel and
// GPU) are none, since a search takes them up by itself. Only members of `space`. What the store cannot tell
// is left out: a search starts without it, too.
std::vector<Config> warm_start(const TrialStore& store, const Packs& packs, const Shape& shape,
                               const AttentionTemplate& tmpl, const Space& space, const DeviceFacts& device,
                               const MeasurementPolicy& policy);

}  // namespace attune
