#include "base/worker_process.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace attune {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

WorkerProcess shell(const std::string& script) {
  auto process = WorkerProcess::start({"/bin/sh", "-c", script});
  EXPECT_TRUE(process) << process.error().message;
  return std::move(*process);
}

TEST(WorkerProcess, AnswersLineByLine) {
  auto worker = shell("while read -r line; do echo \"got $line\"; done");
  for (const char* word : {"one", "two"}) {
    const auto exchange = worker.exchange(word, 10s);
    EXPECT_EQ(exchange.ending, WorkerProcess::Ending::answered);
    EXPECT_EQ(exchange.line, std::string("got ") + word);
  }
}

TEST(WorkerProcess, CarriesMessagesInPieces) {
  auto worker = shell("while read -r line; do echo \"$line\"; done");
  const std::string request(300'000, 'x');  // more than a socket takes at once
  EXPECT_EQ(worker.exchange(request, 30s).line, request);
}

TEST(WorkerProcess, SaysWhichSignalKilledIt) {
  auto worker = shell("read -r line; kill -SEGV $$");
  const auto exchange = worker.exchange("die", 10s);
  EXPECT_EQ(exchange.ending, WorkerProcess::Ending::died);
  EXPECT_THAT(exchange.line, HasSubstr("signal 11"));
}

TEST(WorkerProcess, SaysWithWhichCodeItEnded) {
  auto worker = shell("read -r line; exit 3");
  const auto exchange = worker.exchange("end", 10s);
  EXPECT_EQ(exchange.ending, WorkerProcess::Ending::died);
  EXPECT_THAT(exchange.line, HasSubstr("exit code 3"));
}

TEST(WorkerProcess, IsEndedWhenItHangs) {
  auto worker = shell("read -r line; exec sleep 1000");
  const auto exchange = worker.exchange("hang", 50ms);
  EXPECT_EQ(exchange.ending, WorkerProcess::Ending::timed_out);
  EXPECT_THAT(exchange.line, HasSubstr("signal 9"));
}

// A compiler that outlives a killed server must not hold the address where the server listened.
TEST(WorkerProcess, InheritsNothingThatIsOpen) {
  const int open = ::fcntl(STDERR_FILENO, F_DUPFD, 100);  // as a library opens a file: for children, too
  ASSERT_GE(open, 100);
  auto worker = shell("while read -r fd; do [ -e /proc/$$/fd/$fd ] && echo open || echo closed; done");
  EXPECT_EQ(worker.exchange(std::to_string(open), 10s).line, "closed");
  EXPECT_EQ(worker.exchange("2", 10s).line, "open") << "but where it complains";
  ::close(open);
}

TEST(WorkerProcess, ThatCannotStartIsAnError) {
  auto process = WorkerProcess::start({"/no/such/program"});
  ASSERT_FALSE(process);
  EXPECT_THAT(process.error().message, HasSubstr("/no/such/program"));
}

}  // namespace
}  // namespace attune
