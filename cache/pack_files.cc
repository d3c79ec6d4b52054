// Where packs are found: in the binary, in files and folders of the user's.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <optional>

#include "base/read_file.h"
#include "cache/pack.h"
#include "cache/trusted_keys.h"
#include "embedded/embedded_packs.h"

namespace attune {
namespace {

namespace fs = std::filesystem;

std::string name_of(std::string_view file) {
  file = file.substr(file.rfind('/') + 1);
  if (file.ends_with(kPackSuffix)) file.remove_suffix(kPackSuffix.size());
  return std::string(file);
}

Status add_builtin(Packs& packs) {
  for (const EmbeddedFile& file : embedded_packs()) {
    auto pack = parse_pack(file.contents, name_of(file.name));
    if (!pack) return pack.error();
    packs.push_back(std::make_shared<const Pack>(*std::move(pack)));
  }
  return {};
}

// Reads packs that are in no binary; `may_serve` has the last word on each.
using MayServe = std::function<Status(const Pack&)>;

Status add_file(const std::string& path, const MayServe& may_serve, Packs& packs) {
  auto pack = read_pack(path);
  if (!pack) return pack.error();
  if (auto status = may_serve(*pack); !status) return status;
  packs.push_back(std::make_shared<const Pack>(*std::move(pack)));
  return {};
}

Status add_folder(const std::string& folder, const MayServe& may_serve, Packs& packs) {
  std::vector<std::string> paths;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (entry.path().string().ends_with(kPackSuffix)) paths.push_back(entry.path().string());
  }
  if (error) return fail("cannot read the folder of packs {}: {}", folder, error.message());
  std::sort(paths.begin(), paths.end());
  for (const std::string& path : paths) {
    if (auto status = add_file(path, may_serve, packs); !status) return status;
  }
  return {};
}

Result<Packs> packs_of(const char* list, const MayServe& may_serve) {
  if (list == nullptr) list = std::getenv("ATTUNE_PACKS");
  std::string_view rest = list == nullptr ? "builtin" : list;
  Packs found;
  while (!rest.empty()) {
    const auto colon = rest.find(':');
    const std::string place(rest.substr(0, colon));
    rest.remove_prefix(colon == std::string_view::npos ? rest.size() : colon + 1);
    if (place.empty()) continue;
    std::error_code ignored;
    const Status status = place == "builtin"                 ? add_builtin(found)
                          : fs::is_directory(place, ignored) ? add_folder(place, may_serve, found)
                                                             : add_file(place, may_serve, found);
    if (!status) return status.error();
  }
  return found;
}

}  // namespace

Result<Pack> read_pack(const std::string& path) {
  const auto bytes = read_file(path);
  if (!bytes) return fail("pack {}: {}", name_of(path), bytes.error().message);
  auto pack = parse_pack(*bytes, name_of(path));
  if (pack) pack->info.path = path;
  return pack;
}

Result<Pack> find_pack(const std::string& name) {
  if (name.find('/') != std::string::npos || name.ends_with(kPackSuffix)) return read_pack(name);
  const auto all = packs(nullptr, nullptr);
  if (!all) return all.error();
  std::string names;
  for (const auto& pack : *all) {
    if (pack->info.name == name) return *pack;
    names += (names.empty() ? "" : ", ") + pack->info.name;
  }
  return fail("there is no pack '{}'; there are: {}", name, names.empty() ? "none" : names);
}

Result<Packs> packs(const char* list) {
  // Asked for by the first file: what comes with attune needs nobody's word.
  std::optional<Result<std::optional<TrustedKeys>>> configured;
  return packs_of(list, [&](const Pack& pack) -> Status {
    if (!configured) configured = TrustedKeys::configured();
    if (!*configured) return configured->error();
    const auto& trusted = **configured;
    return trusted ? trusted->check(pack) : Status();
  });
}

Result<Packs> packs(const char* list, const TrustedKeys* trusted) {
  return packs_of(
      list, [trusted](const Pack& pack) { return trusted == nullptr ? Status() : trusted->check(pack); });
}

}  // namespace attune
