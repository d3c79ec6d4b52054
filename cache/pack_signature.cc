#include "cache/pack_signature.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace attune {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kPrefix{"attune-pack-v1\0", 15};

std::string message_of(const std::string& sha256) {
  return std::string(kPrefix) + sha256;
}

bool is_text(const Json& object, const char* key) {
  return object.contains(key) && object[key].is_string();
}

Result<PackSignature> read_one(const Json& entry, const std::string& sha256) {
  if (!entry.is_object() || entry.size() != 2 || !is_text(entry, "key") || !is_text(entry, "signature"))
    return fail("one of its signatures is not {{\"key\", \"signature\"}}");
  auto key = PublicKey::parse(entry["key"].get_ref<const std::string&>());
  if (!key) return key.error();
  auto signature = Signature::parse(entry["signature"].get_ref<const std::string&>());
  if (!signature) return signature.error();
  if (!signature->verifies(message_of(sha256), *key))
    return fail("the signature of {} is wrong: get the pack again from who signed it", key->to_string());
  return PackSignature{*key, *signature};
}

}  // namespace

PackSignature sign_checksum(const std::string& sha256, const SecretKey& key) {
  return {key.public_key(), key.sign(message_of(sha256))};
}

std::string pack_end_line(std::size_t records, const std::string& sha256,
                          const std::vector<PackSignature>& signatures) {
  Json end{{"end", records}, {"sha256", sha256}};
  for (const PackSignature& one : signatures)
    end["signatures"].push_back({{"key", one.key.to_string()}, {"signature", one.signature.to_string()}});
  return end.dump();
}

Result<std::vector<PackSignature>> read_pack_signatures(const Json& end, const std::string& sha256) {
  std::vector<PackSignature> signatures;
  for (const auto& [key, value] : end.items()) {
    if (key != "end" && key != "sha256" && key != "signatures")
      return fail("its last line has a field too many");
  }
  if (!end.contains("signatures")) return signatures;
  const Json& list = end["signatures"];
  if (!list.is_array() || list.empty() || list.size() > kMostPackSignatures)
    return fail("its signatures are no list of 1 to {}", kMostPackSignatures);
  for (const Json& entry : list) {
    auto one = read_one(entry, sha256);
    if (!one) return one.error();
    const bool twice = std::any_of(signatures.begin(), signatures.end(),
                                   [&](const PackSignature& other) { return other.key == one->key; });
    if (twice) return fail("{} signs it twice", one->key.to_string());
    signatures.push_back(*one);
  }
  return signatures;
}

}  // namespace attune
