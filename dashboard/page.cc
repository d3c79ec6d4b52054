#include "dashboard/page.h"

#include <array>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/hash.h"
#include "dashboard/web_bundle.h"

namespace attune {
namespace {

using nlohmann::json;

// A source expression of a Content-Security-Policy: the base64 of the SHA-256 (RFC 4648, section 4).
std::string hash_source(std::string_view text) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const std::string hex = sha256_hex(text);
  std::string base64;
  for (std::size_t at = 0; at < hex.size(); at += 6) {  // 3 bytes, 4 digits
    const std::string part = hex.substr(at, 6);
    const std::size_t digits = part.size() / 2 + 1;
    const unsigned long bits = std::stoul(part + std::string(6 - part.size(), '0'), nullptr, 16);
    for (std::size_t i = 0; i < 4; ++i) base64 += i < digits ? kDigits[bits >> (18 - 6 * i) & 63] : '=';
  }
  return "'sha256-" + base64 + "'";
}

// connect: whom the page may ask.
std::string policy(std::string_view connect) {
  return fmt::format(
      "default-src 'none'; script-src {}; style-src {}; img-src data:; connect-src {}; base-uri 'none'; "
      "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
      hash_source(web_script()), hash_source(web_file("style.css")), connect);
}

std::string escaped_html(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

// JSON that no HTML parser takes for markup: every "<" stands as \u003c, which within JSON's strings is the
// same and outside of them does not occur.
std::string script_safe(const json& data) {
  const std::string text = data.dump(-1, ' ', false, json::error_handler_t::replace);
  std::string safe;
  safe.reserve(text.size() + text.size() / 64);
  for (const char c : text) {
    if (c == '<') {
      safe += "\\u003c";
    } else {
      safe += c;
    }
  }
  return safe;
}

// Each {{name}} of page.html is replaced once; what is put in is not looked at again.
std::string filled(const std::vector<std::pair<std::string_view, std::string_view>>& values) {
  std::string_view rest = web_file("page.html");
  std::string html;
  for (std::size_t open; (open = rest.find("{{")) != std::string_view::npos;) {
    const std::size_t close = rest.find("}}", open);
    const std::string_view name = rest.substr(open + 2, close - open - 2);
    html += rest.substr(0, open);
    for (const auto& [known, value] : values) {
      if (known == name) html += value;
    }
    rest.remove_prefix(close + 2);
  }
  return html.append(rest);
}

std::string page_html(std::string_view csp, std::string_view title, const json& data) {
  return filled({{"policy", escaped_html(csp)},
                 {"title", escaped_html(title)},
                 {"style", web_file("style.css")},
                 {"data", script_safe(data)},
                 {"script", web_script()}});
}

}  // namespace

const Page& live_page() {
  static const Page page = [] {
    const std::string csp = policy("'self'");
    return Page{.html = page_html(csp, "attune", nullptr),
                .content_security_policy = csp + "; frame-ancestors 'none'"};
  }();
  return page;
}

std::string report_page(const json& data, const std::string& title) {
  return page_html(policy("'none'"), title, data);
}

}  // namespace attune
