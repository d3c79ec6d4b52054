// attune cache verify and gc.
#include <charconv>
#include <nlohmann/json.hpp>

#include "cache/location.h"
#include "cache/trial_json.h"
#include "cli/cache.h"
#include "cli/database_flag.h"
#include "cli/text.h"
#include "compiler/cubin_store.h"

namespace attune::cli {
namespace {

// "500MB" -> 500000000; powers of 1000, as sizes are shown.
Result<std::int64_t> parse_size(const std::string& text) {
  static constexpr std::array<std::pair<std::string_view, std::int64_t>, 6> kUnits{
      {{"", 1}, {"B", 1}, {"kB", 1000}, {"MB", 1000000}, {"GB", 1000000000}, {"TB", 1000000000000}}};
  double number = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  for (const auto& [name, factor] : kUnits) {
    if (code == std::errc() && unit == name && number >= 0 && number < 1e6) {
      return static_cast<std::int64_t>(number * static_cast<double>(factor));
    }
  }
  return fail("--max-size '{}': must be a size, as in 500MB or 2GB", text);
}

int run_verify(const std::string& database, bool repair) {
  const std::string location = database_location(database);
  const auto store = open_existing(location);
  if (!store) return failed(store.error());
  const auto trials = (*store)->trials({});
  if (!trials) return failed(trials.error());
  const auto cubins = CubinStore::open(CubinStore::default_folder());
  if (!cubins) return failed(cubins.error());
  const auto damaged = cubins->verify(repair);
  fmt::print("{}: {}, all readable\n", shown(location),
             count_of(static_cast<std::int64_t>(trials->size()), "trial", "trials"));
  fmt::print("{}: {}, {} damaged{}\n", cubins->folder().string(),
             count_of(cubins->summary().entries, "entry", "entries"), damaged.size(),
             repair && !damaged.empty() ? " and deleted; they are compiled again when needed" : "");
  for (const std::string& key : damaged) fmt::print("  {}\n", cubins->cubin_path(key).string());
  if (!damaged.empty() && !repair) {
    return failed(
        fail("damaged cubins; `attune cache verify --repair` deletes them, they are compiled again"));
  }
  return kOk;
}

int run_gc(const std::string& database, const std::string& max_size) {
  const auto limit = parse_size(max_size);
  if (!limit) return usage_error(limit.error());
  const auto store = open_existing(database_location(database));
  if (!store) return failed(store.error());
  const auto records = (*store)->records({});
  if (!records) return failed(records.error());
  std::vector<std::string> pinned;
  for (const Trial& record : *records) pinned.push_back(record.cubin_key);
  const auto cubins = CubinStore::open(CubinStore::default_folder());
  if (!cubins) return failed(cubins.error());
  const auto freed = cubins->collect(*limit, pinned);
  if (!freed) return failed(freed.error());
  const auto left = cubins->summary();
  fmt::print("freed {} ({}), {} ({}) left; cubins of records are kept\n", byte_size(freed->bytes),
             count_of(freed->entries, "entry", "entries"), byte_size(left.bytes),
             count_of(left.entries, "entry", "entries"));
  return kOk;
}

}  // namespace

Action configure_cache_verify(CLI::App& app) {
  auto database = std::make_shared<std::string>();
  auto repair = std::make_shared<bool>(false);
  add_database_flag(app, *database);
  app.add_flag("--repair", *repair, "Delete damaged cubins; they are compiled again when needed");
  return [database, repair] { return run_verify(*database, *repair); };
}

Action configure_cache_gc(CLI::App& app) {
  auto database = std::make_shared<std::string>();
  auto max_size = std::make_shared<std::string>("1GB");
  add_database_flag(app, *database);
  app.add_option("--max-size", *max_size, "What may remain")->capture_default_str()->type_name("SIZE");
  return [database, max_size] { return run_gc(*database, *max_size); };
}

}  // namespace attune::cli
