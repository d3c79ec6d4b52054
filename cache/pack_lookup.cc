// Lookup over packs, and over a database and packs together.
#include <algorithm>
#include <tuple>

#include "cache/lookup.h"
#include "cache/pack.h"

namespace attune {
namespace {

// As TrialStore::lookup() ranks: the shape itself, then shapes by distance; ties go to the same LSE, then
// to the same layout; within a shape the same GPU, measured before replayed, a final round before a search,
// the fastest.
struct Candidate {
  const Trial* record;
  const Pack* pack;
  double distance;
  std::size_t order;  // of its pack
  std::tuple<bool, double, int, std::string, bool, bool, bool, double, std::size_t> rank;
};

Candidate candidate_of(const Trial& record, const Pack& pack, std::size_t order, const Shape& asked,
                       double distance, const DeviceFacts& device) {
  const Shape& shape = record.shape;
  const int differences = minor_differences(asked, shape);
  return {&record,
          &pack,
          distance,
          order,
          {shape != asked, distance, differences, to_string(shape), record.device.name != device.name,
           record.replayed, !record.final_round, record.timing->median_us, order}};
}

// What makes an answer better than another of another source; less is better.
using Quality = std::tuple<int, bool, bool, bool, double>;
Quality quality(const LookupAnswer& answer, const Shape& asked, const DeviceFacts& device) {
  if (!answer.record) return {2, true, true, true, 0};
  const Trial& record = *answer.record;
  if (answer.provenance != Provenance::exact) return {1, false, false, false, answer.distance};
  return {0, record.device.name != device.name, record.replayed, record.shape.layout != asked.layout, 0};
}

// The better of the store's answer and the packs'. The reach is the store's: packs are in memory, and small.
Result<LookupAnswer> best_answer(const TrialStore* store, const Packs& packs, const Shape& shape,
                                 const DeviceFacts& device, const MeasurementPolicy& policy,
                                 const std::string& nvrtc_version,
                                 const std::function<bool(const Trial&)>& legal, LookupReach reach) {
  LookupAnswer own;
  own.reason = "there is no database";
  if (store != nullptr) {
    auto answer = store->lookup(shape, device, policy, nvrtc_version, legal, reach);
    if (!answer) return answer;
    own = *std::move(answer);
  }
  const Quality best{0, false, false, false, 0};
  const Quality of_own = quality(own, shape, device);
  if (packs.empty() || of_own == best) return own;
  LookupAnswer packed = lookup_in_packs(packs, shape, device, policy, nvrtc_version, legal);
  return packed.record && quality(packed, shape, device) < of_own ? packed : own;
}

}  // namespace

LookupAnswer lookup_in_packs(const Packs& packs, const Shape& shape, const DeviceFacts& device,
                             const MeasurementPolicy& policy, const std::string& nvrtc_version,
                             const std::function<bool(const Trial&)>& legal) {
  std::vector<Candidate> candidates;
  for (std::size_t i = 0; i < packs.size(); ++i) {
    for (const Trial& record : packs[i]->records) {
      if (record.device.arch != device.arch || record.policy != policy) continue;
      const auto distance = near_distance(shape, record.shape);
      if (distance) candidates.push_back(candidate_of(record, *packs[i], i, shape, *distance, device));
    }
  }
  std::sort(candidates.begin(), candidates.end(),
            [](const Candidate& a, const Candidate& b) { return a.rank < b.rank; });
  for (const Candidate& candidate : candidates) {
    if (legal && !legal(*candidate.record)) continue;
    LookupAnswer answer = answer_with(*candidate.record, shape, candidate.distance, device, nvrtc_version);
    answer.pack = candidate.pack->info.name;
    answer.reason += fmt::format("; from the pack {}", answer.pack);
    return answer;
  }
  LookupAnswer none;
  none.reason = candidates.empty() ? "no pack has a record of it" : "the packs' records are of other kernels";
  return none;
}

Result<LookupAnswer> lookup(const TrialStore* store, const Packs& packs, const Shape& shape,
                            const DeviceFacts& device, const MeasurementPolicy& policy,
                            const std::string& nvrtc_version, const std::function<bool(const Trial&)>& legal,
                            const std::function<bool(const Trial&)>& legal_before) {
  const auto asked = validated(shape);
  if (!asked) return asked.error();
  auto answer = best_answer(store, packs, *asked, device, policy, nvrtc_version, legal, LookupReach::near);
  if (!legal_before || !answer || answer->provenance == Provenance::exact) return answer;
  auto former =
      best_answer(store, packs, *asked, device, policy, nvrtc_version, legal_before, LookupReach::exact);
  if (!former || former->provenance != Provenance::exact) return answer;
  former->stale = former->former_kernel = true;
  former->reason += "; stale: the kernel has changed since";
  return former;
}

}  // namespace attune
