// attune pack keygen and sign.
#include <filesystem>

#include "cache/pack.h"
#include "cli/pack.h"
#include "cli/write_file.h"

namespace attune::cli {
namespace {

struct KeygenFlags {
  std::string file;
  std::optional<std::string> comment;
};

int run_keygen(const KeygenFlags& flags) {
  const auto key = SecretKey::generate();
  if (!key) return failed(key.error());
  const std::string comment = flags.comment.value_or(std::filesystem::path(flags.file).filename().string());
  if (const auto status = write_key_pair(*key, flags.file, comment); !status) return failed(status.error());
  fmt::print("secret key  {}, which only you can read: sign with it, and show it to nobody\n", flags.file);
  fmt::print("public key  {}.pub: {}\n", flags.file, key->public_key().to_string());
  fmt::print(
      "Who is to serve packs of this key adds that line to the file that ATTUNE_TRUSTED_KEYS names, or to "
      "~/.config/attune/trusted_keys\n");
  return kOk;
}

struct SignFlags {
  std::string pack;
  std::string key;
  std::string output;
};

int run_sign(const SignFlags& flags) {
  const auto pack = find_pack(flags.pack);
  if (!pack) return failed(pack.error());
  const std::string file = flags.output.empty() ? pack->info.path : flags.output;
  if (file.empty())
    return usage_error(
        fail("the pack {} comes with attune: -o FILE says where the signed one goes", flags.pack));
  const auto key = SecretKey::read(flags.key);
  if (!key) return failed(key.error());
  const auto bytes = signed_pack(*pack, *key);
  if (!bytes) return failed(bytes.error());
  if (const auto status = write_file(file, *bytes); !status) return failed(status.error());
  fmt::print("{} is signed by {}\n", file, key->public_key().to_string());
  return kOk;
}

}  // namespace

Action configure_pack_keygen(CLI::App& app) {
  auto flags = std::make_shared<KeygenFlags>();
  app.add_option("-o,--output", flags->file, "The secret key; the public one goes to FILE.pub")
      ->type_name("FILE")
      ->required();
  app.add_option("--comment", flags->comment,
                 "Whose key it is, for those who read FILE.pub (default: its name)");
  return [flags] { return run_keygen(*flags); };
}

Action configure_pack_sign(CLI::App& app) {
  auto flags = std::make_shared<SignFlags>();
  app.add_option("pack", flags->pack, "A file, or the name of a pack that is served from")->required();
  app.add_option("--key", flags->key, "The secret key, of `attune pack keygen`")
      ->type_name("FILE")
      ->required();
  app.add_option("-o,--output", flags->output, "The signed pack (default: in the place of the other)")
      ->type_name("FILE");
  return [flags] { return run_sign(*flags); };
}

}  // namespace attune::cli
