// attune cache merge, copy and wanted: what several machines measured, and what programs asked for in vain.
#include "cache/merge.h"

#include <nlohmann/json.hpp>

#include "cache/location.h"
#include "cache/wanted.h"
#include "cli/cache.h"
#include "cli/database_flag.h"
#include "cli/progress.h"
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
    if (!store_exists(file)) return failed(fail("there is no file {}", file));
  }
  const std::string database = database_location(flags.database);
  const auto store = open_store(database);
  if (!store) return failed(store.error());
  MergeSummary all;
  for (const std::string& file : flags.files) {
    const auto merged = merge_from(**store, database, file);
    if (!merged) return failed(merged.error());
    fmt::print("{}: {} added, {} known already\n", shown(file), count_of(merged->added, "trial", "trials"),
               grouped(static_cast<std::uint64_t>(merged->read - merged->added)));
    all.added += merged->added;
    all.wanted += merged->wanted;
  }
  fmt::print("{} added to {}, {} of the wanted list\n", count_of(all.added, "trial", "trials"),
             shown(database), count_of(all.wanted, "entry", "entries"));
  return kOk;
}

constexpr const char* kCopyExamples = R"(Examples:
  attune cache copy ~/.cache/attune/attune.db postgresql://tuner@db.example/attune
  attune cache copy postgresql://tuner@db.example/attune laptop.db

Every trial that TO lacks, and the wanted list. Copying twice is copying once, in both directions; an interrupted
copy goes on with the same command.)";

int run_copy(const std::string& from, const std::string& to) {
  if (from == to) return usage_error(fail("{} would be copied onto itself", shown(from)));
  const auto source = open_existing(from);
  if (!source) return failed(source.error());
  const auto total = (*source)->count({});
  if (!total) return failed(total.error());
  const auto target = open_store(to);
  if (!target) return failed(target.error());
  const bool terminal = terminal_columns(stderr) > 0;
  const auto copied = copy_store(**source, **target, [&](const MergeSummary& so_far) {
    fmt::print(stderr, "{}{}/{} trials, {} new{}", terminal ? "\r" : "",
               grouped(static_cast<std::uint64_t>(so_far.read)),
               grouped(static_cast<std::uint64_t>(std::max(*total, so_far.read))),
               grouped(static_cast<std::uint64_t>(so_far.added)), terminal ? "" : "\n");
    std::fflush(stderr);
  });
  if (terminal) fmt::print(stderr, "\n");
  if (!copied) {
    return failed(
        fail("{}; what was copied until then stays, the same command goes on", copied.error().message));
  }
  fmt::print("{} added to {}, {} known already, {} of the wanted list\n",
             count_of(copied->added, "trial", "trials"), shown(to),
             grouped(static_cast<std::uint64_t>(copied->read - copied->added)),
             count_of(copied->wanted, "entry", "entries"));
  return kOk;
}

nlohmann::json entry_json(const Wanted& entry) {
  return {{"shape", to_json(entry.shape)}, {"gpu_name", entry.gpu_name}, {"arch", entry.arch},
          {"count", entry.count},          {"first_at", entry.first_at}, {"last_at", entry.last_at}};
}

int run_wanted(const std::string& database, bool json) {
  const std::string location = database_location(database);
  const auto store = open_existing(location);
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
             count_of(static_cast<std::int64_t>(all.size()), "shape", "shapes"), shown(location));
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

Action configure_cache_copy(CLI::App& app) {
  auto from = std::make_shared<std::string>();
  auto to = std::make_shared<std::string>();
  app.add_option("from", *from, "A database: a file or a PostgreSQL URI")->type_name("FROM")->required();
  app.add_option("to", *to, "The same; made if need be")->type_name("TO")->required();
  app.footer(kCopyExamples);
  return [from, to] { return run_copy(*from, *to); };
}

Action configure_cache_wanted(CLI::App& app) {
  auto database = std::make_shared<std::string>();
  auto json = std::make_shared<bool>(false);
  add_database_flag(app, *database);
  app.add_flag("--json", *json, "One JSON array on stdout");
  return [database, json] { return run_wanted(*database, *json); };
}

}  // namespace attune::cli
