// attune pack fetch: a server's records or one of its packs, once it is known who signed it.
#include "autotuner/llm/http.h"
#include "cache/pack.h"
#include "cli/pack.h"
#include "cli/pack_signers.h"
#include "cli/remote.h"
#include "cli/text.h"
#include "cli/write_file.h"

namespace attune::cli {
namespace {

struct FetchFlags {
  std::string name;
  std::string file;
  Remote remote;
  TrustFlags trust;
};

// As a part of a URL's path.
std::string url_part(const std::string& name) {
  constexpr std::string_view kUnreserved =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
  std::string out;
  for (const char c : name) {
    out += kUnreserved.find(c) != std::string_view::npos
               ? std::string(1, c)
               : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

int run_fetch(FetchFlags& flags) {
  if (flags.remote.url.empty())
    return usage_error(fail("`pack fetch` needs a server: --server URL or ATTUNE_SERVER"));
  const auto trusted = trusted_keys(flags.trust);
  if (!trusted) return usage_error(trusted.error());
  const std::string path = flags.name.empty() ? "/v1/records/pack" : "/v1/packs/" + url_part(flags.name);
  const auto answer = ask_server(flags.remote, path);
  if (const auto* refusal = std::get_if<RemoteError>(&answer)) return failed(refusal->error);
  const std::string& bytes = std::get<RemoteAnswer>(answer).bytes;
  const std::string what =
      (flags.name.empty() ? "of records" : flags.name) + " from " + without_credentials(flags.remote.url);
  const auto pack = parse_pack(bytes, what);
  if (!pack) return failed(pack.error());
  if (*trusted) {
    if (const auto status = (*trusted)->check(*pack); !status) return failed(status.error());
  }
  if (const auto status = write_file(flags.file, bytes); !status) return failed(status.error());
  fmt::print("{} to the pack {} ({})\n{}",
             count_of(static_cast<std::int64_t>(pack->records.size()), "record", "records"), flags.file,
             byte_size(static_cast<std::int64_t>(bytes.size())), signers_text(*pack, *trusted));
  return kOk;
}

}  // namespace

Action configure_pack_fetch(CLI::App& app) {
  auto flags = std::make_shared<FetchFlags>();
  app.add_option("pack", flags->name, "One of the server's packs (default: the records of its database)");
  app.add_option("-o,--output", flags->file, "The pack, NAME.pack.jsonl")->type_name("FILE")->required();
  add_server_flag(app, flags->remote);
  add_trusted_keys_flag(app, flags->trust);
  add_require_signature_flag(app, flags->trust);
  return [flags] { return run_fetch(*flags); };
}

}  // namespace attune::cli
