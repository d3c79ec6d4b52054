#include "cache/merge.h"

#include <filesystem>
#include <fstream>
#include <vector>

#include "cache/location.h"
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

Result<MergeSummary> merge_export(TrialStore& to, const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) return fail("cannot read {}", file);
  const auto imported = import_trials(to, in, file);
  if (!imported) return imported.error();
  return MergeSummary{.read = imported->read, .added = imported->added, .wanted = 0};
}

}  // namespace

Result<MergeSummary> copy_store(const TrialStore& from, TrialStore& to,
                                const std::function<void(const MergeSummary&)>& progress) {
  MergeSummary summary;
  std::vector<Trial> batch;
  const auto visited = from.visit({}, [&](const Trial& trial) -> Status {
    batch.push_back(trial);
    if (batch.size() < kBatch) return {};
    auto status = add_batch(to, batch, summary);
    if (status && progress) progress(summary);
    return status;
  });
  if (!visited) return visited.error();
  if (auto status = add_batch(to, batch, summary); !status) return status.error();
  const auto wanted = from.wanted();
  if (!wanted) return wanted.error();
  for (const Wanted& entry : *wanted) {
    if (auto status = to.want(entry); !status) return status.error();
    ++summary.wanted;
  }
  if (progress) progress(summary);
  return summary;
}

Result<MergeSummary> merge_from(TrialStore& to, const std::string& to_location, const std::string& from) {
  std::error_code error;
  if (from == to_location || std::filesystem::equivalent(to_location, from, error))
    return fail("{} is the database that is merged into: name the others", shown(from));
  if (!is_server(from)) {
    std::ifstream in(from, std::ios::binary);
    if (!in) return fail("cannot read {}", from);
    if (in.peek() == '{') return merge_export(to, from);
  }
  const auto opened = open_store(from, {.read_only = true});
  if (!opened) return opened.error();
  return copy_store(**opened, to);
}

}  // namespace attune
