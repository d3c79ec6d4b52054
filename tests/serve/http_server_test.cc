// The HTTP server over real loopback sockets: good requests, and clients that misbehave.
#include "serve/http_server.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>
#include <thread>

namespace attune::serve {
namespace {

using std::chrono::milliseconds;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

class Client {
 public:
  explicit Client(std::uint16_t port) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  ~Client() { hang_up(); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  bool connected() const { return connected_; }
  // False where the server has closed.
  bool send(const std::string& bytes) const {
    return ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
  }

  // Until `end` was received, or the server closed.
  std::string receive(const std::string& end = "") {
    std::string text;
    char buffer[4096];
    while (end.empty() || text.find(end) == std::string::npos) {
      const ssize_t count = ::recv(socket_, buffer, sizeof buffer, 0);
      if (count <= 0) break;
      text.append(buffer, static_cast<std::size_t>(count));
    }
    return text;
  }
  void hang_up() {
    if (socket_ >= 0) ::close(socket_);
    socket_ = -1;
  }

 private:
  int socket_;
  bool connected_ = false;
};

// A stream that says what it is told to.
class Lines final : public Stream {
 public:
  std::string next() override {
    const std::lock_guard lock(mutex_);
    return std::exchange(text_, "");
  }
  bool ended() const override {
    const std::lock_guard lock(mutex_);
    return ended_ && text_.empty();
  }
  void listen(std::function<void()> wake) override {
    const std::lock_guard lock(mutex_);
    wake_ = std::move(wake);
  }
  void say(const std::string& text, bool end = false) {
    const std::lock_guard lock(mutex_);
    text_ += text;
    ended_ = end;
    if (wake_) wake_();
  }

 private:
  mutable std::mutex mutex_;
  std::string text_;
  bool ended_ = false;
  std::function<void()> wake_;
};

// Echoes; "/later" answers from another thread, "/stream" streams, "/no" is refused before its body.
class Echo final : public Handler {
 public:
  ~Echo() override {
    for (std::thread& thread : threads_) thread.join();
  }
  Admission admit(Request& head) override {
    if (head.path == "/no") return {error_response(401, "no"), 0};
    return {std::nullopt, 1000};
  }
  void handle(Request request, Respond respond) override {
    if (request.path == "/stream") {
      Response response;
      response.content_type = "text/event-stream";
      response.stream = lines;
      return respond(std::move(response));
    }
    Response response;
    response.body = request.method + " " + request.path + " " + request.body;
    for (const auto& [key, value] : request.query) response.body += " " + key + "=" + value;
    if (request.path != "/later") return respond(std::move(response));
    threads_.emplace_back([respond, response] { respond(response); });
  }
  std::shared_ptr<Lines> lines = std::make_shared<Lines>();

 private:
  std::vector<std::thread> threads_;
};

class HttpServerTest : public testing::Test {
 protected:
  void start(HttpOptions options = {}) {
    auto server = HttpServer::listen(options, echo_);
    ASSERT_TRUE(server) << server.error().message;
    server_ = *std::move(server);
    server_->run();
  }
  std::string ask(const std::string& request) const {
    Client client(server_->port());
    client.send(request);
    return client.receive();
  }
  // Until the server has noticed; the test's own time limit ends it otherwise.
  void wait_for_connections(std::size_t count) const {
    while (server_->connections() != count) std::this_thread::sleep_for(milliseconds(1));
  }

  Echo echo_;
  std::unique_ptr<HttpServer> server_;
};

constexpr const char* kClose = "Host: x\r\nConnection: close\r\n";

TEST_F(HttpServerTest, AnswersAndCloses) {
  start();
  const auto answer = ask(std::string("GET /a%20b?x=1+2&y=%2F HTTP/1.1\r\n") + kClose + "\r\n");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(answer, EndsWith("GET /a b  x=1 2 y=/"));
}

TEST_F(HttpServerTest, KeepsConnectionsAndTakesPipelinedRequests) {
  start();
  Client client(server_->port());
  client.send(
      "GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /later HTTP/1.1\r\nHost: x\r\n\r\nGET /3 HTTP/1.1\r\nHost: "
      "x\r\n\r\n");
  const auto answers = client.receive("GET /3 ");
  EXPECT_LT(answers.find("GET /1 "), answers.find("GET /later "));
  EXPECT_LT(answers.find("GET /later "), answers.find("GET /3 "));
  client.send("GET /4 HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_THAT(client.receive("GET /4 "), HasSubstr("GET /4 "));
}

TEST_F(HttpServerTest, HeadHasTheLengthAndNoBody) {
  start();
  const auto answer = ask(std::string("HEAD /a HTTP/1.1\r\n") + kClose + "\r\n");
  EXPECT_THAT(answer, HasSubstr("Content-Length: 7\r\n"));
  EXPECT_THAT(answer, EndsWith("\r\n\r\n"));
}

TEST_F(HttpServerTest, TakesChunkedBodiesAndExpect) {
  start();
  EXPECT_THAT(ask(std::string("POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n") + kClose +
                  "\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
              EndsWith("POST /c abcde"));
  const auto answer = ask(std::string("POST /e HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n") +
                          kClose + "\r\nhi");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 100 Continue\r\n"));
  EXPECT_THAT(answer, EndsWith("POST /e hi"));
}

TEST_F(HttpServerTest, ABodyOverTheLimitIsRefusedHoweverItComes) {
  start();
  const std::string big(5000, 'x');
  EXPECT_THAT(ask(std::string("POST /b HTTP/1.1\r\nContent-Length: 5000\r\n") + kClose + "\r\n" + big),
              StartsWith("HTTP/1.1 413 "));
  EXPECT_THAT(ask(std::string("POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n") + kClose +
                  "\r\n1388\r\n" + big + "\r\n0\r\n\r\n"),
              StartsWith("HTTP/1.1 413 "));
  EXPECT_THAT(ask(std::string("POST /b HTTP/1.1\r\nContent-Length: 99999999999\r\n") + kClose + "\r\n"),
              StartsWith("HTTP/1.1 413 "));
}

TEST_F(HttpServerTest, WhoIsRefusedReadsWhyThoughItsBodyWasNotRead) {
  start();
  EXPECT_THAT(ask(std::string("POST /no HTTP/1.1\r\nContent-Length: 100000\r\n") + kClose + "\r\n" +
                  std::string(100'000, 'x')),
              StartsWith("HTTP/1.1 401 "));
}

TEST_F(HttpServerTest, WhatIsNotHttpIsAnsweredWith400) {
  start();
  for (const char* text : {"hello\r\n\r\n", "GET  HTTP/1.1\r\n\r\n", "GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n",
                           "GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n", "GET x HTTP/1.1\r\nHost: x\r\n\r\n",
                           "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "GET / HTTP/9.9\r\n\r\n"})
    EXPECT_THAT(ask(text), StartsWith("HTTP/1.1 400 ")) << text;
}

TEST_F(HttpServerTest, AHeaderOverTheLimitIsRefused) {
  start();
  EXPECT_THAT(ask("GET / HTTP/1.1\r\nHost: x\r\nX: " + std::string(20'000, 'x') + "\r\n\r\n"),
              StartsWith("HTTP/1.1 431 "));
}

TEST_F(HttpServerTest, WhoDripsAHeaderIsCutOff) {
  start({.header_timeout = milliseconds(200)});
  Client client(server_->port());
  // Each byte comes well within the time; the whole never does.
  int sent = 0;
  for (; sent < 1000 && client.send("G"); ++sent) std::this_thread::sleep_for(milliseconds(5));
  EXPECT_LT(sent, 1000);
  wait_for_connections(0);
}

TEST_F(HttpServerTest, WhoDripsABodyIsCutOff) {
  start({.body_timeout = milliseconds(200)});
  Client client(server_->port());
  client.send("POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n");
  EXPECT_EQ(client.receive(), "");
  wait_for_connections(0);
}

TEST_F(HttpServerTest, WhoSaysNothingIsCutOff) {
  start({.header_timeout = milliseconds(100), .idle_timeout = milliseconds(100)});
  Client silent(server_->port());
  EXPECT_EQ(silent.receive(), "");
  Client idle(server_->port());
  idle.send("GET /1 HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_THAT(idle.receive(), EndsWith("GET /1 "));
}

TEST_F(HttpServerTest, ConnectionsOverTheLimitAreTurnedAwayAndLaterOnesTaken) {
  start({.max_connections = 2});
  auto first = std::make_unique<Client>(server_->port());
  auto second = std::make_unique<Client>(server_->port());
  wait_for_connections(2);
  EXPECT_THAT(Client(server_->port()).receive(), StartsWith("HTTP/1.1 503 "));
  first->hang_up();
  wait_for_connections(1);
  EXPECT_THAT(ask(std::string("GET /a HTTP/1.1\r\n") + kClose + "\r\n"), EndsWith("GET /a "));
}

TEST_F(HttpServerTest, AStreamSendsWhatComesUpAndEnds) {
  start();
  Client client(server_->port());
  client.send("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_THAT(client.receive("\r\n\r\n"), HasSubstr("text/event-stream"));
  echo_.lines->say("one\n");
  EXPECT_THAT(client.receive("one\n"), HasSubstr("one\n"));
  echo_.lines->say("two\n", true);
  EXPECT_THAT(client.receive(), HasSubstr("two\n"));
  wait_for_connections(0);
}

TEST_F(HttpServerTest, AQuietStreamIsKeptAliveAndAHangUpNoticed) {
  start({.heartbeat = milliseconds(20)});
  Client client(server_->port());
  client.send("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_THAT(client.receive(": still here\n\n"), HasSubstr(": still here\n\n"));
  client.hang_up();
  wait_for_connections(0);
}

TEST_F(HttpServerTest, StoppingClosesWhatIsOpen) {
  start();
  Client idle(server_->port()), streaming(server_->port());
  streaming.send("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
  streaming.receive("\r\n\r\n");
  server_->stop();
  server_.reset();
  EXPECT_EQ(idle.receive(), "");
}

TEST_F(HttpServerTest, AnAddressInUseIsSaid) {
  start();
  const auto second = HttpServer::listen({.port = server_->port()}, echo_);
  ASSERT_FALSE(second);
  EXPECT_THAT(second.error().message, HasSubstr("cannot listen on 127.0.0.1:"));
  EXPECT_FALSE(HttpServer::listen({.address = "tuner.example"}, echo_));
}

}  // namespace
}  // namespace attune::serve
