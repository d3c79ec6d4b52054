#include "serve/http_server.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <limits>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/scheduling.h"

namespace attune::serve {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using tcp = asio::ip::tcp;
using beast::error_code;

constexpr std::size_t kReadBytes = 4096;
constexpr std::size_t kMostDrained = 1 << 20;  // of a body that was refused, before the connection is cut
constexpr auto kDrainTime = std::chrono::seconds(1);
constexpr auto kTimeSlice = std::chrono::microseconds(100);  // an answer takes less, and should come at once

class Session;

// What outlives the server while an answer is still being made for one of its connections.
struct Shared {
  asio::io_context context;
  std::atomic<std::size_t> connections{0};
  std::atomic<bool> stopping{false};
  std::mutex mutex;  // guards what follows
  std::unordered_map<Session*, std::weak_ptr<Session>> sessions;
};

// One connection: reads a request, waits for its answer, writes it, and so on. All on its strand.
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(tcp::socket socket, std::shared_ptr<Shared> shared, Handler& handler, const HttpOptions& options);
  ~Session();

  void start() {
    {
      const std::lock_guard lock(shared_->mutex);
      shared_->sessions.emplace(this, weak_from_this());
    }
    await_request();
  }
  void close() {
    asio::post(stream_.get_executor(), [self = shared_from_this()] { self->shut(); });
  }

 private:
  using Parser = http::request_parser<http::string_body>;

  void shut() {
    error_code ignored;
    timer_.cancel(ignored);
    stream_.socket().shutdown(tcp::socket::shutdown_both, ignored);
    stream_.socket().close(ignored);
  }

  // The first byte may take its time, the rest of the header may not.
  void await_request() {
    if (buffer_.size() > 0) return read_header();
    stream_.expires_after(served_any_ ? options_.idle_timeout : options_.header_timeout);
    stream_.async_read_some(buffer_.prepare(kReadBytes),
                            [self = shared_from_this()](error_code error, std::size_t bytes) {
                              if (error) return self->shut();
                              self->buffer_.commit(bytes);
                              self->read_header();
                            });
  }

  void read_header() {
    parser_.emplace();
    parser_->header_limit(static_cast<std::uint32_t>(options_.max_header_bytes));
    parser_->body_limit(std::numeric_limits<std::uint64_t>::max());  // decided by admit()
    stream_.expires_after(options_.header_timeout);
    http::async_read_header(
        stream_, buffer_, *parser_,
        [self = shared_from_this()](error_code error, std::size_t) { self->on_header(error); });
  }

  void on_header(error_code error) {
    if (error == http::error::header_limit)
      return refuse(error_response(431, "the request's header is too large"));
    // A time that is over has closed the socket: no answer would arrive.
    if (error == beast::error::timeout || error == http::error::end_of_stream ||
        error == asio::error::operation_aborted || error == asio::error::connection_reset ||
        error == asio::error::eof || error == http::error::partial_message)
      return shut();
    if (error) return refuse(error_response(400, "this is not HTTP/1.1: " + error.message()));
    served_any_ = true;
    const auto& message = parser_->get();
    request_ = {};
    request_.method = std::string(message.method_string());
    if (!read_target({message.target().data(), message.target().size()}, request_))
      return refuse(error_response(400, "the request's target is malformed"));
    for (const auto& field : message)
      request_.headers.emplace_back(std::string(field.name_string()), std::string(field.value()));
    keep_alive_ = message.keep_alive();
    head_only_ = message.method() == http::verb::head;
    if (head_only_) request_.method = "GET";
    const Admission admission = handler_.admit(request_);
    if (admission.refusal) return parser_->is_done() ? send(*admission.refusal) : refuse(*admission.refusal);
    const auto length = parser_->content_length();
    if (length && *length > admission.body_limit)
      return refuse(error_response(413, "the body has " + std::to_string(*length) + " bytes, at most " +
                                            std::to_string(admission.body_limit) + " are taken here"));
    parser_->body_limit(admission.body_limit);
    stream_.expires_after(options_.body_timeout);
    if (beast::iequals(message[http::field::expect], "100-continue")) return send_continue();
    read_body();
  }

  void send_continue() {
    continue_.emplace(http::status::continue_, 11);
    http::async_write(stream_, *continue_, [self = shared_from_this()](error_code error, std::size_t) {
      error ? self->shut() : self->read_body();
    });
  }

  void read_body() {
    if (parser_->is_done()) return on_body({});
    http::async_read(stream_, buffer_, *parser_,
                     [self = shared_from_this()](error_code error, std::size_t) { self->on_body(error); });
  }

  void on_body(error_code error) {
    if (error == http::error::body_limit) return refuse(error_response(413, "the body is too large"));
    if (error) return shut();
    request_.body = std::move(parser_->get().body());
    stream_.expires_never();  // the answer takes as long as it takes
    handler_.handle(std::move(request_), [self = shared_from_this()](Response response) {
      if (self->shared_->stopping) return;
      asio::dispatch(self->stream_.get_executor(),
                     [self, answer = std::move(response)]() mutable { self->send(std::move(answer)); });
    });
  }

  // An answer after which the connection is of no use: the rest of the request was not read.
  void refuse(Response response) {
    keep_alive_ = false;
    drain_ = true;
    send(std::move(response));
  }

  void send(Response response) {
    source_ = std::move(response.stream);
    response_.emplace();
    response_->version(11);
    response_->result(static_cast<unsigned>(response.status));
    response_->reason(std::string(reason_of(response.status)));
    response_->set(http::field::content_type, response.content_type);
    for (const auto& [name, value] : response.headers) response_->set(name, value);
    if (source_) keep_alive_ = false;  // a stream ends with its connection
    response_->keep_alive(keep_alive_);
    stream_.expires_after(options_.write_timeout);
    const auto written = [self = shared_from_this()](error_code error, std::size_t) { self->on_sent(error); };
    if (source_) {
      head_.emplace(http::response<http::empty_body>(std::move(response_->base())));
      head_serializer_.emplace(*head_);
      return http::async_write_header(stream_, *head_serializer_, written);
    }
    response_->body() = std::move(response.body);
    response_->prepare_payload();
    if (head_only_) {  // the length of what a GET would have given, and nothing of it
      head_.emplace(http::response<http::empty_body>(std::move(response_->base())));
      head_serializer_.emplace(*head_);
      return http::async_write_header(stream_, *head_serializer_, written);
    }
    http::async_write(stream_, *response_, written);
  }

  void on_sent(error_code error) {
    if (error) return shut();
    if (source_) return begin_stream();
    if (keep_alive_) return await_request();
    error_code ignored;
    stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
    if (!drain_) return shut();
    // Closing on unread data would reset the connection before the client has read why.
    stream_.expires_after(kDrainTime);
    drain(0);
  }

  void drain(std::size_t drained) {
    if (drained > kMostDrained) return shut();
    buffer_.clear();
    stream_.async_read_some(buffer_.prepare(kReadBytes),
                            [self = shared_from_this(), drained](error_code error, std::size_t bytes) {
                              error ? self->shut() : self->drain(drained + bytes);
                            });
  }

  void begin_stream() {
    source_->listen([weak = weak_from_this()] {
      const auto self = weak.lock();
      if (!self) return;
      asio::post(self->stream_.get_executor(), [self] {
        self->woken_ = true;
        error_code ignored;
        self->timer_.cancel(ignored);
      });
    });
    watch_for_end();
    stream_some();
  }

  // A client that hangs up is noticed by reading, before the next heartbeat fails.
  void watch_for_end() {
    stream_.expires_never();
    stream_.socket().async_wait(tcp::socket::wait_read, [self = shared_from_this()](error_code error) {
      if (!error) {
        error_code failed;
        if (self->stream_.socket().available(failed) == 0 || failed) return self->shut();
      }
    });
  }

  void stream_some() {
    woken_ = false;
    piece_ = source_->next();
    if (piece_.empty()) {
      if (source_->ended()) return shut();
      timer_.expires_after(options_.heartbeat);
      timer_.async_wait([self = shared_from_this()](error_code error) {
        if (!self->stream_.socket().is_open()) return;
        if (self->woken_) return self->stream_some();
        if (error) return;
        self->piece_ = ": still here\n\n";
        self->write_piece();
      });
      return;
    }
    write_piece();
  }

  void write_piece() {
    stream_.expires_after(options_.write_timeout);
    asio::async_write(stream_, asio::buffer(piece_),
                      [self = shared_from_this()](error_code error, std::size_t) {
                        if (error) return self->shut();
                        self->stream_.expires_never();
                        self->stream_some();
                      });
  }

  const std::shared_ptr<Shared> shared_;  // first: its context goes last
  Handler& handler_;
  const HttpOptions options_;
  beast::tcp_stream stream_;
  asio::steady_timer timer_;
  beast::flat_buffer buffer_;
  std::optional<Parser> parser_;
  Request request_;
  std::optional<http::response<http::string_body>> response_;
  std::optional<http::response<http::empty_body>> head_;
  std::optional<http::response<http::empty_body>> continue_;
  std::optional<http::response_serializer<http::empty_body>> head_serializer_;
  std::shared_ptr<Stream> source_;
  std::string piece_;
  bool woken_ = false;
  bool served_any_ = false;
  bool keep_alive_ = false;
  bool head_only_ = false;
  bool drain_ = false;
};

class Server final : public HttpServer {
 public:
  Server(const HttpOptions& options, Handler& handler)
      : options_(options), handler_(handler), acceptor_(shared_->context), retry_(shared_->context) {}
  ~Server() override { stop(); }

  Status open() {
    error_code error;
    const auto address = asio::ip::make_address(options_.address, error);
    if (error) return fail("'{}' is not an IP address", options_.address);
    const tcp::endpoint endpoint(address, options_.port);
    acceptor_.open(endpoint.protocol(), error);
    if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
    if (error) return fail("cannot listen on {}:{}: {}", options_.address, options_.port, error.message());
    return {};
  }

  std::uint16_t port() const override { return acceptor_.local_endpoint().port(); }

  void run() override {
    accept();
    for (int i = 0; i < options_.threads; ++i) {
      threads_.emplace_back([this] {
        request_time_slice(kTimeSlice);
        shared_->context.run();
      });
    }
  }

  // The threads end when nothing is left to do: no connection, no accept.
  void stop() override {
    if (threads_.empty()) return;
    asio::post(acceptor_.get_executor(), [this] {
      shared_->stopping = true;
      error_code ignored;
      acceptor_.close(ignored);
      retry_.cancel(ignored);
      std::vector<std::shared_ptr<Session>> open;
      {
        const std::lock_guard lock(shared_->mutex);
        for (const auto& [raw, weak] : shared_->sessions) {
          if (auto session = weak.lock()) open.push_back(std::move(session));
        }
      }
      for (const auto& session : open) session->close();
    });
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

  std::size_t connections() const override { return shared_->connections.load(); }

 private:
  void accept() {
    acceptor_.async_accept(asio::make_strand(shared_->context), [this](error_code error, tcp::socket socket) {
      if (shared_->stopping) return;
      if (error) return accept_later();  // out of file descriptors: not for ever
      error_code ignored;
      socket.set_option(tcp::no_delay(true), ignored);
      if (shared_->connections.load() >= options_.max_connections) {
        turn_away(std::move(socket));
      } else {
        std::make_shared<Session>(std::move(socket), shared_, handler_, options_)->start();
      }
      accept();
    });
  }

  void accept_later() {
    retry_.expires_after(std::chrono::milliseconds(50));
    retry_.async_wait([this](error_code error) {
      if (!error && !shared_->stopping) accept();
    });
  }

  static void turn_away(tcp::socket socket) {
    static constexpr std::string_view kFull =
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: "
        "close\r\n\r\n";
    error_code ignored;
    socket.non_blocking(true, ignored);
    socket.send(asio::buffer(kFull.data(), kFull.size()), 0, ignored);
    socket.shutdown(tcp::socket::shutdown_send, ignored);
  }

  const HttpOptions options_;
  Handler& handler_;
  const std::shared_ptr<Shared> shared_ = std::make_shared<Shared>();
  tcp::acceptor acceptor_;
  asio::steady_timer retry_;
  std::vector<std::thread> threads_;
};

Session::Session(tcp::socket socket, std::shared_ptr<Shared> shared, Handler& handler,
                 const HttpOptions& options)
    : shared_(std::move(shared)),
      handler_(handler),
      options_(options),
      stream_(std::move(socket)),
      timer_(stream_.get_executor()) {
  ++shared_->connections;
}

Session::~Session() {
  --shared_->connections;
  const std::lock_guard lock(shared_->mutex);
  shared_->sessions.erase(this);
}

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::listen(const HttpOptions& options, Handler& handler) {
  auto server = std::make_unique<Server>(options, handler);
  if (auto status = server->open(); !status) return status.error();
  return std::unique_ptr<HttpServer>(std::move(server));
}

}  // namespace attune::serve
