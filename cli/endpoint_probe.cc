#include "cli/endpoint_probe.h"

#include <curl/curl.h>

#include <memory>

#include "cli/text.h"

namespace attune::cli {
namespace {

constexpr long kTimeoutMs = 4000;

struct EasyDeleter {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
};
struct ListDeleter {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

std::size_t discard(char* /*data*/, std::size_t size, std::size_t count, void* /*user*/) {
  return size * count;
}

}  // namespace

std::string without_credentials(const std::string& url) {
  const std::size_t scheme = url.find("://");
  const std::size_t start = scheme == std::string::npos ? 0 : scheme + 3;
  const std::size_t end = url.find_first_of("/?#", start);
  const std::size_t at = url.substr(start, end == std::string::npos ? end : end - start).rfind('@');
  std::string shown = at == std::string::npos ? url : url.substr(0, start) + url.substr(start + at + 1);
  return shown.substr(0, shown.find('?'));  // keys hide in queries too
}

Result<std::string> probe_endpoint(const std::string& url, const std::string& key) {
  const std::unique_ptr<CURL, EasyDeleter> handle(curl_easy_init());
  if (!handle) return fail("libcurl does not start");
  std::string models = url;
  while (models.ends_with('/')) models.pop_back();
  models += "/models";
  std::unique_ptr<curl_slist, ListDeleter> headers;
  if (!key.empty()) headers.reset(curl_slist_append(nullptr, ("Authorization: Bearer " + key).c_str()));

  curl_easy_setopt(handle.get(), CURLOPT_URL, models.c_str());
  curl_easy_setopt(handle.get(), CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(handle.get(), CURLOPT_TIMEOUT_MS, kTimeoutMs);
  curl_easy_setopt(handle.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(handle.get(), CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(handle.get(), CURLOPT_WRITEFUNCTION, discard);
  const CURLcode code = curl_easy_perform(handle.get());
  const std::string shown = without_credentials(url);
  if (code != CURLE_OK) return fail("{} does not answer: {}", shown, curl_easy_strerror(code));

  long status = 0;
  double seconds = 0;
  curl_easy_getinfo(handle.get(), CURLINFO_RESPONSE_CODE, &status);
  curl_easy_getinfo(handle.get(), CURLINFO_TOTAL_TIME, &seconds);
  if (status == 401 || status == 403) return fail("{} refuses the key: HTTP {}", shown, status);
  if (status != 200) return fail("{} answers HTTP {}", shown, status);
  return fmt::format("{}: HTTP 200 in {}", shown, duration(seconds));
}

}  // namespace attune::cli
