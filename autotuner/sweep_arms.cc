#include "autotuner/sweep_arms.h"

#include <algorithm>
#include <charconv>

#include "autotuner/open_device.h"
#include "autotuner/recorded_device.h"

namespace attune {
namespace {

Result<std::vector<int>> parse_gpus(const std::string& list, std::size_t there) {
  std::vector<int> chosen;
  if (list == "all") {
    for (std::size_t i = 0; i < there; ++i) chosen.push_back(static_cast<int>(i));
    return chosen;
  }
  const char* at = list.data();
  const char* const end = list.data() + list.size();
  while (at < end) {
    int gpu = -1;
    const auto [next, code] = std::from_chars(at, end, gpu);
    const bool separated = next == end || *next == ',';
    if (code != std::errc() || gpu < 0 || !separated)
      return fail("--gpus '{}': must be ordinals, as in 0,1, or all", list);
    if (std::find(chosen.begin(), chosen.end(), gpu) != chosen.end())
      return fail("--gpus '{}': GPU {} is there twice", list, gpu);
    chosen.push_back(gpu);
    at = next + (next < end);
  }
  return chosen;
}

Result<SweepTarget> target_of_gpus(const std::vector<int>& chosen, const std::vector<DeviceFacts>& there) {
  SweepTarget target;
  for (const int gpu : chosen) {
    if (static_cast<std::size_t>(gpu) >= there.size())
      return fail("there is no GPU {}: the driver shows {}", gpu, there.size());
    const DeviceFacts& facts = there[static_cast<std::size_t>(gpu)];
    if (target.gpus.empty()) target.device = facts;
    if (facts.name != target.device.name || facts.sm_count != target.device.sm_count) {
      return fail("GPU {} is {}, GPU {} is {}: sweep one model at a time", target.gpus.front(),
                  target.device.name, gpu, facts.name);
    }
    target.gpus.push_back(gpu);
  }
  return target;
}

Result<SweepTarget> target_of_recordings(const DeviceRequest& request) {
  SweepTarget target;
  target.replays = true;
  if (request.kind == DeviceRequest::Kind::recorded) {
    auto recording = read_recording(request.recording);
    if (!recording) return recording.error();
    target.recordings.push_back(std::move(recording->info));
  } else {
    auto all = recordings();
    if (!all) return all.error();
    target.recordings = std::move(*all);
  }
  if (target.recordings.empty())
    return fail("there is no usable GPU (`attune doctor` says why), and no recording");
  target.device = target.recordings.front().device;
  std::erase_if(target.recordings,
                [&](const RecordingInfo& info) { return info.device.name != target.device.name; });
  return target;
}

// The arm of a recording, or nothing where none is of this shape and template.
std::optional<SweepArm> replayed_arm(const Shape& shape, const AttentionTemplate& tmpl,
                                     const SweepTarget& target) {
  for (const RecordingInfo& info : target.recordings) {
    if (info.shape != shape || info.template_name != tmpl.name()) continue;
    SweepArm arm;
    arm.device = info.device;
    arm.replays = true;
    const std::string name = info.path.empty() ? info.name : info.path;
    arm.space = [name, shape, &tmpl, facts = info.device]() -> Result<Space> {
      const auto recording = read_recording(name);
      if (!recording) return recording.error();
      return recorded_space(Space(tmpl.space(shape, facts)), *recording);
    };
    arm.open = [name](int) -> Result<std::unique_ptr<Device>> {
      auto recording = read_recording(name);
      if (!recording) return recording.error();
      return std::unique_ptr<Device>(std::make_unique<RecordedDevice>(*std::move(recording)));
    };
    return arm;
  }
  return std::nullopt;
}

SweepArm gpu_arm(const Shape& shape, const AttentionTemplate& tmpl, const SweepTarget& target,
                 const MeasurementPolicy& policy, CompilePool& compiler) {
  SweepArm arm;
  arm.device = target.device;
  arm.space = [shape, &tmpl, facts = target.device]() -> Result<Space> {
    return Space(tmpl.space(shape, facts));
  };
  arm.open = [shape, &tmpl, facts = target.device, gpus = target.gpus, policy, &compiler](int worker) {
    Target one;
    one.shape = shape;
    one.tmpl = &tmpl;
    one.device.facts = facts;
    one.device.gpu = gpus[static_cast<std::size_t>(worker)];
    return open_device(one, policy, compiler);
  };
  return arm;
}

}  // namespace

Result<SweepTarget> sweep_target(const std::string& device, const std::string& list) {
  const auto request = parse_device(device);
  if (!request) return request.error();
  const auto there = gpus();
  if (!list.empty() && request->kind != DeviceRequest::Kind::automatic)
    return fail("--gpus and --device both name devices: give one of them");
  if (!list.empty()) {
    const auto chosen = parse_gpus(list, there.size());
    if (!chosen) return chosen.error();
    if (there.empty())
      return fail("--gpus {}: this machine has no usable GPU; `attune doctor` says why", list);
    return target_of_gpus(*chosen, there);
  }
  if (request->kind == DeviceRequest::Kind::gpu) return target_of_gpus({request->gpu}, there);
  if (request->kind == DeviceRequest::Kind::automatic && !there.empty()) return target_of_gpus({0}, there);
  return target_of_recordings(*request);
}

SweepArms sweep_arms(const Workload& workload, const SweepTarget& target,
                     const std::vector<std::string>& templates, const MeasurementPolicy& policy,
                     CompilePool& compiler) {
  SweepArms made;
  std::vector<Shape> shapes;  // with arms
  for (const WorkloadRow& row : workload.rows) {
    const auto known = std::find(shapes.begin(), shapes.end(), row.shape);
    if (known != shapes.end()) {
      const auto number = static_cast<std::size_t>(known - shapes.begin());
      made.shape_of_row.emplace_back(number);
      for (SweepArm& arm : made.arms) {
        if (arm.shape_number == number) arm.weight += row.weight;
      }
      continue;
    }
    std::string refusals;
    const std::size_t before = made.arms.size();
    for (const AttentionTemplate* tmpl : attention_templates()) {
      const bool wanted =
          templates.empty() || std::find(templates.begin(), templates.end(), tmpl->name()) != templates.end();
      if (!wanted) continue;
      const auto supported = tmpl->supports(row.shape, target.device);
      auto arm = target.replays ? replayed_arm(row.shape, *tmpl, target)
                                : std::optional(gpu_arm(row.shape, *tmpl, target, policy, compiler));
      if (!supported || !arm) {
        refusals += fmt::format("{}{}: {}", refusals.empty() ? "" : "; ", tmpl->name(),
                                supported ? "no recording of it" : supported.error().message);
        continue;
      }
      arm->shape_number = shapes.size();
      arm->shape = row.shape;
      arm->weight = row.weight;
      arm->tmpl = tmpl;
      made.arms.push_back(*std::move(arm));
    }
    if (made.arms.size() == before) {
      made.shape_of_row.emplace_back(std::nullopt);
      made.left_out.push_back(fmt::format("{}: {}", row.name, refusals));
      continue;
    }
    made.shape_of_row.emplace_back(shapes.size());
    shapes.push_back(row.shape);
  }
  return made;
}

}  // namespace attune
