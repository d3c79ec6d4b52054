// Who may ask, and from where: tokens, the Host header, cross-site requests.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "serve/http.h"

namespace attune::serve {

// The tokens that a server accepts, as hashes: the tokens themselves are not kept.
class Tokens {
 public:
  // A file with a line a client, "NAME TOKEN" (or a TOKEN alone, whose client is "token"); empty lines and
  // those that begin with # don't count. A file that others may read is refused, as are short tokens.
  static Result<Tokens> from_file(const std::string& path);
  static Result<Tokens> parse(std::string_view text, const std::string& where);

  bool empty() const { return entries_.empty(); }

  // The client's name, or nothing. Takes the same time for every wrong token: all hashes are compared whole.
  std::optional<std::string> client_of(std::string_view token) const;

 private:
  struct Entry {
    std::string client;
    std::array<unsigned char, 32> hash{};  // SHA-256
  };
  std::vector<Entry> entries_;
};

// 127.0.0.0/8 or ::1.
bool is_loopback_address(const std::string& address);

// Whether the Host header may be answered: an IP address, localhost, or one of `names`. A page of another
// name that was made to resolve to this machine (DNS rebinding) sends its own name.
bool is_host_allowed(std::string_view host, const std::vector<std::string>& names);

// Whether a browser says that a page of another origin asks. Not an answer to CORS: none is given.
bool is_cross_site(const Headers& headers);

// "Bearer TOKEN" -> TOKEN, else "".
std::string_view bearer_of(const Headers& headers);

// A client's name as it may be stored: 1 to 64 of [A-Za-z0-9._-].
bool is_client_name(std::string_view name);

}  // namespace attune::serve
