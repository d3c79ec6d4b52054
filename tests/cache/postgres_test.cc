// What is PostgreSQL's own: connections that fail or are lost, foreign and other schemas, transactions that
// others get in the way of. What every store does is tested by store_tests.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <thread>

#include "cache/job_store.h"
#include "cache/postgres_database.h"
#include "cache/postgres_schema.h"
#include "cache/sql_store.h"
#include "tests/cache/cache_fixture.h"

namespace attune {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class PostgresTest : public CacheTest {
 protected:
  void SetUp() override {
    if (!server_) GTEST_SKIP() << "ATTUNE_TEST_POSTGRES is not set (tests/postgres/server.py run ...)";
    CacheTest::SetUp();
  }

  std::string tcp_uri() const {
    std::ifstream in(std::filesystem::path(std::getenv("ATTUNE_TEST_POSTGRES")) / "tcp");
    std::string uri;
    std::getline(in, uri);
    return uri;
  }

  static std::string error_at(const std::string& location, const StoreOptions& options = {}) {
    const auto store = open_store(location, options);
    if (store) return "";
    EXPECT_EQ(store.error().message.find('\n'), std::string::npos) << store.error().message;
    return store.error().message;
  }

  void sql(const std::string& text) const { TestServer::run_at(location(), text); }

  std::string asked(const std::string& text) const {
    const auto connection = PostgresConnection::open(location(), {});
    EXPECT_TRUE(connection) << connection.error().message;
    const auto rows = (*connection)->run(text);
    EXPECT_TRUE(rows) << text << ": " << rows.error().message;
    return rows && rows->size() > 0 ? rows->text(0, 0) : "";
  }

  // Ends the connections of victim_location(), no other test's.
  void end_connections() const {
    asked("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = '" +
          victim() + "'");
  }
  std::string victim_location() const { return location() + "&application_name=" + victim(); }
  static std::string victim() { return fmt::format("victim{}", ::getpid()); }
};

TEST_F(PostgresTest, AServerThatIsDownIsSaidInOneLine) {
  EXPECT_THAT(error_at("postgresql://ada@127.0.0.1:1/attune"),
              AllOf(HasSubstr("database postgresql://ada@127.0.0.1:1/attune: "), HasSubstr("refused"),
                    HasSubstr("check that the server runs")));
}

TEST_F(PostgresTest, AWrongPasswordIsSaidAndNotShown) {
  std::string uri = tcp_uri();
  uri.replace(uri.find("right-password"), 14, "wrong-password");
  EXPECT_THAT(error_at(uri), AllOf(HasSubstr("password authentication failed"), HasSubstr("~/.pgpass"),
                                   Not(HasSubstr("wrong-password"))));
}

TEST_F(PostgresTest, ADatabaseThatDoesNotExistIsSaid) {
  std::string uri = server_->uri();
  uri.replace(uri.find("/attune?"), 8, "/nowhere?");
  EXPECT_THAT(error_at(uri), AllOf(HasSubstr("\"nowhere\" does not exist"), HasSubstr("createdb")));
}

TEST_F(PostgresTest, WhatIsNoUriIsSaidWithoutThePassword) {
  EXPECT_THAT(error_at("postgresql://ada:secr%zz@db/attune"),
              AllOf(HasSubstr("no URI that libpq understands"), Not(HasSubstr("secr"))));
  EXPECT_THAT(error_at("postgresql://db/attune?colour=red"), HasSubstr("no URI that libpq understands"));
}

TEST_F(PostgresTest, TablesOfAnotherApplicationAreNotTouched) {
  sql("CREATE TABLE bookmarks (url TEXT)");
  for (const bool read_only : {false, true}) {
    EXPECT_THAT(error_at(location(), {.read_only = read_only}),
                AllOf(HasSubstr("belongs to another application (it has a table bookmarks)"),
                      HasSubstr("nothing was written")));
  }
  EXPECT_EQ(asked("SELECT count(*) FROM pg_class WHERE relnamespace = current_schema()::regnamespace "
                  "AND relkind = 'r'"),
            "1");
}

TEST_F(PostgresTest, ANewerSchemaIsNotTouched) {
  must_add(*open(), ok_trial(10));
  sql("INSERT INTO attune_schema (version) VALUES (99)");
  EXPECT_THAT(error_at(location()),
              AllOf(HasSubstr("has schema version 99"), HasSubstr("use a newer attune")));
}

TEST_F(PostgresTest, AnOlderSchemaIsMigratedAndKeepsItsTrials) {
  must_add(*open(), ok_trial(10));
  sql("DROP TABLE claims, declined_jobs, servers, job_events, jobs, queued_jobs; DROP FUNCTION "
      "count_queued_job; DELETE FROM "
      "attune_schema WHERE version > 1");  // as it left it
  EXPECT_EQ(*open({.read_only = true})->count({}), 1);
  EXPECT_EQ(asked("SELECT max(version) FROM attune_schema"), "1") << "reading migrates nothing";
  EXPECT_EQ(*open()->count({}), 1);
  EXPECT_EQ(asked("SELECT max(version) FROM attune_schema"), std::to_string(kPostgresSchemaVersion));
  EXPECT_EQ(asked("SELECT count(*) FROM claims"), "0");
}

TEST_F(PostgresTest, Version2IsMigratedAndKeepsItsClaims) {
  must_add(*open(), ok_trial(10));
  sql("DROP TABLE declined_jobs, servers, job_events, jobs, queued_jobs; DROP FUNCTION count_queued_job; "
      "DELETE FROM attune_schema "
      "WHERE version > 2; INSERT INTO claims (shape, "
      "gpu_name, arch, replayed, policy, templates, weight, max_trials) VALUES ('{}', 'g', 'a', 0, 'p', 't', "
      "1, 1)");
  EXPECT_EQ(*open()->count({}), 1);
  EXPECT_EQ(asked("SELECT count(*) FROM claims"), "1");
  const auto jobs = open_jobs(location());
  ASSERT_TRUE(jobs) << jobs.error().message;
  Job job;
  job.kind = "tune";
  job.request = "{}";
  job.client = "a";
  EXPECT_TRUE((*jobs)->submit(job, {}));
  EXPECT_EQ((*jobs)->queued()->size(), 1U);
}

// A server of version 3 may still be at work: what it writes is counted too.
TEST_F(PostgresTest, Version3IsMigratedAndCountsWhatIsQueued) {
  must_add(*open(), ok_trial(10));
  const auto add = [this](const std::string& client, const std::string& state) {
    sql("INSERT INTO jobs (kind, request, client, priority, device, state, message, result, starts, "
        "created_at, started_at, ended_at) VALUES ('tune', '{}', '" +
        client + "', 0, '', '" + state + "', '', '', 0, '', '', '')");
  };
  sql("DROP TABLE declined_jobs, servers, queued_jobs; DROP FUNCTION count_queued_job CASCADE; CREATE INDEX "
      "jobs_by_client ON jobs "
      "(state, client); DELETE FROM attune_schema WHERE version > 3");
  add("a", "queued");
  add("a", "done");
  ASSERT_TRUE(open());
  add("a", "queued");
  add("b", "queued");
  EXPECT_EQ(asked("SELECT string_agg(client || count, ' ' ORDER BY client) FROM queued_jobs"), "a2 b1");
  sql("UPDATE jobs SET state = 'running' WHERE client = 'b'; DELETE FROM jobs WHERE id = 1");
  EXPECT_EQ(asked("SELECT string_agg(client || count, ' ' ORDER BY client) FROM queued_jobs"), "a1");
}

TEST_F(PostgresTest, ManyMayMakeTheTablesAtOnce) {
  const std::string at = location();
  std::vector<std::jthread> openers;
  for (int i = 0; i < 6; ++i) openers.emplace_back([&at] { EXPECT_EQ(error_at(at), ""); });
  openers.clear();
  EXPECT_EQ(asked("SELECT count(*) FROM attune_schema"), std::to_string(kPostgresSchemaVersion));
}

TEST_F(PostgresTest, ForReadingOnlyNothingIsMadeAndNothingTaken) {
  EXPECT_THAT(error_at(location(), {.read_only = true}), HasSubstr("attune tune makes its tables"));
  EXPECT_EQ(asked("SELECT count(*) FROM pg_class WHERE relnamespace = current_schema()::regnamespace"), "0");
  must_add(*open(), ok_trial(10));
  const auto reader = open({.read_only = true});
  Trial trial = ok_trial(20, 1);
  EXPECT_THAT(reader->add(trial).error().message, HasSubstr("opened for reading only"));
  EXPECT_EQ(*reader->count({}), 1);
}

TEST_F(PostgresTest, ARoleThatMayNotMakeTablesIsToldWhatToAskFor) {
  server_->run("DO $$ BEGIN CREATE ROLE reader LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$");
  std::string at = location();  // whose schema is attune's
  sql("GRANT USAGE ON SCHEMA " + asked("SELECT current_schema()") + " TO reader");
  at.replace(at.find("attune@"), 7, "reader@");
  EXPECT_THAT(error_at(at), AllOf(HasSubstr("permission denied"), HasSubstr("GRANT")));
}

TEST_F(PostgresTest, ATextThatTheServerCannotHoldIsRefused) {
  auto store = open();
  Trial trial = ok_trial(10);
  trial.strategy = std::string("a\0b", 3);
  EXPECT_THAT(store->add(trial).error().message, HasSubstr("zero byte"));
  trial.strategy = "\xff";
  EXPECT_FALSE(store->add(trial));
  trial.strategy = "random";
  EXPECT_TRUE(store->add(trial)) << "the store goes on";
  EXPECT_EQ(*store->count({}), 1);
}

TEST_F(PostgresTest, ALostConnectionIsMadeAgain) {
  const auto store = open_store(victim_location());
  ASSERT_TRUE(store) << store.error().message;
  must_add(**store, ok_trial(10));
  end_connections();
  EXPECT_EQ(*(*store)->count({}), 1);
  end_connections();
  must_add(**store, ok_trial(20, 1));
  end_connections();
  EXPECT_TRUE((*store)->lookup(dense_shape(), h100(), {}, "13.0", {}, LookupReach::near)->record);
}

TEST_F(PostgresTest, ConnectionsThatAreEndedAllTheTimeLoseNothingAndDoubleNothing) {
  const auto store = open_store(victim_location());
  ASSERT_TRUE(store) << store.error().message;
  std::atomic<bool> over{false};
  std::jthread ending([&] {
    while (!over) end_connections();
  });
  for (int i = 0; i < 60; ++i) must_add(**store, ok_trial(10 + i, i));
  over = true;
  ending.join();
  EXPECT_EQ(*open()->count({}), 60);
}

TEST_F(PostgresTest, AServerThatStaysAwayIsAnErrorInTheEnd) {
  const auto store = open_store(victim_location(), {.server_patience_ms = 300});
  ASSERT_TRUE(store) << store.error().message;
  const std::string schema = asked("SELECT current_schema()");
  server_->run("ALTER SCHEMA " + schema + " RENAME TO " + schema + "_away");
  end_connections();
  Trial trial = ok_trial(10);
  const auto status = (*store)->add(trial);
  server_->run("ALTER SCHEMA " + schema + "_away RENAME TO " + schema);
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, HasSubstr("does not exist"));
  EXPECT_TRUE((*store)->add(trial)) << "it is there again";
}

TEST_F(PostgresTest, ADatabaseThatWasReplacedMeanwhileIsNotGoneOnWith) {
  const auto store = open_store(victim_location());
  ASSERT_TRUE(store) << store.error().message;
  must_add(**store, ok_trial(10));
  const std::string schema = asked("SELECT current_schema()");
  server_->run("DROP SCHEMA " + schema + " CASCADE; CREATE SCHEMA " + schema);
  must_add(*open(), ok_trial(20, 1));
  end_connections();
  EXPECT_THAT((*store)->trials({}).error().message, HasSubstr("was replaced while it was open"));
}

// A trigger that fails as the server does when transactions get in each other's way.
TEST_F(PostgresTest, WhatOthersGetInTheWayOfIsRepeated) {
  auto store = open();
  for (const char* sqlstate : {"40001", "40P01"}) {
    sql(fmt::format(
        "CREATE SEQUENCE tries; CREATE FUNCTION get_in_the_way() RETURNS trigger AS $$ BEGIN "
        "IF nextval('tries') <= 3 THEN RAISE EXCEPTION 'planted' USING ERRCODE = '{}'; END IF; "
        "RETURN NEW; END $$ LANGUAGE plpgsql; "
        "CREATE TRIGGER planted BEFORE INSERT ON trials FOR EACH ROW EXECUTE FUNCTION get_in_the_way()",
        sqlstate));
    must_add(*store, ok_trial(10));
    EXPECT_EQ(asked("SELECT last_value FROM tries"), "4");
    sql("DROP TRIGGER planted ON trials; DROP FUNCTION get_in_the_way; DROP SEQUENCE tries");
  }
  EXPECT_EQ(*store->count({}), 2);
}

TEST_F(PostgresTest, WhatTheServerRefusesForGoodIsNotRepeated) {
  auto store = open();
  sql("CREATE SEQUENCE tries; CREATE FUNCTION refuse() RETURNS trigger AS $$ BEGIN PERFORM nextval('tries'); "
      "RAISE EXCEPTION 'planted' USING ERRCODE = '53100'; END $$ LANGUAGE plpgsql; "
      "CREATE TRIGGER planted BEFORE INSERT ON trials FOR EACH ROW EXECUTE FUNCTION refuse()");
  Trial trial = ok_trial(10);
  EXPECT_THAT(store->add(trial).error().message,
              AllOf(HasSubstr("the trial was not stored"), HasSubstr("the server's disk is full")));
  EXPECT_EQ(asked("SELECT last_value FROM tries"), "1");
}

TEST_F(PostgresTest, AStatementThatWaitsTooLongIsEnded) {
  must_add(*open(), ok_trial(10));
  const auto holder = PostgresConnection::open(location(), {});
  ASSERT_TRUE((*holder)->run_all("BEGIN; LOCK TABLE trials"));
  const auto waiting =
      PostgresConnection::open(location(), {.statement_timeout = std::chrono::milliseconds(100)});
  const auto answer = (*waiting)->run("SELECT count(*) FROM trials");
  ASSERT_FALSE(answer);
  EXPECT_FALSE((*waiting)->lost());
  EXPECT_THAT(answer.error().message, AllOf(HasSubstr("gave no answer"), HasSubstr("holding a lock")));
}

TEST_F(PostgresTest, TwoImportsOfTheSameTrialsAtOnceAddThemOnce) {
  (void)open();
  const auto import = [this] {
    auto store = open();
    int next = 0;
    const auto added = store->add_new([&next]() -> Result<std::optional<Trial>> {
      if (next == 200) return std::optional<Trial>();
      const int config = next++;
      return std::optional<Trial>(ok_trial(10 + config, config));
    });
    EXPECT_TRUE(added) << added.error().message;
  };
  std::jthread other(import);
  import();
  other.join();
  EXPECT_EQ(*open()->count({}), 200);
}

// Passes bytes on between a client and the server until the client says COMMIT, which reaches the server; its
// answer does not come back.
class CommitSwallower {
 public:
  explicit CommitSwallower(int server_port) : server_port_(server_port) {
    listener_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    ::bind(listener_, reinterpret_cast<sockaddr*>(&address), size);
    ::listen(listener_, 8);
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::jthread([this] { serve(); });
  }
  ~CommitSwallower() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }
  int port() const { return port_; }
  std::atomic<int> to_swallow{0};
  std::atomic<int> swallowed{0};

 private:
  static sockaddr_in loopback(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }

  void serve() {  // one connection after the other: a client that lost one makes the next
    for (;;) {
      const int client = ::accept(listener_, nullptr, nullptr);
      if (client < 0) return;
      const int server = ::socket(AF_INET, SOCK_STREAM, 0);
      const sockaddr_in address = loopback(server_port_);
      if (::connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0)
        pass(client, server);
      ::close(server);
      ::close(client);
    }
  }

  void pass(int client, int server) {
    pollfd ends[2] = {{client, POLLIN, 0}, {server, POLLIN, 0}};
    char bytes[16384];
    bool silent = false;
    while (::poll(ends, 2, -1) > 0) {
      if (ends[0].revents != 0) {
        const auto size = ::read(client, bytes, sizeof bytes);
        if (size <= 0) return;
        const std::string_view said(bytes, static_cast<std::size_t>(size));
        if (to_swallow > 0 && said.find("COMMIT") != said.npos) {
          --to_swallow;
          silent = true;
        }
        if (::write(server, bytes, static_cast<std::size_t>(size)) != size) return;
      }
      if (ends[1].revents != 0) {
        const auto size = ::read(server, bytes, sizeof bytes);
        if (size <= 0) return;
        if (silent) {
          ++swallowed;
          return;  // the server has answered, so it has committed
        }
        if (::write(client, bytes, static_cast<std::size_t>(size)) != size) return;
      }
    }
  }

  const int server_port_;
  int listener_ = -1;
  int port_ = 0;
  std::jthread thread_;
};

TEST_F(PostgresTest, ACommitWhoseAnswerIsLostIsNotDoneTwice) {
  std::string uri = tcp_uri();
  const std::size_t port = uri.rfind(':') + 1, slash = uri.rfind('/');
  CommitSwallower swallower(std::stoi(uri.substr(port, slash - port)));
  uri.replace(port, slash - port, std::to_string(swallower.port()));
  const std::string schema = asked("SELECT current_schema()");
  const auto store =
      open_store(uri + "?sslmode=disable&gssencmode=disable&options=-csearch_path%3D" + schema);
  ASSERT_TRUE(store) << store.error().message;
  for (int i = 0; i < 5; ++i) {
    swallower.to_swallow = i % 2;
    Trial trial = ok_trial(10 + i, i);
    const auto status = (*store)->add(trial);
    ASSERT_TRUE(status) << status.error().message;
    EXPECT_GT(trial.id, 0);
  }
  EXPECT_EQ(swallower.swallowed, 2);
  EXPECT_EQ(*open()->count({}), 5);
}

}  // namespace
}  // namespace attune
