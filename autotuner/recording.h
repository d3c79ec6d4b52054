// A recording: all trials of one shape and template that were once measured on a real GPU, in one file, so
// that a search can be replayed without it. The format is in docs/recording-format.md.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "autotuner/space.h"
#include "base/device_facts.h"
#include "base/result.h"
#include "base/shape.h"
#include "cache/trial.h"

namespace attune {

inline constexpr int kRecordingVersion = 1;
inline constexpr std::string_view kRecordingSuffix = ".jsonl.gz";

// How a recording came about, in the words of who made it.
struct RecordingOrigin {
  std::string command;                                   // what was run
  std::string commit;                                    // of attune
  std::map<std::string, std::vector<std::string>> axes;  // restriction of the template's space, if any
  bool operator==(const RecordingOrigin&) const = default;
};

struct RecordingInfo {
  std::string name;  // the file's name without folder and suffix
  std::string path;  // "" when it is part of the binary
  RecordingOrigin origin;
  std::string recorded_at;  // UTC, of the newest trial
  Shape shape;
  std::string template_name;
  std::string template_hash;
  DeviceFacts device;
  std::string nvrtc_version;
  MeasurementPolicy policy;
  std::size_t trials = 0;
};

// Trials are as they were measured, except that times are kept to a nanosecond, errors to four digits, and
// cubin_key, strategy and session are not kept.
struct Recording {
  RecordingInfo info;
  std::vector<Trial> trials;  // one a config, in the order of the configs' canonical JSON
};

// A recording's bytes. Of several trials of a config the newest stands. Trials that differ in shape,
// template, device, NVRTC or policy, or that are replayed themselves, make no recording: the error says which
// and how.
Result<std::string> to_recording(const RecordingOrigin& origin, std::vector<Trial> trials);

// Errors are one line: `name` is cut short, damaged, of another version, counts wrong, or which line is
// wrong.
Result<Recording> parse_recording(std::string_view bytes, const std::string& name);
Result<RecordingInfo> parse_recording_info(std::string_view bytes, const std::string& name);  // header alone

// Those in the binary, then those in the folder ATTUNE_RECORDINGS names. By name; reads headers only.
Result<std::vector<RecordingInfo>> recordings();

// By name, or by path where `name` has a '/' or the suffix. A file in ATTUNE_RECORDINGS comes before one in
// the binary of the same name. An unknown name is an error that lists the names.
Result<Recording> read_recording(const std::string& name);

// What a replay says when the recording's kernels are not today's, "" when they are.
std::string staleness(const RecordingInfo& info, std::string_view template_hash);

// The part of a template's space that was recorded: domains narrowed to the values that occur, so that
// neighbours are those of the recorded grid, and only recorded configs. Configs that the template no longer
// allows are left out. An error when none is left.
Result<Space> recorded_space(const Space& space, const Recording& recording);

}  // namespace attune
