// JSON from outside: files of other people, answers of models and servers.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

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

class NoWholeNumber final : public nlohmann::json::exception {
 public:
  NoWholeNumber(const std::string& key, const std::string& value)
      : exception(302, fmt::format("'{}' is no whole number in range: {}", key, value).c_str()) {}
};

// As object.at(key).get<Integer>(), which makes an int of 1e30 too, and of true. Throws the library's
// exceptions.
template <class Integer, class Json>
Integer whole_number(const Json& object, const char* key) {
  const Json& value = object.at(key);
  const bool fits =
      value.is_number_unsigned()
          ? std::in_range<Integer>(value.template get<std::uint64_t>())
          : value.is_number_integer() && std::in_range<Integer>(value.template get<std::int64_t>());
  if (!fits) throw NoWholeNumber(key, value.dump(-1, ' ', true, Json::error_handler_t::replace));
  return value.template get<Integer>();
}

template <class Json, class Integer>
void read_whole_number(const Json& object, const char* key, Integer& out) {
  out = whole_number<Integer>(object, key);
}

}  // namespace attune
