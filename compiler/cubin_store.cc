#include "compiler/cubin_store.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstdlib>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>
#include <tuple>

#include "base/hash.h"
#include "base/read_file.h"
#include "compiler/compiled_kernel_json.h"

namespace attune {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int kFormat = 1;
// Long after any publisher has renamed its temporary file.
constexpr auto kAbandonedAge = std::chrono::hours(1);

bool is_key(const std::string& key) {
  return key.size() >= 3 &&
         std::all_of(key.begin(), key.end(), [](unsigned char c) { return std::isalnum(c) != 0; });
}

std::string checksum(const json& entry) {
  return sha256_hex(entry.dump());
}

json entry_of(const CompiledKernel& kernel) {
  json entry = to_json(kernel);
  entry["format"] = kFormat;
  entry["cubin_bytes"] = kernel.cubin.size();
  // A compiler's log may quote bytes of the source that are no UTF-8.
  json clean = json::parse(entry.dump(-1, ' ', false, json::error_handler_t::replace));
  clean["checksum"] = checksum(clean);
  return clean;
}

// The entry without its image, or nothing if it is not exactly what entry_of wrote.
std::optional<CompiledKernel> kernel_of(const std::string& text, const std::string& key,
                                        std::size_t& cubin_bytes) {
  try {
    json entry = json::parse(text);
    const auto sum = entry.at("checksum").get<std::string>();
    entry.erase("checksum");
    if (checksum(entry) != sum || entry.at("format") != kFormat || entry.at("key") != key)
      return std::nullopt;
    CompiledKernel kernel = compiled_kernel_from_json(entry);
    entry.at("cubin_bytes").get_to(cubin_bytes);
    kernel.from_store = true;
    return kernel;
  } catch (const json::exception&) {
    return std::nullopt;
  }
}

fs::path entry_path(const fs::path& folder, const std::string& key) {
  return folder / key.substr(0, 2) / (key + ".json");
}

std::optional<CompiledKernel> read_entry(const fs::path& folder, const fs::path& cubin,
                                         const std::string& key) {
  const auto text = read_file(entry_path(folder, key).string());
  if (!text) return std::nullopt;
  std::size_t cubin_bytes = 0;
  auto kernel = kernel_of(*text, key, cubin_bytes);
  if (!kernel || kernel->outcome != CompileOutcome::ok) return kernel;
  auto image = read_file(cubin.string());
  if (!image || image->size() != cubin_bytes || sha256_hex(*image) != kernel->cubin_hash) return std::nullopt;
  kernel->cubin = std::move(*image);
  return kernel;
}

// Calls function(path of a regular file) for each file of the store. Files that vanish meanwhile are skipped.
template <class Function>
void for_each_file(const fs::path& folder, Function function) {
  std::error_code error;
  for (fs::directory_iterator sub(folder, error), end; !error && sub != end; sub.increment(error)) {
    std::error_code inner;
    if (!sub->is_directory(inner)) continue;
    for (fs::directory_iterator file(sub->path(), inner); !inner && file != end; file.increment(inner)) {
      function(file->path());
    }
  }
}

std::vector<std::string> keys_of(const fs::path& folder) {
  std::vector<std::string> keys;
  for_each_file(folder, [&](const fs::path& path) {
    if (path.extension() == ".json") keys.push_back(path.stem().string());
  });
  std::sort(keys.begin(), keys.end());
  return keys;
}

std::int64_t size_or_zero(const fs::path& path) {
  std::error_code error;
  const auto size = fs::file_size(path, error);
  return error ? 0 : static_cast<std::int64_t>(size);
}

// Temporary files of killed publishers, and images whose entry never came.
std::int64_t sweep(const fs::path& folder) {
  std::int64_t freed = 0;
  std::vector<fs::path> litter;
  for_each_file(folder, [&](const fs::path& path) {
    std::error_code error;
    const bool temporary = path.filename().string().find(kTemporaryMark) != std::string::npos;
    const bool orphan =
        path.extension() == ".cubin" && !fs::exists(fs::path(path).replace_extension(".json"), error);
    const auto time = fs::last_write_time(path, error);
    if ((temporary || orphan) && !error && fs::file_time_type::clock::now() - time > kAbandonedAge) {
      litter.push_back(path);
    }
  });
  for (const auto& path : litter) {
    std::error_code error;
    const auto size = size_or_zero(path);
    if (fs::remove(path, error)) freed += size;
  }
  return freed;
}

}  // namespace

Result<CubinStore> CubinStore::open(const fs::path& folder, const DiskCalls& disk) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error)
    return fail("cannot create the kernel cache {}: {}; name another with ATTUNE_CACHE_DIR", folder.string(),
                error.message());
  const fs::path probe = folder / fmt::format("probe.{}", ::getpid());
  if (const auto status = publish_file(probe, "", disk, PowerCut::torn); !status) {
    return fail("the kernel cache cannot be used: {}; name another with ATTUNE_CACHE_DIR",
                status.error().message);
  }
  fs::remove(probe, error);
  return CubinStore(folder, disk);
}

fs::path CubinStore::default_folder() {
  const auto from = [](const char* variable) {
    const char* value = std::getenv(variable);
    return fs::path(value == nullptr ? "" : value);
  };
  if (const auto folder = from("ATTUNE_CACHE_DIR"); !folder.empty()) return folder / "cubins";
  if (const auto folder = from("XDG_CACHE_HOME"); !folder.empty()) return folder / "attune" / "cubins";
  const auto home = from("HOME");
  return (home.empty() ? fs::path("/tmp") : home) / ".cache" / "attune" / "cubins";
}

fs::path CubinStore::cubin_path(const std::string& key) const {
  return folder_ / key.substr(0, 2) / (key + ".cubin");
}

std::optional<CompiledKernel> CubinStore::find(const std::string& key) const {
  if (!is_key(key)) return std::nullopt;
  auto kernel = read_entry(folder_, cubin_path(key), key);
  // The entry's time is when it was last wanted; a store that cannot be written is still good to read.
  if (kernel) ::utimensat(AT_FDCWD, entry_path(folder_, key).c_str(), nullptr, 0);
  return kernel;
}

Status CubinStore::publish(const CompiledKernel& kernel) const {
  if (!is_key(kernel.key)) return fail("'{}' is no key of a compiled kernel", kernel.key);
  if (kernel.outcome == CompileOutcome::timeout) return {};
  const fs::path cubin = cubin_path(kernel.key);
  std::error_code error;
  fs::create_directories(cubin.parent_path(), error);
  if (error) return fail("cannot create {}: {}", cubin.parent_path().string(), error.message());
  if (kernel.outcome == CompileOutcome::ok) {
    if (auto status = publish_file(cubin, kernel.cubin, disk_, PowerCut::torn); !status) return status;
  }
  return publish_file(entry_path(folder_, kernel.key), entry_of(kernel).dump(1) + "\n", disk_,
                      PowerCut::torn);
}

CubinStore::Summary CubinStore::summary() const {
  Summary summary;
  for_each_file(folder_, [&](const fs::path& path) {
    if (path.extension() == ".json") ++summary.entries;
    summary.bytes += size_or_zero(path);
  });
  return summary;
}

std::vector<std::string> CubinStore::verify(bool remove) const {
  std::vector<std::string> damaged;
  for (const auto& key : keys_of(folder_)) {
    if (is_key(key) && read_entry(folder_, cubin_path(key), key)) continue;
    std::error_code error;
    if (!fs::exists(entry_path(folder_, key), error)) continue;  // collected meanwhile
    damaged.push_back(key);
    if (!remove) continue;
    fs::remove(entry_path(folder_, key), error);
    fs::remove(cubin_path(key), error);
  }
  return damaged;
}

Result<CubinStore::Summary> CubinStore::collect(std::int64_t max_bytes,
                                                const std::vector<std::string>& pinned) const {
  struct Entry {
    std::string key;
    fs::file_time_type used;
    std::int64_t bytes;
  };
  const std::set<std::string> kept(pinned.begin(), pinned.end());
  Summary freed;
  freed.bytes = sweep(folder_);
  std::vector<Entry> entries;
  for (const auto& key : keys_of(folder_)) {
    std::error_code error;
    const auto used = fs::last_write_time(entry_path(folder_, key), error);
    if (error) continue;
    entries.push_back({key, used, size_or_zero(entry_path(folder_, key)) + size_or_zero(cubin_path(key))});
  }
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return std::tie(a.used, a.key) < std::tie(b.used, b.key); });
  std::int64_t bytes = 0;
  for (const auto& entry : entries) bytes += entry.bytes;
  for (const auto& entry : entries) {
    if (bytes <= max_bytes) break;
    if (kept.contains(entry.key)) continue;
    std::error_code error;
    fs::remove(entry_path(folder_, entry.key), error);  // the entry first: an image without one is not there
    if (error) return fail("cannot delete {}: {}", entry_path(folder_, entry.key).string(), error.message());
    fs::remove(cubin_path(entry.key), error);
    if (error) return fail("cannot delete {}: {}", cubin_path(entry.key).string(), error.message());
    bytes -= entry.bytes;
    freed.bytes += entry.bytes;
    ++freed.entries;
  }
  return freed;
}

}  // namespace attune
