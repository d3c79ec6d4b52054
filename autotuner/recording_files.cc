// Where recordings are found: in the binary, in a folder of the user's, at a path.
#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "autotuner/recording.h"
#include "base/read_file.h"
#include "embedded/embedded_recordings.h"

namespace attune {
namespace {

std::string name_of(std::string_view file) {
  file = file.substr(file.rfind('/') + 1);
  return std::string(file.ends_with(kRecordingSuffix) ? file.substr(0, file.size() - kRecordingSuffix.size())
                                                      : file);
}

Result<std::string> read_bytes(const std::string& path) {
  auto bytes = read_file(path);
  if (!bytes) return fail("cannot read the recording {}", path);
  return bytes;
}

// The user's own recordings, sorted; none where the variable is not set.
Result<std::vector<std::string>> files_in_folder() {
  const char* folder = std::getenv("ATTUNE_RECORDINGS");
  std::vector<std::string> paths;
  if (folder == nullptr || *folder == '\0') return paths;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (entry.path().string().ends_with(kRecordingSuffix)) paths.push_back(entry.path().string());
  }
  if (error)
    return fail("cannot read the folder {} that ATTUNE_RECORDINGS names: {}", folder, error.message());
  std::sort(paths.begin(), paths.end());
  return paths;
}

}  // namespace

// Those of the user's folder first: what somebody put there is meant to be found before what is shipped.
Result<std::vector<RecordingInfo>> recordings() {
  std::vector<RecordingInfo> infos;
  const auto paths = files_in_folder();
  if (!paths) return paths.error();
  for (const std::string& path : *paths) {
    const auto bytes = read_bytes(path);
    if (!bytes) return bytes.error();
    auto info = parse_recording_info(*bytes, name_of(path));
    if (!info) return info.error();
    info->path = path;
    infos.push_back(*std::move(info));
  }
  for (const EmbeddedFile& file : embedded_recordings()) {
    auto info = parse_recording_info(file.contents, name_of(file.name));
    if (!info) return info.error();
    infos.push_back(*std::move(info));
  }
  return infos;
}

Result<Recording> read_recording(const std::string& name) {
  const auto from_path = [](const std::string& path) -> Result<Recording> {
    const auto bytes = read_bytes(path);
    if (!bytes) return bytes.error();
    auto recording = parse_recording(*bytes, name_of(path));
    if (recording) recording->info.path = path;
    return recording;
  };
  if (name.find('/') != std::string::npos || name.ends_with(kRecordingSuffix)) return from_path(name);
  // The user's own comes before attune's of the same name.
  const auto paths = files_in_folder();
  if (!paths) return paths.error();
  for (const std::string& path : *paths) {
    if (name_of(path) == name) return from_path(path);
  }
  for (const EmbeddedFile& file : embedded_recordings()) {
    if (name_of(file.name) == name) return parse_recording(file.contents, name);
  }
  std::string names;
  for (const EmbeddedFile& file : embedded_recordings())
    names += (names.empty() ? "" : ", ") + name_of(file.name);
  for (const std::string& path : *paths) names += (names.empty() ? "" : ", ") + name_of(path);
  return fail("there is no recording '{}'; there are: {}", name, names.empty() ? "none" : names);
}

}  // namespace attune
