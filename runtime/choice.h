// The lookup policy: which template and config serve a shape on a device. Needs no GPU.
#pragma once

#include <span>
#include <string>

#include "attune/attune.h"
#include "cache/pack.h"
#include "cache/trial_store.h"
#include "templates/attention_template.h"

namespace attune {

// Farther than this (in log space, over lengths, heads and batch; both lengths four times as long are 1.96)
// another shape's record says less than the template's own default.
constexpr double kFarthestNear = 2.0;

struct Choice {
  const AttentionTemplate* tmpl = nullptr;
  std::string template_name;
  Config config;
  std::string config_json;  // canonical
  attune_provenance provenance = ATTUNE_PROVENANCE_DEFAULT;
  bool stale = false;          // see attune_info
  bool former_kernel = false;  // of a record whose kernel has changed since: worth tuning again
  double expected_us = 0;      // scaled by the work when near; 0: unknown
  std::string reason;          // one line
  // The record's entry in the cubin store where its code is what this shape needs, else "".
  std::string cubin_key;
  std::string nvrtc_version;  // that the record was measured with; "": no record, or not known
};

// An exact record of this GPU name, else one whose kernel has changed since, else a near one, else the
// default; the store's before the packs' where both are equally good (lookup() in cache/pack.h). A record
// whose config is not legal for this shape is passed over. `store` may be null: packs alone. An error of the
// store is not fatal: packs alone, with the error as part of the reason. No template for the shape is an
// error. Whether another NVRTC makes it stale is not known yet: note_kernel(). Precondition: the shape is
// validated().
Result<Choice> choose(const Shape& shape, const DeviceFacts& device, const TrialStore* store,
                      std::span<const AttentionTemplate* const> templates = attention_templates(),
                      const Packs& packs = {});

// The default alone; `reason` says why nothing better is used.
Result<Choice> choose_default(const Shape& shape, const DeviceFacts& device, std::string reason,
                              std::span<const AttentionTemplate* const> templates = attention_templates());

// Says of the kernel that serves the choice, by its key, whether another NVRTC made it than the record's:
// then the choice is stale. (The record's own machine code is not, whatever NVRTC is installed now.)
void note_kernel(Choice& choice, const Shape& shape, const DeviceFacts& device, const std::string& key);

}  // namespace attune
