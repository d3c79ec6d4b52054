// Which device a command is about: a GPU of this machine, a recording of one, or only an arch.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "autotuner/recording.h"
#include "base/device_facts.h"
#include "base/result.h"
#include "base/shape.h"

namespace attune {

// What --device says.
struct DeviceRequest {
  enum class Kind { automatic, gpu, recorded };
  Kind kind = Kind::automatic;
  int gpu = 0;            // ordinal
  std::string recording;  // name or path
};
Result<DeviceRequest> parse_device(std::string_view text);

// What was found for it.
struct DeviceChoice {
  DeviceFacts facts;
  std::optional<int> gpu;                      // a GPU of this machine, or
  std::shared_ptr<const Recording> recording;  // times are replayed from here, or neither: only an arch
};

// To measure on. automatic: GPU 0 where there is one, else the recording of this shape (and template, unless
// empty). An error says what there is instead.
Result<DeviceChoice> choose_device(const DeviceRequest& request, const Shape& shape,
                                   const std::string& template_name);

// To ask about, nothing being measured. automatic: GPU 0 where there is one, else the GPU that a recording of
// the shape is of, else that of the first recording, the user's own before those shipped. Never has a
// recording.
Result<DeviceChoice> choose_facts(const DeviceRequest& request, const Shape& shape);

// What people must be told of times that are replayed, one line; empty for a GPU. `template_hash` is today's.
std::string replay_notice(const DeviceChoice& choice, std::string_view template_hash);

// GPUs of this machine in the driver's order; none where there is no driver.
std::vector<DeviceFacts> gpus();

}  // namespace attune
