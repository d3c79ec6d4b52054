#include "cli/pack_signers.h"

namespace attune::cli {

void add_trusted_keys_flag(CLI::App& app, TrustFlags& flags) {
  app.add_option("--trusted-keys", flags.file,
                 "Public keys whose signature counts, one a line (default: ATTUNE_TRUSTED_KEYS, else "
                 "trusted_keys in ~/.config/attune)")
      ->type_name("FILE");
}

void add_require_signature_flag(CLI::App& app, TrustFlags& flags) {
  app.add_flag("--require-signature", flags.require_signature,
               "Fail unless a trusted key has signed it (those that come with attune need none)");
}

Result<std::optional<TrustedKeys>> trusted_keys(const TrustFlags& flags) {
  auto trusted = TrustedKeys::configured(flags.file);
  if (trusted && !*trusted && flags.require_signature)
    return fail(
        "--require-signature: nothing says which keys are trusted; name them with --trusted-keys FILE");
  return trusted;
}

std::string signers_text(const Pack& pack, const std::optional<TrustedKeys>& trusted) {
  if (pack.signatures.empty()) return "not signed\n";
  std::string lines;
  for (const PackSignature& one : pack.signatures) {
    const std::string* name = trusted ? trusted->name_of(one.key) : nullptr;
    lines += "signed by " + one.key.to_string();
    if (name != nullptr && !name->empty()) lines += " (" + *name + ")";
    lines += name != nullptr ? ", trusted by " + trusted->where()
             : trusted       ? ", which " + trusted->where() + " does not list"
                             : "; no file says which keys are trusted";
    lines += "\n";
  }
  return lines;
}

}  // namespace attune::cli
