// Trials as JSON: one object a line in exports, one schema everywhere (CLI --json, export, recordings).
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/result.h"
#include "cache/trial.h"

namespace attune {

// docs/trial-store.md has the schema. "id" and optionals that are absent are left out, so that a field added
// later changes neither old lines nor their hashes.
nlohmann::json to_json(const Trial& trial);

// Strict: an unknown or missing key, a wrong type or a senseless value is an error that names the key.
Result<Trial> trial_from_json(const nlohmann::json& json);

// The trial as one line of JSON without "\n" (bytes that are not UTF-8 become U+FFFD).
std::string to_json_line(const Trial& trial);

// What names a trial across databases: the SHA-256 of its JSON line without id.
std::string content_hash(const Trial& trial);

}  // namespace attune
