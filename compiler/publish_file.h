// Files that appear whole or not at all, also through a crash and, if wanted, a power cut.
#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <cstddef>
#include <filesystem>
#include <string_view>

#include "base/result.h"

namespace attune {

// The seam to the disk: tests plant full disks here.
struct DiskCalls {
  ssize_t (*write)(int, const void*, std::size_t) = ::write;
  int (*fsync)(int) = ::fsync;
};

// What a power cut may do to the file. `none`: nothing, it is synced. `torn`: it may be empty or cut, for
// readers that check what they read; a sync costs milliseconds.
enum class PowerCut { none, torn };

// Writes a temporary file beside `path` and renames it to `path`; with PowerCut::none the file and then the
// folder are synced. On an error nothing is left behind and what was at `path` is untouched.
Status publish_file(const std::filesystem::path& path, std::string_view bytes, const DiskCalls& disk = {},
                    PowerCut may_be = PowerCut::none);

// Part of the name of every temporary file, for those who sweep up after killed processes.
inline constexpr std::string_view kTemporaryMark = ".tmp.";

}  // namespace attune
