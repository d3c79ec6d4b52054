// attune cache merge and wanted: what several machines measured, and what programs asked for in vain.
#include "cache/merge.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "cache/wanted.h"
#include "cli/cache.h"
#include "cli/database_flag.h"
#include "cli/text.h"

namespace attune::cli {
namespace {

constexpr const char* kMergeExamples = R"(Examples:
  attune cache merge shard1.db shard2.db --db all.db
  attune cache merge trials.jsonl

Raw trials are merged, final rounds included, and the counts of the wanted list; never winners, which are worked
out anew. Merging twice is merging once.)";

struct MergeFlags {
  std::vector<std::string> files;
  std::string database;
};

int run_merge(const MergeFlags& flags) {
  for (const std::string& file : flags.files) {  // a mistyped name is found before anything is done
    std::error_code ignored;
    if (!std::filesystem::exists(file, ignored)) return failed(fail("there is no file {}", file));
  }
  const auto database = database_path(flags.database);
  const auto store = open_sqlite_store(database);
  if (!store) return failed(store.error());
  MergeSummary all;
  for (const std::string& file : flags.files) {
    const auto merged = merge_file(**store, database, file);
    if (!merged) return failed(merged.error());
    fmt::print("{}: {} added, {} known already\n", file, count_of(merged->added, "trial", "trials"),
               grouped(static_cast<std::uint64_t>(merged->read - merged->added)));
    all.added += merged->added;
    all.wanted += merged->wanted;
  }
  fmt::print("{} added to {}, {} of the wanted list\n", count_of(all.added, "trial", "trials"),
             database.string(), count_of(all.wanted, "entry", "entries"));
  return kOk;
}

nlohmann::json entry_json(const Wanted& entry) {
  return {{"shape", to_json(entry.shape)}, {"gpu_name", entry.gpu_name}, {"arch", entry.arch},
          {"count", entry.count},          {"first_at", entry.first_at}, {"last_at", entry.last_at}};
}

int run_wanted(const std::string& database, bool json) {
  const auto file = database_path(database);
  const auto store = open_existing(file);
  if (!store) return failed(store.error());
  const auto entries = (*store)->wanted();
  if (!entries) return failed(entries.error());
  const auto all = joined(*entries);
  if (json) {
    nlohmann::json list = nlohmann::json::array();
    for (const Wanted& entry : all) list.push_back(entry_json(entry));
    fmt::print("{}\n", list.dump(2));
    return kOk;
  }
  std::vector<std::vector<std::string>> rows{{"asked", "shape", "device", "first", "last"}};
  for (const Wanted& entry : all) {
    rows.push_back({grouped(static_cast<std::uint64_t>(entry.count)), to_string(entry.shape), entry.gpu_name,
                    entry.first_at, entry.last_at});
  }
  fmt::print("{}{} wanted in {}\n", table(rows),
             count_of(static_cast<std::int64_t>(all.size()), "shape", "shapes"), file.string());
  if (all.empty()) {
    fmt::print(
        "programs that run with ATTUNE_WANTED=1 queue what they miss; `attune sweep --wanted` tunes it\n");
  }
  return kOk;
}

}  // namespace

Action configure_cache_merge(CLI::App& app) {
  auto flags = std::make_shared<MergeFlags>();
  app.add_option("files", flags->files, "Databases, or exports of `attune cache export`")
      ->type_name("FILES")
      ->required();
  add_database_flag(app, flags->database);
  app.footer(kMergeExamples);
  return [flags] { return run_merge(*flags); };
}

Action configure_cache_wanted(CLI::App& app) {
  auto database = std::make_shared<std::string>();
  auto json = std::make_shared<bool>(false);
  add_database_flag(app, *database);
  app.add_flag("--json", *json, "One JSON array on stdout");
  return [database, json] { return run_wanted(*database, *json); };
}

}  // namespace attune::cli
