// Who signed a pack, and whether that is enough: what the subcommands of `attune pack` share.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "base/result.h"
#include "cache/trusted_keys.h"

namespace attune::cli {

struct TrustFlags {
  std::string file;  // "": as configured
  bool require_signature = false;
};

void add_trusted_keys_flag(CLI::App& app, TrustFlags& flags);
void add_require_signature_flag(CLI::App& app, TrustFlags& flags);

// Nothing where nobody has said whom to trust; an error where a signature is required then.
Result<std::optional<TrustedKeys>> trusted_keys(const TrustFlags& flags);

// A line a signature, or one that there is none.
std::string signers_text(const Pack& pack, const std::optional<TrustedKeys>& trusted);

}  // namespace attune::cli
