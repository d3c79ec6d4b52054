// What a sweep measures on: each shape of a workload through each template that serves it.
#pragma once

#include <string>
#include <vector>

#include "autotuner/device_choice.h"
#include "autotuner/sweep.h"
#include "autotuner/workload.h"

namespace attune {

struct SweepTarget {
  DeviceFacts device;
  bool replays = false;
  std::vector<int> gpus;                  // ordinals, a worker each; empty where recordings are replayed
  std::vector<RecordingInfo> recordings;  // replayed, each for its shape and template
};

// The GPUs of `list` ("0,1", "all"; "": what --device says), which must be of one model, or the recordings
// that
// --device stands for. Without a GPU, auto is all recordings of one GPU model.
Result<SweepTarget> sweep_target(const std::string& device, const std::string& list);

// The arms, and which rows have none and why. `templates`: names, empty for all. `rows_shape` is filled with
// each row's shape number, or nothing for a row that is left out.
struct SweepArms {
  std::vector<SweepArm> arms;
  std::vector<std::optional<std::size_t>> shape_of_row;
  std::vector<std::string> left_out;  // one line each
};
SweepArms sweep_arms(const Workload& workload, const SweepTarget& target,
                     const std::vector<std::string>& templates, const MeasurementPolicy& policy,
                     CompilePool& compiler);

}  // namespace attune
