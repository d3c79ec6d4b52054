// Pack and trial files from other people: `attune pack`, ATTUNE_PACKS, `attune cache import`.
#include <algorithm>
#include <sstream>

#include "base/hash.h"
#include "cache/pack.h"
#include "cache/transfer.h"
#include "fuzz.h"

namespace attune {
namespace {

// With the end that the lines before it call for: a fuzzer cannot guess a checksum.
std::string sealed(std::string_view lines) {
  std::string text(lines);
  if (!text.ends_with('\n')) text += '\n';
  const auto records = std::count(text.begin(), text.end(), '\n') - 1;
  return text + fmt::format("{{\"end\":{},\"sha256\":\"{}\"}}\n", records, sha256_hex(text));
}

// Nor can it guess a signature.
void sign_it(const Pack& pack) {
  static const SecretKey key = SecretKey::from_seed({1});
  const auto bytes = signed_pack(pack, key);
  if (!bytes) return must_be_one_line(bytes.error());
  const auto signed_one = parse_pack(*bytes, "fuzzed");
  must(signed_one.ok(), "a pack that was signed can be read", signed_one ? "" : signed_one.error().message);
  must(signed_one->records == pack.records && !signed_one->signatures.empty(), "signing changes no record");
}

void read_it(std::string_view bytes) {
  const auto pack = parse_pack(bytes, "fuzzed");
  if (!pack) return must_be_one_line(pack.error());
  for (const Trial& record : pack->records)
    must(static_cast<bool>(check_trial(record)), "a record is a trial");
  if (pack->records.empty()) return;
  const auto again = to_pack(pack->info, pack->records);
  must(again.ok(), "what was read can be written", again ? "" : again.error().message);
  const auto reread = parse_pack(*again, "fuzzed");
  must(reread.ok(), "what was written can be read", reread ? "" : reread.error().message);
  must(*to_pack(reread->info, reread->records) == *again, "the same records are the same bytes");
  sign_it(*pack);
  const Trial& first = pack->records.front();
  const auto answer = lookup_in_packs({std::make_shared<const Pack>(*pack)}, first.shape, first.device,
                                      first.policy, first.nvrtc_version, {});
  must(answer.record.has_value(), "a record answers for its own shape");
}

void import_it(std::string_view bytes) {
  std::istringstream in{std::string(bytes)};
  const auto trials = check_export(in, "fuzzed");
  if (!trials) must_be_one_line(trials.error());
}

}  // namespace
}  // namespace attune

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = attune::text_of(data, size);
  attune::read_it(bytes);
  attune::read_it(attune::sealed(bytes));
  attune::import_it(bytes);
  return 0;
}
