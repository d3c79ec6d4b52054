#include "cache/location.h"

#include <algorithm>

namespace attune {

bool is_server(std::string_view location) {
  return location.starts_with("postgresql://") || location.starts_with("postgres://");
}

std::string shown(std::string_view location) {
  if (!is_server(location)) return std::string(location);
  const std::size_t begin = location.find("://") + 3;
  const std::size_t host_end = std::min(location.find('/', begin), location.size());
  // libpq reads a user and a password up to '@' or '/'. A password that holds a '/' unescaped is an error
  // there, and is no more to be shown for it: better too little than too much.
  std::size_t at = location.substr(0, host_end).rfind('@');
  if (at == std::string_view::npos &&
      location.substr(begin, host_end - begin).find(':') != std::string_view::npos)
    at = location.rfind('@');
  const bool has_user = at != std::string_view::npos && at >= begin;
  const std::size_t query = std::min(location.find('?', has_user ? at : begin), location.size());
  std::string text(location.substr(0, begin));
  if (!has_user) {
    text += location.substr(begin, query - begin);
  } else {
    const std::string_view user = location.substr(begin, at - begin);
    const std::size_t colon = user.find(':');
    text += user.substr(0, colon);
    if (colon != std::string_view::npos) text += ":***";
    text += location.substr(at, query - at);
  }
  for (std::size_t from = query; from < location.size();) {
    const std::size_t to = std::min(location.find('&', from + 1), location.size());
    const std::string_view parameter = location.substr(from, to - from);
    const std::size_t value = parameter.find('=');
    const bool secret = value != std::string_view::npos &&
                        parameter.substr(0, value).find("password") != std::string_view::npos;
    text += secret ? std::string(parameter.substr(0, value)) + "=***" : std::string(parameter);
    from = to;
  }
  return text;
}

}  // namespace attune
