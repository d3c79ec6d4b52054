// attune pack: the records of a database as one small file to ship, and what is in such a file.
#include "cli/pack.h"

#include <nlohmann/json.hpp>

#include "autotuner/current_records.h"
#include "base/time.h"
#include "cache/pack.h"
#include "cache/trial_json.h"
#include "cli/command.h"
#include "cli/database_flag.h"
#include "cli/pack_file.h"
#include "cli/pack_signers.h"
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
  attune pack keygen -o team.key
  attune pack sign mine.pack.jsonl --key team.key
  attune pack verify mine.pack.jsonl --require-signature --trusted-keys team.key.pub
  attune pack fetch -o theirs.pack.jsonl --server http://tuner:8750

A pack is served without tuning: the database first, then the packs that ATTUNE_PACKS lists (files and folders,
separated by ':'; "builtin" for those that come with attune, the default). Where ATTUNE_TRUSTED_KEYS, or trusted_keys
in ~/.config/attune, lists public keys, files are served from only if one of these has signed them.)";

struct MakeFlags {
  std::string database;
  std::string file;
  TrialFilter filter;
  bool replayed = false;
  PackInfo info;
  std::string key;
};

int run_make(MakeFlags& flags) {
  const auto store = open_existing(database_location(flags.database));
  if (!store) return failed(store.error());
  if (!flags.replayed) flags.filter.replayed = false;
  std::optional<SecretKey> key;
  if (!flags.key.empty()) {
    const auto read = SecretKey::read(flags.key);
    if (!read) return failed(read.error());
    key = *read;
  }
  const auto made = write_pack(**store, flags.filter, flags.info, flags.file, key ? &*key : nullptr);
  if (!made) return failed(made.error());
  fmt::print("{} to the pack {} ({}{})\n", count_of(made->records, "record", "records"), flags.file,
             byte_size(made->bytes), key ? ", signed by " + key->public_key().to_string() : "");
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

// What comes with attune is trusted with it.
bool is_builtin(const Pack& pack) {
  return pack.info.path.empty();
}

nlohmann::json show_json(const Pack& pack, const std::optional<TrustedKeys>& trusted) {
  nlohmann::json json{{"name", pack.info.name},
                      {"path", pack.info.path},
                      {"made_at", pack.info.made_at},
                      {"attune", pack.info.attune},
                      {"command", pack.info.command},
                      {"commit", pack.info.commit},
                      {"signed_by", signers_json(pack, trusted ? &*trusted : nullptr)},
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

struct PackShowFlags {
  std::string name;
  TrustFlags trust;
  bool json = false;
};

int run_show(const PackShowFlags& flags) {
  const auto pack = find_pack(flags.name);
  if (!pack) return failed(pack.error());
  const auto trusted = trusted_keys(flags.trust);
  if (!trusted) return usage_error(trusted.error());
  if (flags.json) {
    fmt::print("{}\n", show_json(*pack, *trusted).dump(2));
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
  if (!is_builtin(*pack)) fmt::print("{}", signers_text(*pack, *trusted));
  return kOk;
}

struct VerifyFlags {
  std::string name;
  TrustFlags trust;
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
  const auto trusted = trusted_keys(flags.trust);
  if (!trusted) return usage_error(trusted.error());
  const auto pack = find_pack(flags.name);
  if (!pack) return failed(pack.error());
  if (flags.trust.require_signature && !is_builtin(*pack)) {
    if (const auto status = (*trusted)->check(*pack); !status) return failed(status.error());
  }
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
  if (!is_builtin(*pack)) fmt::print("{}", signers_text(*pack, *trusted));
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
  app.add_option("--key", flags->key, "Sign it with this secret key, of `attune pack keygen`")
      ->type_name("FILE");
  return [flags] { return run_make(*flags); };
}

Action configure_show(CLI::App& app) {
  auto flags = std::make_shared<PackShowFlags>();
  app.add_option("pack", flags->name, "A file, or the name of a pack that is served from")->required();
  add_trusted_keys_flag(app, flags->trust);
  app.add_flag("--json", flags->json, "One JSON document on stdout");
  return [flags] { return run_show(*flags); };
}

Action configure_verify(CLI::App& app) {
  auto flags = std::make_shared<VerifyFlags>();
  app.add_option("pack", flags->name, "A file, or the name of a pack that is served from")->required();
  app.add_flag("--compile", flags->compile, "Also compile each kernel and compare it with the one measured");
  add_trusted_keys_flag(app, flags->trust);
  add_require_signature_flag(app, flags->trust);
  return [flags] { return run_verify(*flags); };
}

constexpr std::array kPackSubcommands{
    Command{"make", "Write the best record of each shape to a file", configure_make},
    Command{"show", "One line a record: time, interval, template, whether it can be served; who signed it",
            configure_show},
    Command{"verify", "Check the file, who signed it, and that its configs are legal for today's kernels",
            configure_verify},
    Command{"keygen", "Make a pair of keys to sign packs with", configure_pack_keygen},
    Command{"sign", "Sign a pack: whoever trusts the key may serve from it", configure_pack_sign},
    Command{"fetch", "Get a pack from a server, and check who signed it", configure_pack_fetch},
};

}  // namespace

Action configure_pack(CLI::App& app) {
  app.require_subcommand(1);
  app.footer(kPackExamples);
  return with_subcommands(app, kPackSubcommands);
}

}  // namespace attune::cli
