#include "serve/access.h"

#include <arpa/inet.h>
#include <sodium.h>
#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <sstream>

#include "base/read_file.h"

namespace attune::serve {
namespace {

constexpr std::size_t kLeastTokenBytes = 16;
constexpr std::size_t kMostNameBytes = 64;

std::array<unsigned char, 32> hash_of(std::string_view text) {
  std::array<unsigned char, 32> hash{};
  crypto_hash_sha256(hash.data(), reinterpret_cast<const unsigned char*>(text.data()), text.size());
  return hash;
}

// Without the port, and without the brackets of an IPv6 address.
std::string_view host_name(std::string_view host) {
  if (host.starts_with('[')) {
    const std::size_t end = host.find(']');
    return end == std::string_view::npos ? std::string_view() : host.substr(1, end - 1);
  }
  return host.substr(0, host.find(':'));
}

bool is_address(const std::string& text) {
  in6_addr ignored{};
  return inet_pton(AF_INET, text.c_str(), &ignored) == 1 || inet_pton(AF_INET6, text.c_str(), &ignored) == 1;
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

}  // namespace

Result<Tokens> Tokens::parse(std::string_view text, const std::string& where) {
  Tokens tokens;
  std::istringstream lines{std::string(text)};
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    std::istringstream words(line);
    std::string first, second, third;
    words >> first >> second >> third;
    if (first.empty() || first.starts_with('#')) continue;
    // Never quotes the line: it holds a secret.
    if (!third.empty()) return fail("{}: line {} must be NAME TOKEN, or TOKEN alone", where, number);
    const std::string client = second.empty() ? "token" : first;
    const std::string& token = second.empty() ? first : second;
    if (!is_client_name(client))
      return fail("{}: the name in line {} must be 1 to {} letters, digits, '.', '_' or '-'", where, number,
                  kMostNameBytes);
    if (token.size() < kLeastTokenBytes)
      return fail("{}: the token in line {} is shorter than {} characters; `openssl rand -hex 32` makes one",
                  where, number, kLeastTokenBytes);
    tokens.entries_.push_back({client, hash_of(token)});
  }
  if (tokens.empty()) return fail("{}: there is no token in it", where);
  return tokens;
}

Result<Tokens> Tokens::from_file(const std::string& path) {
  struct stat info = {};
  if (stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && (info.st_mode & (S_IRWXG | S_IRWXO)) != 0)
    return fail("{}: others may read or write this file of tokens; chmod 600 it", path);
  const auto text = read_file(path);
  if (!text) return text.error();
  return parse(*text, path);
}

std::optional<std::string> Tokens::client_of(std::string_view token) const {
  const auto hash = hash_of(token);
  const Entry* found = nullptr;
  for (const Entry& entry : entries_) {
    if (sodium_memcmp(hash.data(), entry.hash.data(), hash.size()) == 0) found = &entry;
  }
  if (found == nullptr) return std::nullopt;
  return found->client;
}

bool is_loopback_address(const std::string& address) {
  in_addr v4{};
  if (inet_pton(AF_INET, address.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6{};
  return inet_pton(AF_INET6, address.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

bool is_host_allowed(std::string_view host, const std::vector<std::string>& names) {
  const std::string name = lower(host_name(host));
  if (name == "localhost" || is_address(name)) return true;
  return std::any_of(names.begin(), names.end(),
                     [&](const std::string& known) { return lower(known) == name; });
}

bool is_cross_site(const Headers& headers) {
  const std::string_view site = header(headers, "Sec-Fetch-Site");
  if (site == "cross-site" || site == "same-site") return true;
  const std::string_view origin = header(headers, "Origin");
  if (origin.empty()) return false;
  const std::size_t scheme = origin.find("://");
  return scheme == std::string_view::npos || origin.substr(scheme + 3) != header(headers, "Host");
}

std::string_view bearer_of(const Headers& headers) {
  constexpr std::string_view kScheme = "Bearer ";
  const std::string_view value = header(headers, "Authorization");
  return value.starts_with(kScheme) ? value.substr(kScheme.size()) : std::string_view();
}

bool is_client_name(std::string_view name) {
  return !name.empty() && name.size() <= kMostNameBytes &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-';
         });
}

}  // namespace attune::serve
