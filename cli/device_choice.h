// Which device a command is about: a GPU of this machine, a recording of one, or only an arch.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "autotuner/recording.h"
#include "base/device_facts.h"
#include "base/result.h"
#include "base/shape.h"

namespace attune::cli {

// What --device says.
struct DeviceRequest {
  enum class Kind { automatic, gpu, recorded };
  Kind kind = Kind::automatic;
  int gpu = 0;            // ordinal
  std::string recording;  // name
};
Result<DeviceRequest> parse_device(std::string_view text);

// What was found for it.
struct DeviceChoice {
  DeviceFacts facts;
  std::optional<int> gpu;                  // a GPU of this machine, or
  std::optional<RecordingInfo> recording;  // times are replayed from here, or neither: only the arch is known
  std::string notice;                      // one line that people must see; empty for a GPU
};

// automatic: GPU 0 where there is one, else the recording of this shape (and template, unless empty).
// An error says what there is instead.
Result<DeviceChoice> choose_device(const DeviceRequest& request, const Shape& shape,
                                   const std::string& template_name);

// GPUs of this machine in the driver's order; none where there is no driver.
std::vector<DeviceFacts> gpus();

}  // namespace attune::cli
