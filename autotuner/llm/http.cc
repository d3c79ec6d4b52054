#include "autotuner/llm/http.h"

#include <curl/curl.h>

#include <atomic>
#include <map>
#include <mutex>
#include <thread>

namespace attune {
namespace {

struct EasyDeleter {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
};
struct ListDeleter {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

void initialize_curl() {
  static const CURLcode once = curl_global_init(CURL_GLOBAL_DEFAULT);
  static_cast<void>(once);
}

HttpFault fault_of(CURLcode code) {
  switch (code) {
    case CURLE_OK:
      return HttpFault::none;
    case CURLE_OPERATION_TIMEDOUT:
      return HttpFault::timeout;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_ISSUER_ERROR:
      return HttpFault::tls;
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
      return HttpFault::unusable;
    default:
      return HttpFault::unreachable;
  }
}

// One exchange: a curl handle and what it fills.
class Transfer {
 public:
  explicit Transfer(HttpRequest request) : request_(std::move(request)), handle_(curl_easy_init()) {
    CURL* curl = handle_.get();
    add_header("Accept: application/json");
    if (request_.body) add_header("Content-Type: application/json");
    if (!request_.bearer.empty()) add_header("Authorization: Bearer " + request_.bearer);
    for (const std::string& line : request_.headers) add_header(line);
    curl_easy_setopt(curl, CURLOPT_URL, request_.url.c_str());
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);  // a redirect's host must never get the key
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers_.get());
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, milliseconds(request_.connect_timeout_seconds));
    if (request_.on_data) {
      curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
      curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, static_cast<long>(request_.timeout_seconds));
      curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
      curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, &Transfer::tick);
      curl_easy_setopt(curl, CURLOPT_XFERINFODATA, this);
    } else {
      curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, milliseconds(request_.timeout_seconds));
    }
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "attune");
    // What stays on this machine must not go through a proxy that the environment names.
    if (is_loopback(request_.url)) curl_easy_setopt(curl, CURLOPT_PROXY, "");
    if (!request_.ca_file.empty()) curl_easy_setopt(curl, CURLOPT_CAINFO, request_.ca_file.c_str());
    if (request_.body) {
      curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request_.body->size()));
      curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request_.body->c_str());
    }
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &Transfer::receive);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, this);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, &Transfer::receive_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, this);
  }

  CURL* handle() const { return handle_.get(); }

  HttpOutcome outcome(CURLcode code) {
    const std::string shown = without_credentials(request_.url);
    HttpOutcome outcome;
    if (too_large_) {
      outcome.fault = HttpFault::too_large;
      outcome.message = shown + " answers with more than " + std::to_string(request_.max_bytes) + " bytes";
      return outcome;
    }
    outcome.fault = fault_of(code);
    if (outcome.fault == HttpFault::timeout) {
      outcome.message = shown + " gave no whole answer in time";
    } else if (outcome.fault == HttpFault::tls) {
      outcome.message = shown + " is not trusted: " + curl_easy_strerror(code);
    } else if (outcome.fault != HttpFault::none) {
      outcome.message = shown + " does not answer: " + curl_easy_strerror(code);
    }
    HttpReply& reply = outcome.reply;
    curl_easy_getinfo(handle(), CURLINFO_RESPONSE_CODE, &reply.status);
    curl_easy_getinfo(handle(), CURLINFO_TOTAL_TIME, &reply.seconds);
    const char* text = nullptr;
    if (curl_easy_getinfo(handle(), CURLINFO_CONTENT_TYPE, &text) == CURLE_OK && text != nullptr)
      reply.content_type = text;
    if (curl_easy_getinfo(handle(), CURLINFO_REDIRECT_URL, &text) == CURLE_OK && text != nullptr)
      reply.location = text;
    reply.retry_after = std::move(retry_after_);
    reply.body = std::move(body_);
    return outcome;
  }

 private:
  static long milliseconds(double seconds) { return static_cast<long>(seconds * 1000) + 1; }

  void add_header(const std::string& line) {
    headers_.reset(curl_slist_append(headers_.release(), line.c_str()));
  }

  static std::size_t receive(char* data, std::size_t size, std::size_t count, void* user) {
    auto* transfer = static_cast<Transfer*>(user);
    const std::size_t bytes = size * count;
    long status = 0;
    curl_easy_getinfo(transfer->handle(), CURLINFO_RESPONSE_CODE, &status);
    if (transfer->request_.on_data && status == 200)
      return transfer->request_.on_data({data, bytes}) ? bytes : 0;
    if (transfer->body_.size() + bytes > transfer->request_.max_bytes) {
      transfer->too_large_ = true;
      return 0;  // ends the transfer
    }
    transfer->body_.append(data, bytes);
    return bytes;
  }

  static int tick(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    return static_cast<Transfer*>(user)->request_.on_data({}) ? 0 : 1;
  }

  static std::size_t receive_header(char* data, std::size_t size, std::size_t count, void* user) {
    constexpr std::string_view kName = "retry-after:";
    const std::string_view line(data, size * count);
    if (line.size() > kName.size() && curl_strnequal(data, kName.data(), kName.size()) != 0) {
      const std::size_t begin = line.find_first_not_of(" \t", kName.size());
      const std::size_t end = line.find_last_not_of(" \t\r\n");
      if (begin != std::string_view::npos && end >= begin)
        static_cast<Transfer*>(user)->retry_after_ = line.substr(begin, end - begin + 1);
    }
    return size * count;
  }

  HttpRequest request_;
  std::unique_ptr<CURL, EasyDeleter> handle_;
  std::unique_ptr<curl_slist, ListDeleter> headers_;
  std::string body_;
  std::string retry_after_;
  bool too_large_ = false;
};

class CurlTransport final : public HttpTransport {
 public:
  CurlTransport() {
    initialize_curl();
    multi_ = curl_multi_init();
    thread_ = std::thread([this] { run(); });
  }

  ~CurlTransport() override {
    stopping_ = true;
    curl_multi_wakeup(multi_);
    thread_.join();
    for (const auto& [handle, entry] : running_) curl_multi_remove_handle(multi_, handle);
    running_.clear();
    curl_multi_cleanup(multi_);
  }

  std::int64_t start(HttpRequest request) override {
    const std::int64_t id = ++last_id_;
    {
      const std::lock_guard lock(mutex_);
      queued_.emplace_back(id, std::move(request));
    }
    curl_multi_wakeup(multi_);
    return id;
  }

  std::vector<std::pair<std::int64_t, HttpOutcome>> finished() override {
    const std::lock_guard lock(mutex_);
    return std::exchange(finished_, {});
  }

 private:
  struct Entry {
    std::int64_t id;
    std::unique_ptr<Transfer> transfer;
  };

  void run() {
    constexpr int kWaitMs = 1000;  // a wake-up cuts it short
    while (!stopping_) {
      begin_queued();
      int running = 0;
      curl_multi_perform(multi_, &running);
      collect();
      curl_multi_poll(multi_, nullptr, 0, kWaitMs, nullptr);
    }
  }

  void begin_queued() {
    std::vector<std::pair<std::int64_t, HttpRequest>> queued;
    {
      const std::lock_guard lock(mutex_);
      queued.swap(queued_);
    }
    for (auto& [id, request] : queued) {
      auto transfer = std::make_unique<Transfer>(std::move(request));
      CURL* handle = transfer->handle();
      curl_multi_add_handle(multi_, handle);
      running_.emplace(handle, Entry{id, std::move(transfer)});
    }
  }

  void collect() {
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi_, &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      CURL* handle = message->easy_handle;
      const CURLcode code = message->data.result;
      curl_multi_remove_handle(multi_, handle);
      const auto entry = running_.find(handle);
      HttpOutcome outcome = entry->second.transfer->outcome(code);
      {
        const std::lock_guard lock(mutex_);
        finished_.emplace_back(entry->second.id, std::move(outcome));
      }
      running_.erase(entry);
    }
  }

  CURLM* multi_ = nullptr;
  std::int64_t last_id_ = 0;
  std::map<CURL*, Entry> running_;  // of the thread alone, until it has ended
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;  // guards what follows
  std::vector<std::pair<std::int64_t, HttpRequest>> queued_;
  std::vector<std::pair<std::int64_t, HttpOutcome>> finished_;
  std::thread thread_;
};

// Scheme, user part, host and the rest lie at these places of a URL.
struct UrlParts {
  std::size_t authority = 0;  // after "://"
  std::size_t host = 0;       // after a user and password
  std::size_t end = 0;        // of host and port
};

UrlParts parts_of(const std::string& url) {
  UrlParts parts;
  const std::size_t scheme = url.find("://");
  parts.authority = scheme == std::string::npos ? 0 : scheme + 3;
  parts.end = std::min(url.find_first_of("/?#", parts.authority), url.size());
  const std::size_t at = url.substr(parts.authority, parts.end - parts.authority).rfind('@');
  parts.host = at == std::string::npos ? parts.authority : parts.authority + at + 1;
  return parts;
}

}  // namespace

std::unique_ptr<HttpTransport> curl_transport() {
  return std::make_unique<CurlTransport>();
}

HttpOutcome http_exchange(const HttpRequest& request) {
  initialize_curl();
  Transfer transfer(request);
  return transfer.outcome(curl_easy_perform(transfer.handle()));
}

std::string without_credentials(const std::string& url) {
  const UrlParts parts = parts_of(url);
  const std::string shown = url.substr(0, parts.authority) + url.substr(parts.host);
  return shown.substr(0, shown.find('?'));  // keys hide in queries too
}

bool is_loopback(const std::string& url) {
  const UrlParts parts = parts_of(url);
  std::string host = url.substr(parts.host, parts.end - parts.host);
  if (host.starts_with('[')) return host.starts_with("[::1]");
  host = host.substr(0, host.find(':'));
  const bool numeric = host.find_first_not_of("0123456789.") == std::string::npos;
  return host == "localhost" || (numeric && host.starts_with("127."));
}

}  // namespace attune
