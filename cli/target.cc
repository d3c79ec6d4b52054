#include "cli/target.h"

#include <nlohmann/json.hpp>

#include "base/json_text.h"
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

int resolve_template(const TargetFlags& flags, Target& target) {
  const DeviceFacts& facts = target.device.facts;
  if (flags.template_name.empty() && !target.device.recording) {
    const auto found = default_template(target.shape, facts);
    if (!found) return failed(found.error());
    target.tmpl = *found;
    return kOk;
  }
  // A recording holds trials of one template.
  const std::string& name =
      flags.template_name.empty() ? target.device.recording->info.template_name : flags.template_name;
  const auto found = find_template(name);
  if (!found) return failed(found.error());
  if (const auto status = (*found)->supports(target.shape, facts); !status) return failed(status.error());
  target.tmpl = *found;
  return kOk;
}

Result<nlohmann::json> parse_json(const std::string& text, const std::string& where) {
  auto json = parse_outside_json(text);
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
  return resolve_template(flags, target);
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

Result<Space> search_space(const Target& target,
                           const std::map<std::string, std::vector<std::string>>& allowed) {
  const Space whole(target.tmpl->space(target.shape, target.device.facts));
  if (!target.device.recording) return whole.restricted(allowed);
  const auto recorded = recorded_space(whole, *target.device.recording);
  if (!recorded) return recorded.error();
  return recorded->restricted(allowed);
}

nlohmann::json to_json(const Target& target) {
  nlohmann::json json = {{"shape", to_json(target.shape)},
                         {"device", to_json(target.device.facts)},
                         {"template", target.tmpl->name()},
                         {"replayed", target.device.recording != nullptr}};
  if (target.device.recording) {
    json["recording"] = target.device.recording->info.name;
    json["recorded_at"] = target.device.recording->info.recorded_at;
    json["notice"] = replay_notice(target.device, target.tmpl->hash());
  }
  return json;
}

}  // namespace attune::cli
