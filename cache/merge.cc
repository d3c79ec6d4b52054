#include "cache/merge.h"

#include <fstream>
#include <vector>

#include "cache/schema.h"
#include "cache/transfer.h"

namespace attune {
namespace {

constexpr std::size_t kBatch = 1000;  // trials in memory, and in one transaction

// What was collected, as one transaction.
Status add_batch(TrialStore& to, std::vector<Trial>& batch, MergeSummary& summary) {
  summary.read += static_cast<std::int64_t>(batch.size());
  std::size_t at = 0;
  const auto added = to.add_new([&]() -> Result<std::optional<Trial>> {
    if (at == batch.size()) return std::optional<Trial>();
    Trial trial = std::move(batch[at++]);
    trial.id = 0;
    return std::optional<Trial>(std::move(trial));
  });
  batch.clear();
  if (!added) return added.error();
  summary.added += *added;
  return {};
}

Result<MergeSummary> merge_database(TrialStore& to, const std::filesystem::path& file) {
  const auto from = open_sqlite_store(file, {.read_only = true});
  if (!from) return from.error();
  MergeSummary summary;
  std::vector<Trial> batch;
  const auto visited = (*from)->visit({}, [&](const Trial& trial) -> Status {
    batch.push_back(trial);
    return batch.size() < kBatch ? Status() : add_batch(to, batch, summary);
  });
  if (!visited) return visited.error();
  if (auto status = add_batch(to, batch, summary); !status) return status.error();
  const auto wanted = (*from)->wanted();
  if (!wanted) return wanted.error();
  for (const Wanted& entry : *wanted) {
    if (auto status = to.want(entry); !status) return status.error();
    ++summary.wanted;
  }
  return summary;
}

Result<MergeSummary> merge_export(TrialStore& to, const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) return fail("cannot read {}", file.string());
  const auto imported = import_trials(to, in, file.string());
  if (!imported) return imported.error();
  return MergeSummary{.read = imported->read, .added = imported->added, .wanted = 0};
}

}  // namespace

Result<MergeSummary> merge_file(TrialStore& to, const std::filesystem::path& to_file,
                                const std::filesystem::path& from) {
  std::error_code error;
  if (std::filesystem::equivalent(to_file, from, error)) {
    return fail("{} is the database that is merged into: name the others", from.string());
  }
  std::ifstream in(from, std::ios::binary);
  if (!in) return fail("cannot read {}", from.string());
  const bool is_export = in.peek() == '{';
  in.close();
  return is_export ? merge_export(to, from) : merge_database(to, from);
}

}  // namespace attune
