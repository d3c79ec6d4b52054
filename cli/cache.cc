// attune cache: a table of subcommands, and the two that only look.
#include "cli/cache.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "cache/location.h"
#include "cache/trial_json.h"
#include "cli/database_flag.h"
#include "cli/shape_options.h"
#include "cli/text.h"
#include "templates/attention_template.h"

namespace attune::cli {
namespace {

constexpr const char* kCacheExamples = R"(Examples:
  attune cache ls
  attune cache show --shape 4,32,4096,128 --top 5
  attune cache export --file trials.jsonl
  attune cache import --file trials.jsonl
  attune cache merge trials.jsonl --db all.db
  attune cache copy attune.db postgresql://tuner@db.example/attune
  attune cache wanted
  attune cache verify
  attune cache gc --max-size 500MB)";

constexpr std::array kCacheSubcommands{
    Command{"ls", "One line a tuned shape: the best config's time", configure_cache_ls},
    Command{"show", "All trials of one shape, best first", configure_cache_show},
    Command{"export", "Write trials as JSON lines, or a shape's trials as a recording",
            configure_cache_export},
    Command{"import", "Add trials from an export", configure_cache_import},
    Command{"merge", "Add the trials of other databases and exports: shards of a sweep",
            configure_cache_merge},
    Command{"copy", "Copy one database into another, file or PostgreSQL", configure_cache_copy},
    Command{"wanted", "Shapes that programs asked for and no record was for", configure_cache_wanted},
    Command{"claims", "Which host tunes what, in a sweep that several share", configure_cache_claims},
    Command{"verify", "Check the database and every stored cubin", configure_cache_verify},
    Command{"gc", "Delete the least recently used cubins beyond a size", configure_cache_gc},
};

std::string tflops_text(const Trial& trial) {
  return significant(tflops(attention_flops(trial.shape), trial.timing->median_us));
}

int run_ls(const std::string& database, bool json) {
  const auto store = open_existing(database_location(database));
  if (!store) return failed(store.error());
  const auto records = (*store)->records({});
  if (!records) return failed(records.error());
  if (json) {
    nlohmann::json list = nlohmann::json::array();
    for (const Trial& record : *records) list.push_back(to_json(record));
    fmt::print("{}\n", list.dump(2));
    return kOk;
  }
  std::vector<std::vector<std::string>> rows{
      {"shape", "device", "time", "TFLOP/s", "template", "policy", "measured"}};
  for (const Trial& record : *records) {
    rows.push_back({to_string(record.shape), record.device.name + (record.replayed ? " (replayed)" : ""),
                    milliseconds(record.timing->median_us), tflops_text(record), record.template_name,
                    to_string(record.policy), record.created_at});
  }
  fmt::print("{}{} in {}\n", table(rows),
             count_of(static_cast<std::int64_t>(records->size()), "record", "records"),
             shown(database_location(database)));
  return kOk;
}

struct ShowFlags {
  ShapeFlags shape;
  std::string database;
  std::string gpu_name;
  std::size_t top = 10;
  bool json = false;
};

// Best first: what passed by time, then what did not.
void rank(std::vector<Trial>& trials) {
  std::stable_sort(trials.begin(), trials.end(), [](const Trial& a, const Trial& b) {
    const auto key = [](const Trial& trial) {
      return std::pair(static_cast<int>(trial.outcome), trial.timing ? trial.timing->median_us : 0.0);
    };
    return key(a) < key(b);
  });
}

int run_show(const ShowFlags& flags) {
  const auto shape = parse_shape(flags.shape);
  if (!shape) return usage_error(shape.error());
  const auto store = open_existing(database_location(flags.database));
  if (!store) return failed(store.error());
  TrialFilter filter;
  filter.shape = *shape;
  filter.gpu_name = flags.gpu_name;
  auto trials = (*store)->trials(filter);
  if (!trials) return failed(trials.error());
  if (trials->empty())
    return failed(fail("no trials of {} are stored; `attune cache ls` shows what is", to_string(*shape)));
  rank(*trials);
  const std::size_t total = trials->size();
  trials->resize(std::min(total, flags.top));
  if (flags.json) {
    nlohmann::json list = nlohmann::json::array();
    for (const Trial& trial : *trials) list.push_back(to_json(trial));
    fmt::print("{}\n", list.dump(2));
    return kOk;
  }
  std::vector<std::vector<std::string>> rows{
      {"outcome", "time", "TFLOP/s", "regs", "smem", "device", "config"}};
  for (const Trial& trial : *trials) {
    rows.push_back({std::string(to_string(trial.outcome)),
                    trial.timing ? milliseconds(trial.timing->median_us) : "",
                    trial.timing ? tflops_text(trial) : "", std::to_string(trial.registers),
                    byte_size(trial.smem_bytes), trial.device.name + (trial.replayed ? " (replayed)" : ""),
                    trial.message.empty() ? trial.config_json : trial.config_json + "  " + trial.message});
  }
  fmt::print("{}{} of {}\n", table(rows), trials->size(),
             count_of(static_cast<std::int64_t>(total), "trial", "trials"));
  return kOk;
}

}  // namespace

Action configure_cache_ls(CLI::App& app) {
  auto database = std::make_shared<std::string>();
  auto json = std::make_shared<bool>(false);
  add_database_flag(app, *database);
  app.add_flag("--json", *json, "One JSON array of trials on stdout");
  return [database, json] { return run_ls(*database, *json); };
}

Action configure_cache_show(CLI::App& app) {
  auto flags = std::make_shared<ShowFlags>();
  add_shape_flags(app, flags->shape);
  add_database_flag(app, flags->database);
  app.add_option("--gpu-name", flags->gpu_name, "Only trials of this device")->type_name("NAME");
  app.add_option("--top", flags->top, "How many to show")->capture_default_str()->type_name("N");
  app.add_flag("--json", flags->json, "One JSON array of trials on stdout");
  return [flags] { return run_show(*flags); };
}

Action configure_cache(CLI::App& app) {
  app.require_subcommand(1);
  app.footer(kCacheExamples);
  return with_subcommands(app, kCacheSubcommands);
}

}  // namespace attune::cli
