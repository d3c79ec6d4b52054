#include "autotuner/device_choice.h"

#include <charconv>

#include "autotuner/gpu_device.h"
#include "compiler/driver.h"

namespace attune {
namespace {

constexpr std::string_view kGpu = "gpu:";
constexpr std::string_view kRecorded = "recorded:";

std::string names(const std::vector<RecordingInfo>& all) {
  std::string text;
  for (const RecordingInfo& info : all) {
    text += fmt::format("{}{} ({})", text.empty() ? "" : "; ", info.name, to_string(info.shape));
  }
  return text.empty() ? "none" : text;
}

Result<DeviceChoice> replay(Recording recording) {
  DeviceChoice choice;
  choice.facts = recording.info.device;
  choice.recording = std::make_shared<const Recording>(std::move(recording));
  return choice;
}

Result<DeviceChoice> choose_gpu(int gpu) {
  auto facts = gpu_facts(gpu);
  if (!facts) return fail("--device gpu:{}: {}", gpu, facts.error().message);
  return DeviceChoice{.facts = std::move(*facts), .gpu = gpu, .recording = {}};
}

Result<DeviceChoice> choose_named(const std::string& name, const Shape& shape) {
  auto recording = read_recording(name);
  if (!recording) return recording.error();
  if (recording->info.shape == shape) return replay(*std::move(recording));
  const auto all = recordings();
  return fail("recording {} is of {}, not of {}; there are: {}", name, to_string(recording->info.shape),
              to_string(shape), all ? names(*all) : "none");
}

Result<DeviceChoice> choose_fitting(const Shape& shape, const std::string& template_name) {
  const auto all = recordings();
  if (!all) return all.error();
  for (const RecordingInfo& info : *all) {
    if (info.shape != shape || (!template_name.empty() && info.template_name != template_name)) continue;
    auto recording = read_recording(info.path.empty() ? info.name : info.path);
    if (!recording) return recording.error();
    return replay(*std::move(recording));
  }
  return fail("there is no usable GPU (`attune doctor` says why), and no recording of {}; there are: {}",
              to_string(shape), names(*all));
}

}  // namespace

Result<DeviceRequest> parse_device(std::string_view text) {
  DeviceRequest request;
  if (text == "auto") return request;
  if (text.starts_with(kRecorded) && text.size() > kRecorded.size()) {
    request.kind = DeviceRequest::Kind::recorded;
    request.recording = text.substr(kRecorded.size());
    return request;
  }
  if (text.starts_with(kGpu)) {
    const std::string_view number = text.substr(kGpu.size());
    const auto [end, code] = std::from_chars(number.data(), number.data() + number.size(), request.gpu);
    if (code == std::errc() && end == number.data() + number.size() && request.gpu >= 0) {
      request.kind = DeviceRequest::Kind::gpu;
      return request;
    }
  }
  return fail("--device '{}': must be auto, gpu:N or recorded:NAME", text);
}

Result<DeviceChoice> choose_device(const DeviceRequest& request, const Shape& shape,
                                   const std::string& template_name) {
  switch (request.kind) {
    case DeviceRequest::Kind::gpu:
      return choose_gpu(request.gpu);
    case DeviceRequest::Kind::recorded:
      return choose_named(request.recording, shape);
    case DeviceRequest::Kind::automatic:
      break;
  }
  if (!gpus().empty()) return choose_gpu(0);
  return choose_fitting(shape, template_name);
}

Result<DeviceChoice> choose_facts(const DeviceRequest& request, const Shape& shape) {
  if (request.kind == DeviceRequest::Kind::gpu) return choose_gpu(request.gpu);
  DeviceChoice choice;
  if (request.kind == DeviceRequest::Kind::recorded) {
    const auto recording = read_recording(request.recording);
    if (!recording) return recording.error();
    choice.facts = recording->info.device;
    return choice;
  }
  if (!gpus().empty()) return choose_gpu(0);
  const auto all = recordings();
  if (!all) return all.error();
  if (all->empty()) return fail("there is no usable GPU and no recording of one: name an arch with --arch");
  choice.facts = all->front().device;
  for (const RecordingInfo& info : *all) {  // the GPU that `attune tune` would replay for this shape
    if (info.shape != shape) continue;
    choice.facts = info.device;
    return choice;
  }
  return choice;
}

std::string replay_notice(const DeviceChoice& choice, std::string_view template_hash) {
  if (!choice.recording) return "";
  const RecordingInfo& info = choice.recording->info;
  const std::string stale = staleness(info, template_hash);
  return fmt::format("REPLAY: nothing is measured here; times are replayed from recording {} of {} ({}){}{}",
                     info.name, info.device.name, info.recorded_at, stale.empty() ? "" : "; ", stale);
}

std::vector<DeviceFacts> gpus() {
  const auto driver = Driver::open();
  if (!driver) return {};
  const auto count = (*driver)->device_count();
  std::vector<DeviceFacts> found;
  for (int i = 0; count && i < *count; ++i) {
    if (auto facts = (*driver)->device_facts(i)) found.push_back(std::move(*facts));
  }
  return found;
}

}  // namespace attune
