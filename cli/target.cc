#include "cli/target.h"

#include <nlohmann/json.hpp>

#include "base/read_file.h"
#include "cli/command.h"

namespace attune::cli {
namespace {

// A device that is asked for by number and is not there has its own exit code.
int device_failure(const DeviceRequest& request, const Error& error) {
  return request.kind == DeviceRequest::Kind::gpu ? no_gpu(error) : failed(error);
}

int resolve_device(const TargetFlags& flags, Purpose purpose, Target& target) {
  if (!flags.arch.empty()) {
    auto facts = nominal_facts(flags.arch);
    if (!facts) return usage_error(fail("--arch: {}", facts.error().message));
    target.device.facts = std::move(*facts);
  } else {
    const auto request = parse_device(flags.device);
    if (!request) return usage_error(request.error());
    auto choice = purpose == Purpose::ask ? choose_facts(*request, target.shape)
                                          : choose_device(*request, target.shape, flags.template_name);
    if (!choice) return device_failure(*request, choice.error());
    target.device = std::move(*choice);
  }
  if (!flags.gpu_name.empty()) target.device.facts.name = flags.gpu_name;
  return kOk;
}

Result<nlohmann::json> parse_json(const std::string& text, const std::string& where) {
  auto json = nlohmann::json::parse(text, nullptr, false);
  if (json.is_discarded())
    return fail("{} is not JSON; a config looks like {{\"block_sizes\":[1,128,64],...}}", where);
  return json;
}

}  // namespace

void add_device_flag(CLI::App& app, TargetFlags& flags) {
  app.add_option(
         "--device", flags.device,
         "auto (GPU 0, else the recording of this shape), gpu:N, or recorded:NAME (attune doctor lists them)")
      ->capture_default_str()
      ->type_name("D");
}

void add_arch_flag(CLI::App& app, TargetFlags& flags) {
  CLI::Option* arch =
      app.add_option("--arch", flags.arch,
                     "An arch instead of a device: sm_80, sm_86, sm_89, sm_90a, sm_100a, sm_120a")
          ->type_name("A");
  if (CLI::Option* device = app.get_option_no_throw("--device")) arch->excludes(device);
}

void add_template_flags(CLI::App& app, TargetFlags& flags) {
  app.add_option("--template", flags.template_name,
                 "Kernel template (default: the first that supports the shape)")
      ->type_name("NAME");
  app.add_option("--kernel-dir", flags.kernel_dir,
                 "Take kernel sources from this folder, not from the binary")
      ->envname("ATTUNE_KERNEL_DIR")
      ->type_name("DIR");
}

int resolve_target(const TargetFlags& flags, Purpose purpose, Target& target) {
  auto shape = parse_shape(flags.shape);
  if (!shape) return usage_error(shape.error());
  target.shape = *shape;
  if (!flags.kernel_dir.empty()) {
    if (const auto status = use_kernel_directory(flags.kernel_dir); !status)
      return usage_error(status.error());
  }
  if (!flags.template_name.empty()) {
    if (const auto found = find_template(flags.template_name); !found) {
      return usage_error(fail("--template: {}", found.error().message));
    }
  }
  if (const int code = resolve_device(flags, purpose, target); code != kOk) return code;
  const auto tmpl = choose_template(flags.template_name, target.shape, target.device);
  if (!tmpl) return failed(tmpl.error());
  target.tmpl = *tmpl;
  return kOk;
}

Result<nlohmann::json> read_json_file(const std::string& path) {
  const auto text = read_file(path);
  if (!text) return text.error();
  return parse_json(*text, path);
}

Result<Config> read_config(const std::string& text, const Target& target) {
  if (text == "default") return target.tmpl->default_config(target.shape, target.device.facts);
  const auto json = text.starts_with('@') ? read_json_file(text.substr(1)) : parse_json(text, "--config");
  if (!json) return json.error();
  return config_from_json(*json, target.tmpl->space(target.shape, target.device.facts));
}

}  // namespace attune::cli
