// What a command is to main: a row of a table.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <span>
#include <string_view>

#include "base/result.h"

namespace attune::cli {

// The process's exit codes: part of the interface, scripts rely on them.
enum ExitCode : int {
  kOk = 0,
  kFailed = 1,  // what was asked for could not be done
  kUsage = 2,   // what was asked for makes no sense
  kNoGpu = 3,   // --require-gpu, and there is none
};

// What runs after the flags were parsed; returns an exit code.
using Action = std::function<int()>;

struct Command {
  std::string_view name;
  std::string_view summary;            // one line of `attune --help`; empty hides the command
  Action (*configure)(CLI::App& app);  // adds the flags, and the examples as footer
};

std::span<const Command> commands();

// Adds the subcommands to `app`; the action runs the one that was named.
Action with_subcommands(CLI::App& app, std::span<const Command> subcommands);

Action configure_tune(CLI::App& app);
Action configure_lookup(CLI::App& app);
Action configure_compile(CLI::App& app);
Action configure_space(CLI::App& app);
Action configure_cache(CLI::App& app);
Action configure_pack(CLI::App& app);
Action configure_report(CLI::App& app);
Action configure_sweep(CLI::App& app);
Action configure_strategies(CLI::App& app);
Action configure_serve(CLI::App& app);
Action configure_doctor(CLI::App& app);
Action configure_worker(CLI::App& app);
Action configure_compile_worker(CLI::App& app);

// Print one line on stderr and give the exit code, as in `return failed(store.error());`
int failed(const Error& error);
int usage_error(const Error& error);
int no_gpu(const Error& error);

}  // namespace attune::cli
