// Spaces that other autotuners measured, and ours in their formats: Kernel Tuner's cache files, and the T4
// results of the open autotuning schema (https://github.com/odgaard/TuningSchema). docs/strategies.md says
// what is carried over.
#pragma once

#include <string>
#include <string_view>

#include "autotuner/replay_space.h"
#include "base/result.h"

namespace attune {

// Reads either format, told apart by what is in the file; a cache that was cut off between two entries counts
// as whole, as Kernel Tuner counts it. A parameter is an axis, a text that is a number an ordered one's
// value. Errors are one line that names `name` and the entry.
Result<ReplaySpace> parse_foreign_space(std::string_view text, const std::string& name);

enum class ForeignFormat { kernel_tuner, t4 };

// A recorded space in another tuner's format, as text. Parameters of a config that do not matter to it have
// their first value. `recorded_at`: UTC, of all entries.
std::string to_foreign(const ReplaySpace& replay, ForeignFormat format, const std::string& kernel_name,
                       const std::string& recorded_at);

}  // namespace attune
