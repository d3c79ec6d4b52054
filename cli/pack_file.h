#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "cache/pack.h"

namespace attune::cli {

struct PackFile {
  std::int64_t records = 0;
  std::int64_t bytes = 0;
};

// Writes current_records() of the filter as a pack, signed where a key is given. Where there are none, the
// error says whether there are replayed ones.
Result<PackFile> write_pack(const TrialStore& store, const TrialFilter& filter, PackInfo info,
                            const std::string& file, const SecretKey* key = nullptr);

}  // namespace attune::cli
