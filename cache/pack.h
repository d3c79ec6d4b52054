// A pack: the records of a tuned workload in one small file, to be shipped and served without any tuning.
// docs/packs.md has the format. A pack's records are trials as they were measured; whether one may be served
// (its template's hash is today's, its config legal) is for the caller of lookup to say.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cache/pack_signature.h"
#include "cache/trial_store.h"

namespace attune {

inline constexpr int kPackVersion = 1;
inline constexpr std::string_view kPackSuffix = ".pack.jsonl";

struct PackInfo {
  std::string name;     // the file's name without folder and suffix
  std::string path;     // "" when it is part of the binary
  std::string made_at;  // UTC
  std::string attune;   // version that made it
  std::string command;  // how its records came about, in the words of who made it
  std::string commit;   // of attune
};

struct Pack {
  PackInfo info;
  std::vector<Trial> records;  // verified trials, one a (shape, device, policy); in the order of their shapes
  std::vector<PackSignature> signatures =
      {};                  // right ones; whether who signed is trusted: TrustedKeys::check()
  std::string bytes = {};  // as they were read, to be passed on; "" where it was not read
};

class TrustedKeys;

using Packs = std::vector<std::shared_ptr<const Pack>>;

// A pack's bytes, the same for the same records, signed where a key is given. `info.name` and `info.path` are
// not part of them. Two records of one shape, device and policy, or one that is not `ok`, make no pack.
Result<std::string> to_pack(const PackInfo& info, std::vector<Trial> records, const SecretKey* key = nullptr);

// The bytes of a pack that was read with one more signature; the same bytes where the key has signed it.
Result<std::string> signed_pack(const Pack& pack, const SecretKey& key);

// Errors are one line: the pack is cut short, damaged (its checksum says so), foreign, of another version,
// has a wrong signature, or which line is wrong.
Result<Pack> parse_pack(std::string_view bytes, const std::string& name);

// By path.
Result<Pack> read_pack(const std::string& path);

// By name among those that packs() reads, or by path where `name` has a '/' or the suffix; whoever signed it.
// An unknown name is an error that lists the names.
Result<Pack> find_pack(const std::string& name);

// The packs that are served from. `list`, or where it is absent ATTUNE_PACKS, names files and folders
// separated by ':' in the order in which they are asked; "builtin" stands for those in the binary, which is
// also what an unset variable means; an empty list is no packs at all. The first that cannot be read is an
// error, and so is the first file that TrustedKeys::configured() does not let be served; those in the binary
// are trusted with it.
Result<Packs> packs(const char* list = nullptr);

// The same with these keys; null: whoever signed them.
Result<Packs> packs(const char* list, const TrustedKeys* trusted);

// Answers for a shape from packs alone, ranked as TrialStore::lookup() ranks; an earlier pack answers before
// a later one where both are equally good.
LookupAnswer lookup_in_packs(const Packs& packs, const Shape& shape, const DeviceFacts& device,
                             const MeasurementPolicy& policy, const std::string& nvrtc_version,
                             const std::function<bool(const Trial&)>& legal);

// The database (may be null), then the packs: an exact answer before a near one; exact ones of the same GPU,
// and measured ones, first; near ones by distance. The database wins where both are equally good. `legal` may
// be asked about trials that do not become the answer. An error is the database's.
// Where no answer is exact, `legal_before` is asked which trials a kernel that has changed since would still
// serve: an exact one answers then, as stale and of a former kernel.
Result<LookupAnswer> lookup(const TrialStore* store, const Packs& packs, const Shape& shape,
                            const DeviceFacts& device, const MeasurementPolicy& policy,
                            const std::string& nvrtc_version, const std::function<bool(const Trial&)>& legal,
                            const std::function<bool(const Trial&)>& legal_before = {});

// Half the width of the interval in which the median lies with about 95% confidence, from the interquartile
// range (McGill, Tukey and Larsen, "Variations of Box Plots", 1978).
double median_error_us(const Timing& timing);

}  // namespace attune
