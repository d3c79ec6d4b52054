// The last line of a pack: how many records there are, the checksum of all before it, and who signed them.
// docs/packs.md has the form.
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/ed25519.h"
#include "base/result.h"

namespace attune {

struct PackSignature {
  PublicKey key;
  Signature signature;
};

inline constexpr std::size_t kMostPackSignatures = 16;  // each costs whoever reads the pack a verification

// `sha256` is of all bytes before the line, as sha256_hex() gives it; it is what is signed, behind a prefix
// that no other use of a key shares.
PackSignature sign_checksum(const std::string& sha256, const SecretKey& key);

// Without its line feed.
std::string pack_end_line(std::size_t records, const std::string& sha256,
                          const std::vector<PackSignature>& signatures);

// Those of a parsed last line, once each of them was found to be right. An error, which follows the pack's
// name, is a wrong signature, a key that signs twice, or a field that this version of the format does not
// have.
Result<std::vector<PackSignature>> read_pack_signatures(const nlohmann::json& end, const std::string& sha256);

}  // namespace attune
