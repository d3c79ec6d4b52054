#include "cli/pack_file.h"

#include "autotuner/current_records.h"
#include "base/time.h"
#include "cli/version.h"
#include "cli/write_file.h"

namespace attune::cli {

Result<PackFile> write_pack(const TrialStore& store, const TrialFilter& filter, PackInfo info,
                            const std::string& file, const SecretKey* key) {
  auto records = current_records(store, filter);
  if (!records) return records.error();
  if (records->empty()) {
    if (filter.replayed != false) return fail("there are no records of today's kernels to make a pack of");
    return fail(
        "there are no measured records of today's kernels to make a pack of; --replayed takes replayed ones");
  }
  info.made_at = utc_timestamp();
  info.attune = kVersion;
  const auto count = static_cast<std::int64_t>(records->size());
  const auto bytes = to_pack(info, *std::move(records), key);
  if (!bytes) return bytes.error();
  if (auto status = write_file(file, *bytes); !status) return status.error();
  return PackFile{.records = count, .bytes = static_cast<std::int64_t>(bytes->size())};
}

}  // namespace attune::cli
