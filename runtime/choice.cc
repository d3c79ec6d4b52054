#include "runtime/choice.h"

#include <fmt/format.h>

#include <optional>

namespace attune {
namespace {

constexpr const char* kNvrtcNotKnown = "";

// Finds the config of a record that may serve the shape.
class Usable {
 public:
  Usable(const Shape& shape, const DeviceFacts& device, std::span<const AttentionTemplate* const> templates)
      : shape_(shape), device_(device), templates_(templates) {}

  // A record of a kernel as it is now, or (`former`) of one that has changed since.
  bool accept(const Trial& trial, bool former = false) {
    const AttentionTemplate* tmpl = find(trial.template_name);
    if (tmpl == nullptr || (tmpl->hash() != trial.template_hash) != former) return false;
    auto config = servable_config(*tmpl, trial.config_json, shape_, device_);
    if (!config) return false;
    template_ = tmpl;
    config_ = std::move(*config);
    return true;
  }

  // Of the trial accepted last.
  const AttentionTemplate& accepted_template() const { return *template_; }
  const Config& accepted_config() const { return config_; }

 private:
  const AttentionTemplate* find(const std::string& name) const {
    for (const AttentionTemplate* candidate : templates_) {
      if (candidate->name() == name) return candidate;
    }
    return nullptr;
  }

  const Shape& shape_;
  const DeviceFacts& device_;
  std::span<const AttentionTemplate* const> templates_;
  const AttentionTemplate* template_ = nullptr;
  Config config_;
};

bool same_source(const KernelSource& a, const KernelSource& b) {
  return a.text == b.text && a.headers == b.headers && a.options == b.options && a.entry == b.entry;
}

// A cubin is of a shape's class: another shape's code serves where it is made from the same source.
bool same_code(const AttentionTemplate& tmpl, const Config& config, const Trial& record, const Shape& shape,
               const DeviceFacts& device) {
  if (record.shape == shape) return true;
  return same_source(tmpl.render(record.shape, device, config), tmpl.render(shape, device, config));
}

Choice from_record(const Usable& usable, const LookupAnswer& answer, const Shape& shape,
                   const DeviceFacts& device) {
  const Trial& record = *answer.record;
  const bool exact = answer.provenance == Provenance::exact && record.device.name == device.name;
  Choice choice;
  choice.tmpl = &usable.accepted_template();
  choice.template_name = choice.tmpl->name();
  choice.config = usable.accepted_config();
  choice.config_json = record.config_json;
  choice.provenance = exact ? ATTUNE_PROVENANCE_EXACT : ATTUNE_PROVENANCE_NEAR;
  choice.stale = answer.stale;
  choice.reason = answer.reason;
  if (record.timing) {
    choice.expected_us = record.timing->median_us * attention_flops(shape) / attention_flops(record.shape);
  }
  choice.former_kernel = answer.former_kernel;
  choice.nvrtc_version = record.nvrtc_version;
  if (!answer.former_kernel && same_code(*choice.tmpl, choice.config, record, shape, device))
    choice.cubin_key = record.cubin_key;
  return choice;
}

}  // namespace

Result<Choice> choose_default(const Shape& shape, const DeviceFacts& device, std::string reason,
                              std::span<const AttentionTemplate* const> templates) {
  std::string refusals;
  for (const AttentionTemplate* candidate : templates) {
    const Status supported = candidate->supports(shape, device);
    if (!supported) {
      refusals +=
          fmt::format("{}{}: {}", refusals.empty() ? "" : "; ", candidate->name(), supported.error().message);
      continue;
    }
    Choice choice;
    choice.tmpl = candidate;
    choice.template_name = candidate->name();
    choice.config = candidate->default_config(shape, device);
    choice.config_json = canonical_json(choice.config, candidate->space(shape, device));
    choice.reason = std::move(reason);
    return choice;
  }
  return fail("no kernel serves {} on {} ({})", to_string(shape), device.name, refusals);
}

Result<Choice> choose(const Shape& shape, const DeviceFacts& device, const TrialStore* store,
                      std::span<const AttentionTemplate* const> templates, const Packs& packs) {
  Usable usable(shape, device, templates);
  const auto legal = [&usable](const Trial& trial) { return usable.accept(trial); };
  const auto legal_before = [&usable](const Trial& trial) { return usable.accept(trial, /*former=*/true); };
  auto answer = lookup(store, packs, shape, device, MeasurementPolicy{}, kNvrtcNotKnown, legal, legal_before);
  if (!answer) {
    const std::string why = "the database does not answer: " + answer.error().message;
    answer = lookup(nullptr, packs, shape, device, MeasurementPolicy{}, kNvrtcNotKnown, legal, legal_before);
    if (!answer) return answer.error();
    answer->reason = answer->record ? answer->reason + "; " + why : why;
  }
  if (!answer->record) return choose_default(shape, device, answer->reason, templates);
  if (answer->provenance == Provenance::near && answer->distance > kFarthestNear) {
    return choose_default(shape, device, "too far for its record to be of use: " + answer->reason, templates);
  }
  usable.accept(*answer->record, answer->former_kernel);  // the last one asked about need not be the answer
  return from_record(usable, *answer, shape, device);
}

void note_kernel(Choice& choice, const Shape& shape, const DeviceFacts& device, const std::string& key) {
  if (choice.nvrtc_version.empty() || key == choice.cubin_key) return;
  const KernelSource source = choice.tmpl->render(shape, device, choice.config);
  if (key == kernel_key(source, device.arch, choice.nvrtc_version)) return;
  choice.reason += fmt::format("{}compiled by another NVRTC than the {} it was measured with",
                               choice.stale ? ", " : "; stale: ", choice.nvrtc_version);
  choice.stale = true;
}

}  // namespace attune
