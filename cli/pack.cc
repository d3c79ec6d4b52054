// attune pack: the records of a database as one small file to ship, and what is in such a file.
#include "cache/pack.h"

#include <nlohmann/json.hpp>

#include "autotuner/current_records.h"
#include "base/time.h"
#include "cache/trial_json.h"
#include "cli/command.h"
#include "cli/database_flag.h"
#include "cli/pack_file.h"
#include "cli/text.h"
#include "cli/version.h"
#include "cli/write_file.h"
#include "compiler/compile_pool.h"
#include "compiler/cubin_store.h"
#include "compiler/nvrtc.h"

namespace attune::cli {
namespace {

constexpr const char* kPackExamples = R"(Examples:
  attune pack make --replayed -o mine.pack.jsonl
  attune pack show mine.pack.jsonl
  attune pack verify mine.pack.jsonl --compile

A pack is served without tuning: the database first, then the packs that ATTUNE_PACKS lists (files and folders,
separated by ':'; "builtin" for those that come with attune, the default).)";

struct MakeFlags {
  std::string database;
  std::string file;
  TrialFilter filter;
  bool replayed = false;
  PackInfo info;
};

int run_make(MakeFlags& flags) {
  const auto store = open_existing(database_location(flags.database));
  if (!store) return failed(store.error());
  if (!flags.replayed) flags.filter.replayed = false;
  const auto made = write_pack(**store, flags.filter, flags.info, flags.file);
  if (!made) return failed(made.error());
  fmt::print("{} to the pack {} ({})\n", count_of(made->records, "record", "records"), flags.file,
             byte_size(made->bytes));
  return kOk;
}

// How a record stands with the templates of this build.
enum class Standing {
  current,
  stale,     // the kernel has changed since; served where nothing is current
  obsolete,  // that, and its config is no longer of the space: no fault, and of no use
  illegal    // the kernel is the same, so the config never was legal
};

Standing standing(const Trial& record) {
  if (serves(record, record.shape, record.device)) return Standing::current;
  if (served_before(record, record.shape, record.device)) return Standing::stale;
  const auto tmpl = find_template(record.template_name);
  return tmpl && (*tmpl)->hash() == record.template_hash ? Standing::illegal : Standing::obsolete;
}

std::string_view to_string(Standing standing) {
  switch (standing) {
    case Standing::current:
      return "current";
    case Standing::stale:
      return "stale";
    case Standing::obsolete:
      return "obsolete";
    case Standing::illegal:
      return "ILLEGAL";
  }
  return "";
}

nlohmann::json show_json(const Pack& pack) {
  nlohmann::json json{{"name", pack.info.name},
                      {"path", pack.info.path},
                      {"made_at", pack.info.made_at},
                      {"attune", pack.info.attune},
                      {"command", pack.info.command},
                      {"commit", pack.info.commit},
                      {"records", nlohmann::json::array()}};
  for (const Trial& record : pack.records) {
    nlohmann::json entry = to_json(record);
    const double error_us = median_error_us(*record.timing);
    entry["interval_us"] = {record.timing->median_us - error_us, record.timing->median_us + error_us};
    entry["standing"] = to_string(standing(record));
    json["records"].push_back(std::move(entry));
  }
  return json;
}

int run_show(const std::string& name, bool json) {
  const auto pack = find_pack(name);
  if (!pack) return failed(pack.error());
  if (json) {
    fmt::print("{}\n", show_json(*pack).dump(2));
    return kOk;
  }
  std::vector<std::vector<std::string>> rows{
      {"shape", "device", "time", "95%", "TFLOP/s", "template", "state", "measured"}};
  for (const Trial& record : pack->records) {
    rows.push_back(
        {attune::to_string(record.shape), record.device.name + (record.replayed ? " (REPLAYED)" : ""),
         milliseconds(record.timing->median_us),
         fmt::format("+-{:.1f}%", 100 * median_error_us(*record.timing) / record.timing->median_us),
         significant(tflops(attention_flops(record.shape), record.timing->median_us)), record.template_name,
         std::string(to_string(standing(record))), record.created_at});
  }
  const PackInfo& info = pack->info;
  fmt::print("{}{} in the pack {}, made {} by attune {}{}{}{}\n", table(rows),
             count_of(static_cast<std::int64_t>(pack->records.size()), "record", "records"), info.name,
             info.made_at, info.attune, info.commit.empty() ? "" : " at " + info.commit,
             info.command.empty() ? "" : ": ", info.command);
  return kOk;
}

struct VerifyFlags {
  std::string name;
  bool compile = false;
};

CompiledKernel compile_record(const Trial& record, CompilePool& compiler) {
  const AttentionTemplate& tmpl = **find_template(record.template_name);
  const auto config =
      config_from_json(nlohmann::json::parse(record.config_json), tmpl.space(record.shape, record.device));
  return compiler.compile(tmpl.render(record.shape, record.device, *config), record.device.arch);
}

// What is wrong with a record, "" if nothing is. With a compiler: also whether it compiles, and (`unchanged`)
// to the machine code that was measured, as it should where neither kernel nor NVRTC have changed.
std::string problem_of(const Trial& record, Standing state, CompilePool* compiler, bool& unchanged) {
  if (state == Standing::illegal) return "its config is not legal for its shape";
  if (compiler == nullptr || state == Standing::obsolete) return "";
  const CompiledKernel kernel = compile_record(record, *compiler);
  if (kernel.outcome != CompileOutcome::ok)
    return "does not compile: " + kernel.log.substr(0, kernel.log.find('\n'));
  unchanged = kernel.cubin_hash == record.cubin_hash;
  const bool same_sources = state == Standing::current && record.nvrtc_version == compiler->nvrtc_version();
  return same_sources && !unchanged ? "compiles to other machine code than was measured" : "";
}

int run_verify(const VerifyFlags& flags) {
  const auto pack = find_pack(flags.name);
  if (!pack) return failed(pack.error());
  std::optional<CompilePool> compiler;
  if (flags.compile) {
    auto nvrtc = Nvrtc::open();
    if (!nvrtc) return failed(nvrtc.error());
    auto cubins = CubinStore::open(CubinStore::default_folder());
    if (!cubins) return failed(cubins.error());
    compiler.emplace(*nvrtc, *cubins, 1, std::chrono::seconds(60));
  }
  std::map<Standing, std::int64_t> counts;
  std::int64_t problems = 0, unchanged = 0;
  for (const Trial& record : pack->records) {
    const Standing state = standing(record);
    ++counts[state];
    bool same_code = false;
    const std::string problem = problem_of(record, state, compiler ? &*compiler : nullptr, same_code);
    unchanged += same_code;
    if (problem.empty()) continue;
    ++problems;
    fmt::print("{}: {}\n", attune::to_string(record.shape), problem);
  }
  fmt::print("pack {}: {}; {} current, {} of kernels that have changed, {} obsolete{}\n", pack->info.name,
             count_of(static_cast<std::int64_t>(pack->records.size()), "record", "records"),
             counts[Standing::current], counts[Standing::stale], counts[Standing::obsolete],
             flags.compile ? fmt::format("; with NVRTC {}, {} compile to the machine code that was measured",
                                         compiler->nvrtc_version(), unchanged)
                           : "");
  if (problems == 0) return kOk;
  return failed(fail("pack {} has {}: make it again", pack->info.name,
                     count_of(problems, "record that cannot be right", "records that cannot be right")));
}

Action configure_make(CLI::App& app) {
  auto flags = std::make_shared<MakeFlags>();
  add_database_flag(app, flags->database);
  app.add_option("-o,--output", flags->file, "The pack, NAME.pack.jsonl")->type_name("FILE")->required();
  app.add_option("--gpu-name", flags->filter.gpu_name, "Only records of this device")->type_name("NAME");
  app.add_flag("--replayed", flags->replayed, "Also records whose times were replayed from a recording");
  app.add_option("--command", flags->info.command, "The command that measured it, kept as provenance");
  app.add_option("--commit", flags->info.commit, "The commit of attune that measured it, kept as provenance");
  return [flags] { return run_make(*flags); };
}

Action configure_show(CLI::App& app) {
  auto name = std::make_shared<std::string>();
  auto json = std::make_shared<bool>(false);
  app.add_option("pack", *name, "A file, or the name of a pack that is served from")->required();
  app.add_flag("--json", *json, "One JSON document on stdout");
  return [name, json] { return run_show(*name, *json); };
}

Action configure_verify(CLI::App& app) {
  auto flags = std::make_shared<VerifyFlags>();
  app.add_option("pack", flags->name, "A file, or the name of a pack that is served from")->required();
  app.add_flag("--compile", flags->compile, "Also compile each kernel and compare it with the one measured");
  return [flags] { return run_verify(*flags); };
}

constexpr std::array kPackSubcommands{
    Command{"make", "Write the best record of each shape to a file", configure_make},
    Command{"show", "One line a record: time, interval, template, whether it can be served", configure_show},
    Command{"verify", "Check the file, and that its configs are legal for today's kernels", configure_verify},
};

}  // namespace

Action configure_pack(CLI::App& app) {
  app.require_subcommand(1);
  app.footer(kPackExamples);
  return with_subcommands(app, kPackSubcommands);
}

}  // namespace attune::cli
