#include "base/worker_process.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <thread>
#include <utility>

extern char** environ;

namespace attune {
namespace {

using Clock = std::chrono::steady_clock;

// Also true on POLLHUP: the following read or write tells.
bool wait_for(int fd, short events, Clock::time_point deadline) {
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd item{.fd = fd, .events = events, .revents = 0};
    const int ready = ::poll(&item, 1, static_cast<int>(std::max<long long>(left, 0)));
    if (ready > 0) return true;
    if (ready == 0 && left <= 0) return false;
    if (ready < 0 && errno != EINTR) return false;
  }
}

}  // namespace

Result<WorkerProcess> WorkerProcess::start(const std::vector<std::string>& command) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return fail("cannot make a socket for a worker process: {}", std::strerror(errno));
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  // Not all that is open says so itself that it is not for others. A server's sockets, which a compiler would
  // hold for as long as it outlives a killed server: the next one could not listen, clients would wait.
  posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  pid_t pid = -1;
  const int code = ::posix_spawn(&pid, command.front().c_str(), &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  if (code != 0) {
    ::close(ends[0]);
    return fail("cannot start the worker process {}: {}", command.front(), std::strerror(code));
  }
  return WorkerProcess(pid, ends[0]);
}

WorkerProcess::~WorkerProcess() {
  if (pid_ > 0) end_now();
}

WorkerProcess::WorkerProcess(WorkerProcess&& other) noexcept {
  swap(other);
}

WorkerProcess& WorkerProcess::operator=(WorkerProcess&& other) noexcept {
  swap(other);
  return *this;
}

void WorkerProcess::swap(WorkerProcess& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(socket_, other.socket_);
  std::swap(received_, other.received_);
}

WorkerProcess::Exchange WorkerProcess::exchange(const std::string& line, std::chrono::milliseconds timeout) {
  if (pid_ <= 0) return {Ending::died, "the worker process is not running"};
  const auto deadline = Clock::now() + timeout;
  const std::string message = line + "\n";
  for (std::size_t sent = 0; sent < message.size();) {
    if (!wait_for(socket_, POLLOUT, deadline)) return {Ending::timed_out, end_now()};
    const ssize_t n =
        ::send(socket_, message.data() + sent, message.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN && errno != EINTR) return {Ending::died, end_now()};
    if (n > 0) sent += static_cast<std::size_t>(n);
  }
  while (true) {
    if (const auto end = received_.find('\n'); end != std::string::npos) {
      std::string answer = received_.substr(0, end);
      received_.erase(0, end + 1);
      return {Ending::answered, std::move(answer)};
    }
    if (!wait_for(socket_, POLLIN, deadline)) return {Ending::timed_out, end_now()};
    std::array<char, 16384> chunk{};
    const ssize_t n = ::recv(socket_, chunk.data(), chunk.size(), MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) return {Ending::died, end_now()};
    if (n > 0) received_.append(chunk.data(), static_cast<std::size_t>(n));
  }
}

std::string WorkerProcess::end_now() {
  int status = 0;
  // One that has ended by itself keeps its own exit status.
  if (::waitpid(pid_, &status, WNOHANG) != pid_) {
    // A socket that was closed means that the process is ending: let it, so that its own status is seen.
    pollfd item{.fd = socket_, .events = POLLIN, .revents = 0};
    const bool hung_up = ::poll(&item, 1, 0) > 0 && (item.revents & POLLHUP) != 0;
    if (!hung_up) ::kill(pid_, SIGKILL);
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
  }
  ::close(socket_);
  pid_ = -1;
  socket_ = -1;
  received_.clear();
  if (WIFSIGNALED(status))
    return fmt::format("killed by signal {} ({})", WTERMSIG(status), strsignal(WTERMSIG(status)));
  return fmt::format("ended with exit code {}", WEXITSTATUS(status));
}

// Linux's parent-death signal would not do: it fires when the *thread* that started the worker ends.
void end_with_parent() {
  std::signal(SIGINT, SIG_IGN);
  std::thread([] {
    pollfd input{.fd = STDIN_FILENO, .events = 0, .revents = 0};
    while (::poll(&input, 1, -1) <= 0 || (input.revents & (POLLHUP | POLLERR)) == 0) {
    }
    ::_exit(1);
  }).detach();
}

}  // namespace attune
