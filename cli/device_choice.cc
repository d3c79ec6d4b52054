#include "cli/device_choice.h"

#include <charconv>

#include "autotuner/gpu_device.h"
#include "compiler/driver.h"

namespace attune::cli {
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

DeviceChoice replay(const RecordingInfo& info) {
  return {.facts = info.device,
          .gpu = {},
          .recording = info,
          .notice = fmt::format(
              "REPLAY: times are not measured here, they are replayed from the recording {} of an {} "
              "(recorded {})",
              info.name, info.device.name, info.recorded_at)};
}

Result<DeviceChoice> choose_gpu(int gpu) {
  auto facts = gpu_facts(gpu);
  if (!facts) return fail("--device gpu:{}: {}", gpu, facts.error().message);
  return DeviceChoice{.facts = std::move(*facts), .gpu = gpu, .recording = {}, .notice = {}};
}

Result<DeviceChoice> choose_named(const std::string& name, const Shape& shape) {
  const auto all = recordings();
  if (!all) return all.error();
  for (const RecordingInfo& info : *all) {
    if (info.name != name) continue;
    if (info.shape == shape) return replay(info);
    return fail("recording {} is of {}, not of {}; the recordings are: {}", name, to_string(info.shape),
                to_string(shape), names(*all));
  }
  return fail("there is no recording '{}'; there are: {}", name, names(*all));
}

Result<DeviceChoice> choose_fitting(const Shape& shape, const std::string& template_name) {
  const auto all = recordings();
  if (!all) return all.error();
  for (const RecordingInfo& info : *all) {
    if (info.shape == shape && (template_name.empty() || info.template_name == template_name))
      return replay(info);
  }
  return fail("there is no usable GPU, and no recording of {}; the recordings are: {}", to_string(shape),
              names(*all));
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

}  // namespace attune::cli
