// JSON from outside: files of other people, answers of models and servers.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

namespace attune {

inline constexpr int kDeepestJson = 100;  // lists and objects within each other; ours have 6

// Whether more than kDeepestJson are open at once, outside of strings. The library parses any depth, but to
// write, compare or copy what it has parsed takes stack for each level: 400 kB of '[' end the process.
bool nested_too_deep(std::string_view text);

// The value, or a discarded one where the text is not JSON or nested too deep. Json: nlohmann::json or
// ordered_json.
template <class Json = nlohmann::json>
Json parse_outside_json(std::string_view text) {
  if (nested_too_deep(text)) return Json(nlohmann::json::value_t::discarded);
  return Json::parse(text, nullptr, /*allow_exceptions=*/false);
}

}  // namespace attune
