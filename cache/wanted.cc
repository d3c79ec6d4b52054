#include "cache/wanted.h"

#include <algorithm>

namespace attune {

std::vector<Wanted> joined(const std::vector<Wanted>& entries) {
  std::vector<Wanted> all;
  for (const Wanted& entry : entries) {
    const auto same = std::find_if(all.begin(), all.end(), [&](const Wanted& other) {
      return other.shape == entry.shape && other.gpu_name == entry.gpu_name && other.arch == entry.arch;
    });
    if (same == all.end()) {
      all.push_back(entry);
      all.back().origin.clear();
      continue;
    }
    same->count += entry.count;
    same->first_at = std::min(same->first_at, entry.first_at);
    same->last_at = std::max(same->last_at, entry.last_at);
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const Wanted& a, const Wanted& b) { return a.count > b.count; });
  return all;
}

}  // namespace attune
