// Compiled kernels on disk, content-addressed: <folder>/<first 2 of key>/<key>.cubin and .json beside it.
// The .json is the entry (resources, warnings, log, cubin hash); it is published last, by write-temp and
// rename, so that a reader sees a whole entry or none and any number of processes may publish the same one.
// Nothing is synced: checksums tell what a power cut has torn, and it is compiled again. Failed compiles are
// entries too (without .cubin), so that nothing is compiled twice.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "compiler/compiled_kernel.h"
#include "compiler/publish_file.h"

namespace attune {

class CubinStore {
 public:
  // Creates the folder if needed; not being able to write there is an error.
  static Result<CubinStore> open(const std::filesystem::path& folder, const DiskCalls& disk = {});

  // The default folder: ATTUNE_CACHE_DIR, else XDG_CACHE_HOME/attune, else ~/.cache/attune; /cubins below it.
  static std::filesystem::path default_folder();

  // A missing, torn or damaged entry is "not there": it is compiled again.
  std::optional<CompiledKernel> find(const std::string& key) const;
  Status publish(const CompiledKernel& kernel) const;  // timeouts are not kept
  std::filesystem::path cubin_path(const std::string& key) const;

  struct Summary {
    std::int64_t entries = 0;
    std::int64_t bytes = 0;
  };
  Summary summary() const;

  // Keys whose files are damaged (hash or length differs, unreadable); `remove` deletes them.
  std::vector<std::string> verify(bool remove) const;

  // Deletes the least recently used entries until at most max_bytes remain, keeping `pinned` keys. Returns
  // what was freed.
  Result<Summary> collect(std::int64_t max_bytes, const std::vector<std::string>& pinned) const;

  const std::filesystem::path& folder() const { return folder_; }

 private:
  CubinStore(std::filesystem::path folder, const DiskCalls& disk) : folder_(std::move(folder)), disk_(disk) {}
  std::filesystem::path folder_;
  DiskCalls disk_;
};

}  // namespace attune
