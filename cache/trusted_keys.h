// Whose packs are served: a file of public keys, a line each with who it is. docs/packs.md explains it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ed25519.h"
#include "base/result.h"
#include "cache/pack.h"

namespace attune {

class TrustedKeys {
 public:
  // "ed25519:... who it is" a line; empty ones and those that begin with # are left out. `where` is what
  // errors and the user are told. No key at all is no error: then nobody is trusted.
  static Result<TrustedKeys> parse(std::string_view text, const std::string& where);

  // Refused where everybody may write it.
  static Result<TrustedKeys> read(const std::string& path);

  // The file `path`, where that is "" ATTUNE_TRUSTED_KEYS, else trusted_keys in config_folder() if there is
  // one. Nothing: nobody has said whom to trust, and packs need no signature. A file that is there and cannot
  // be read is an error, not nothing.
  static Result<std::optional<TrustedKeys>> configured(const std::string& path = "");

  // Who the key is, "" where the file doesn't say; null: it isn't trusted.
  const std::string* name_of(const PublicKey& key) const;

  // Ok where one of the keys has signed the pack. The error names the pack and says what to do.
  Status check(const Pack& pack) const;

  const std::string& where() const { return where_; }
  std::size_t size() const { return keys_.size(); }

 private:
  struct Entry {
    PublicKey key;
    std::string name;
  };
  std::vector<Entry> keys_;
  std::string where_;
};

// Who signed a pack: a list of {"key", "name", "trusted"}. `trusted` may be null: nobody is.
nlohmann::json signers_json(const Pack& pack, const TrustedKeys* trusted);

}  // namespace attune
