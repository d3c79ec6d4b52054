// What most commands are about, as flags: a shape, on a device, through a template.
#pragma once

#include <CLI/CLI.hpp>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "autotuner/target.h"
#include "base/result.h"
#include "cli/shape_options.h"
#include "templates/attention_template.h"

namespace attune::cli {

struct TargetFlags {
  ShapeFlags shape;
  std::string device = "auto";
  std::string arch;
  std::string gpu_name;
  std::string template_name;
  std::string kernel_dir;
};

// Each adds the flags named to `app`; `flags` must outlive the parse.
void add_device_flag(CLI::App& app, TargetFlags& flags);
void add_arch_flag(CLI::App& app, TargetFlags& flags);
void add_template_flags(CLI::App& app, TargetFlags& flags);  // --template, --kernel-dir

// measure: the device must be one that can time this shape. ask: any device's facts will do.
enum class Purpose { measure, ask };

// Fills `target` and returns kOk; or prints why not in one line and returns the exit code.
int resolve_target(const TargetFlags& flags, Purpose purpose, Target& target);

// A config as a flag gives it: JSON, @FILE with JSON, or "default".
Result<Config> read_config(const std::string& text, const Target& target);

// The JSON in a file, or one line that names the file and what is wrong.
Result<nlohmann::json> read_json_file(const std::string& path);

}  // namespace attune::cli
