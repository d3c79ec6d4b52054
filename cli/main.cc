// Parses the command line, runs one command, and catches surprises once.
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "cli/command.h"
#include "cli/version.h"

namespace attune::cli {
namespace {

constexpr const char* kFooter = R"(Exit codes: 0 ok, 1 failed, 2 usage, 3 no GPU (with --require-gpu).

Environment:
  ATTUNE_DB          database file (default: attune.db in the cache folder)
  ATTUNE_CACHE_DIR   cache folder (default: $XDG_CACHE_HOME/attune, else ~/.cache/attune)
  ATTUNE_NVRTC       the libnvrtc.so.13 to use (default: the loader's path, then the CUDA toolkit's folders)
  ATTUNE_CUDA_DRIVER the libcuda.so.1 to use (default: the loader's path)
  ATTUNE_LIBPQ       the libpq.so.5 to use for a PostgreSQL database (default: the loader's path)
  ATTUNE_KERNEL_DIR  take kernel sources from this folder instead of those in the binary
  ATTUNE_RECORDINGS  folder of more recorded devices
  ATTUNE_PACKS       packs to serve from: files and folders, ':' between them; "builtin" (the default): those that
                     come with attune; empty: none
  ATTUNE_TRUSTED_KEYS
                     public keys, one a line: packs of files are served only if one of them has signed (default:
                     trusted_keys in $XDG_CONFIG_HOME/attune or ~/.config/attune; without it signatures are not asked for)
  ATTUNE_WANTED      1: programs queue the shapes they miss (libattune.so); `attune sweep --wanted` tunes them
  ATTUNE_LLM_URL, ATTUNE_LLM_MODEL, ATTUNE_LLM_API_KEY, ATTUNE_LLM_CA_FILE
                     an OpenAI-compatible endpoint (base URL, as in https://host/v1), models (NAME or
                     NAME=WEIGHT, comma between), key (never shown or stored), certificate authorities to trust
  ATTUNE_SERVER      an attune server that lookup, compile, tune, sweep and programs ask (--server; docs/serve.md)
  ATTUNE_TOKEN       the token for it; of `attune serve`: the one that it asks for
  ATTUNE_LOG         level of the log on stderr: debug, info, warn (default), error, off

`attune COMMAND --help` shows a command's flags, with examples.)";

// Logs go to stderr: stdout carries answers only.
void set_up_logging() {
  auto logger = spdlog::stderr_logger_mt("attune");
  logger->set_pattern("attune: %l: %v");
  const char* level = std::getenv("ATTUNE_LOG");
  logger->set_level(level != nullptr ? spdlog::level::from_str(level) : spdlog::level::warn);
  spdlog::set_default_logger(std::move(logger));
}

// A subcommand's own name is what its flags' errors are about.
std::string command_path(const CLI::App& app) {
  const auto chosen = app.get_subcommands();
  return chosen.empty() ? app.get_name() : app.get_name() + " " + command_path(*chosen.front());
}

int parse_failure(const CLI::App& app, const CLI::ParseError& error) {
  if (error.get_exit_code() == 0) return app.exit(error);  // --help and --version print and end well
  if (app.get_subcommands().empty() && !app.remaining().empty()) {
    return usage_error(fail("there is no command '{}'; `attune --help` lists them", app.remaining().front()));
  }
  const std::string path = command_path(app);
  return usage_error(fail("{}; `{} --help` shows how", error.what(), path));
}

// A full disk or closed pipe behind stdout must not look like success.
int flushed(int code) {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return code;
  return failed(fail("cannot write the output: {}", std::strerror(errno)));
}

int run(int argc, char** argv) {
  CLI::App app{"attune finds, compiles and serves the fastest attention kernel for a shape on a GPU.",
               "attune"};
  app.footer(kFooter);
  app.set_version_flag("--version", std::string("attune ") + kVersion);
  app.require_subcommand(1);

  std::vector<std::pair<CLI::App*, Action>> actions;
  for (const Command& command : commands()) {
    CLI::App* sub = app.add_subcommand(std::string(command.name), std::string(command.summary));
    if (command.summary.empty()) sub->group("");
    actions.emplace_back(sub, command.configure(*sub));
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return flushed(parse_failure(app, error));
  }
  for (const auto& [sub, action] : actions) {
    if (sub->parsed()) return flushed(action());
  }
  return kUsage;
}

}  // namespace
}  // namespace attune::cli

int main(int argc, char** argv) {
  try {
    attune::cli::set_up_logging();
    return attune::cli::run(argc, argv);
  } catch (const std::exception& surprise) {
    return attune::cli::failed(
        attune::fail("unexpected: {}; please report it with the command line", surprise.what()));
  }
}
