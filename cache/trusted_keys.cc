#include "cache/trusted_keys.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/printable.h"
#include "base/read_file.h"
#include "cache/paths.h"

namespace attune {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kBlanks = " \t\r";

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

// Fit for a terminal and for JSON, whatever an editor wrote.
std::string shown_name(std::string_view name) {
  const std::string text = Json(printable(name)).dump(-1, ' ', false, Json::error_handler_t::replace);
  return Json::parse(text).get<std::string>();
}

// Not even there, rather than not to be looked at.
bool is_absent(const std::string& path) {
  struct stat info = {};
  return stat(path.c_str(), &info) != 0 && (errno == ENOENT || errno == ENOTDIR);
}

std::string signers_of(const Pack& pack) {
  std::string keys;
  for (const PackSignature& one : pack.signatures) keys += (keys.empty() ? "" : ", ") + one.key.to_string();
  return keys;
}

}  // namespace

Result<TrustedKeys> TrustedKeys::parse(std::string_view text, const std::string& where) {
  TrustedKeys trusted;
  trusted.where_ = where;
  std::istringstream lines{std::string(text)};
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    const std::string_view entry = trimmed(line);
    if (entry.empty() || entry.starts_with('#')) continue;
    const auto end = std::min(entry.find_first_of(kBlanks), entry.size());
    auto key = PublicKey::parse(entry.substr(0, end));
    if (!key) return fail("{}, line {}: {}", where, number, key.error().message);
    trusted.keys_.push_back({*key, shown_name(trimmed(entry.substr(end)))});
  }
  return trusted;
}

Result<TrustedKeys> TrustedKeys::read(const std::string& path) {
  struct stat info = {};
  if (stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && (info.st_mode & S_IWOTH) != 0)
    return fail("{}: everybody may write this file of trusted keys; chmod o-w it", path);
  const auto text = read_file(path);
  if (!text) return text.error();
  return parse(*text, path);
}

Result<std::optional<TrustedKeys>> TrustedKeys::configured(const std::string& path) {
  const char* variable = std::getenv("ATTUNE_TRUSTED_KEYS");
  std::string file = path.empty() && variable != nullptr ? variable : path;
  if (file.empty()) {
    const auto folder = config_folder();
    file = (folder / "trusted_keys").string();
    if (folder.empty() || is_absent(file)) return std::optional<TrustedKeys>();
  }
  auto trusted = read(file);
  if (!trusted) return trusted.error();
  return std::optional<TrustedKeys>(*std::move(trusted));
}

const std::string* TrustedKeys::name_of(const PublicKey& key) const {
  const auto found =
      std::find_if(keys_.begin(), keys_.end(), [&](const Entry& entry) { return entry.key == key; });
  return found == keys_.end() ? nullptr : &found->name;
}

Status TrustedKeys::check(const Pack& pack) const {
  const bool good = std::any_of(pack.signatures.begin(), pack.signatures.end(),
                                [this](const PackSignature& one) { return name_of(one.key) != nullptr; });
  if (good) return {};
  if (pack.signatures.empty()) {
    return fail(
        "pack {} is not signed, and {} lists whose packs are taken: have one of them `attune pack sign` it",
        pack.info.name, where_);
  }
  return fail(
      "pack {} is signed by {}, which {} does not list: add that line there if you trust who signed it",
      pack.info.name, signers_of(pack), where_);
}

Json signers_json(const Pack& pack, const TrustedKeys* trusted) {
  Json list = Json::array();
  for (const PackSignature& one : pack.signatures) {
    const std::string* name = trusted == nullptr ? nullptr : trusted->name_of(one.key);
    list.push_back(
        {{"key", one.key.to_string()}, {"name", name == nullptr ? "" : *name}, {"trusted", name != nullptr}});
  }
  return list;
}

}  // namespace attune
