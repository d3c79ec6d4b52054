#include "runtime/http_fetch.h"

#include <curl/curl.h>
#include <dlfcn.h>

#include <memory>
#include <string_view>

namespace attune {
namespace {

// The functions of libcurl.so.4 that are used; its interface has been the same since 2006.
struct Curl {
  decltype(&curl_easy_init) easy_init = nullptr;
  decltype(&curl_easy_setopt) easy_setopt = nullptr;
  decltype(&curl_easy_perform) easy_perform = nullptr;
  decltype(&curl_easy_getinfo) easy_getinfo = nullptr;
  decltype(&curl_easy_cleanup) easy_cleanup = nullptr;
  decltype(&curl_easy_strerror) easy_strerror = nullptr;
  decltype(&curl_slist_append) slist_append = nullptr;
  decltype(&curl_slist_free_all) slist_free_all = nullptr;
};

template <class Function>
bool find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

Result<Curl> load() {
  void* library = nullptr;
  for (const char* name : {"libcurl.so.4", "libcurl-gnutls.so.4"}) {
    if (library == nullptr) library = dlopen(name, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  }
  if (library == nullptr)
    return fail("there is no libcurl.so.4 on this machine, which asking a server needs");
  Curl curl;
  const auto init = reinterpret_cast<decltype(&curl_global_init)>(dlsym(library, "curl_global_init"));
  const bool whole = init != nullptr && find(library, "curl_easy_init", curl.easy_init) &&
                     find(library, "curl_easy_setopt", curl.easy_setopt) &&
                     find(library, "curl_easy_perform", curl.easy_perform) &&
                     find(library, "curl_easy_getinfo", curl.easy_getinfo) &&
                     find(library, "curl_easy_cleanup", curl.easy_cleanup) &&
                     find(library, "curl_easy_strerror", curl.easy_strerror) &&
                     find(library, "curl_slist_append", curl.slist_append) &&
                     find(library, "curl_slist_free_all", curl.slist_free_all);
  if (!whole || init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
    return fail("the libcurl.so.4 of this machine cannot be used");
  return curl;
}

const Result<Curl>& the_curl() {
  static const Result<Curl> curl = load();
  return curl;
}

struct Sink {
  std::string bytes;
  std::size_t most = 0;
  bool overflow = false;
};

std::size_t receive(char* data, std::size_t size, std::size_t count, void* user) {
  auto* sink = static_cast<Sink*>(user);
  if (sink->bytes.size() + size * count > sink->most) {
    sink->overflow = true;
    return 0;  // ends the transfer
  }
  sink->bytes.append(data, size * count);
  return size * count;
}

// "http://user:secret@host/path?key" -> "http://host/path": what an error may show.
std::string shown(const std::string& url) {
  const std::size_t scheme = url.find("://");
  const std::size_t begin = scheme == std::string::npos ? 0 : scheme + 3;
  const std::size_t end = std::min(url.find_first_of("/?#", begin), url.size());
  const std::size_t at = url.rfind('@', end);
  const std::size_t host = at == std::string::npos || at < begin || at >= end ? begin : at + 1;
  const std::string text = url.substr(0, begin) + url.substr(host);
  return text.substr(0, text.find('?'));
}

}  // namespace

Result<FetchReply> http_fetch(const FetchRequest& request) {
  const Result<Curl>& found = the_curl();
  if (!found) return found.error();
  const Curl& curl = *found;
  const std::unique_ptr<CURL, decltype(curl.easy_cleanup)> handle(curl.easy_init(), curl.easy_cleanup);
  if (!handle) return fail("libcurl cannot start");
  curl_slist* list = curl.slist_append(nullptr, "Accept: application/json, application/octet-stream");
  if (request.body) list = curl.slist_append(list, "Content-Type: application/json");
  if (!request.bearer.empty())
    list = curl.slist_append(list, ("Authorization: Bearer " + request.bearer).c_str());
  const std::unique_ptr<curl_slist, decltype(curl.slist_free_all)> headers(list, curl.slist_free_all);
  Sink sink{.bytes = {}, .most = request.max_bytes, .overflow = false};
  const auto set = [&](CURLoption option, auto value) { curl.easy_setopt(handle.get(), option, value); };
  set(CURLOPT_URL, request.url.c_str());
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_FOLLOWLOCATION, 0L);
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_HTTPHEADER, headers.get());
  set(CURLOPT_USERAGENT, "libattune");
  set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(request.connect_seconds * 1000));
  set(CURLOPT_TIMEOUT_MS, static_cast<long>(request.seconds * 1000));
  set(CURLOPT_WRITEFUNCTION, &receive);
  set(CURLOPT_WRITEDATA, &sink);
  if (request.body) {
    set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body->size()));
    set(CURLOPT_POSTFIELDS, request.body->c_str());
  }
  const CURLcode code = curl.easy_perform(handle.get());
  if (sink.overflow) return fail("{} answers with more than {} bytes", shown(request.url), request.max_bytes);
  if (code != CURLE_OK) return fail("{} does not answer: {}", shown(request.url), curl.easy_strerror(code));
  FetchReply reply;
  curl.easy_getinfo(handle.get(), CURLINFO_RESPONSE_CODE, &reply.status);
  reply.body = std::move(sink.bytes);
  return reply;
}

}  // namespace attune
