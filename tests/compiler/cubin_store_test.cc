#include "compiler/cubin_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <thread>

#include "base/hash.h"
#include "tests/compiler/environment.h"

namespace attune {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

CompiledKernel kernel(int number, std::size_t bytes = 5000) {
  CompiledKernel made;
  made.outcome = CompileOutcome::ok;
  made.key = sha256_hex(std::to_string(number));
  made.cubin = std::string(bytes, static_cast<char>('a' + number % 26));
  made.cubin_hash = sha256_hex(made.cubin);
  made.entry = "attention_forward";
  made.arch = "sm_90a";
  made.usage = {168, 4, 8, 16, 1024};
  made.warnings = {"C7508"};
  made.log = "ptxas info    : Used 168 registers";
  made.compile_ms = 340.25;
  return made;
}

CubinStore open_store(const fs::path& folder, const DiskCalls& disk = {}) {
  auto store = CubinStore::open(folder, disk);
  if (!store) throw std::runtime_error(store.error().message);
  return *store;
}

std::int64_t files_below(const fs::path& folder) {
  std::int64_t files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) files += entry.is_regular_file() ? 1 : 0;
  return files;
}

void set_age_in_days(const fs::path& path, int days) {
  fs::last_write_time(path, fs::file_time_type::clock::now() - std::chrono::hours(24 * days));
}

fs::path json_path(const CubinStore& store, const std::string& key) {
  return store.cubin_path(key).replace_extension(".json");
}

class CubinStoreTest : public testing::Test {
 protected:
  ScopedFolder folder_;
  CubinStore store_ = open_store(folder_.path() / "cubins");
};

TEST_F(CubinStoreTest, GivesBackWhatWasPublished) {
  const auto made = kernel(1);
  ASSERT_TRUE(store_.publish(made));
  const auto found = store_.find(made.key);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->outcome, CompileOutcome::ok);
  EXPECT_EQ(found->cubin, made.cubin);
  EXPECT_EQ(found->cubin_hash, made.cubin_hash);
  EXPECT_EQ(found->entry, made.entry);
  EXPECT_EQ(found->arch, made.arch);
  EXPECT_EQ(found->usage, made.usage);
  EXPECT_EQ(found->warnings, made.warnings);
  EXPECT_EQ(found->log, made.log);
  EXPECT_EQ(found->compile_ms, made.compile_ms);
  EXPECT_TRUE(found->from_store);
  EXPECT_EQ(files_below(store_.folder()), 2);
  EXPECT_EQ(store_.summary().entries, 1);
  EXPECT_FALSE(store_.find(kernel(2).key));
  EXPECT_FALSE(store_.find("../../etc/passwd"));
}

TEST_F(CubinStoreTest, FailuresAreKeptAndTimeoutsAreNot) {
  auto failed = kernel(1);
  failed.outcome = CompileOutcome::error;
  failed.cubin.clear();
  failed.log = "x.cu(1): error: \xff is no UTF-8";
  ASSERT_TRUE(store_.publish(failed));
  const auto found = store_.find(failed.key);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->outcome, CompileOutcome::error);
  EXPECT_THAT(found->log, HasSubstr("x.cu(1): error"));
  auto slow = kernel(2);
  slow.outcome = CompileOutcome::timeout;
  EXPECT_TRUE(store_.publish(slow));
  EXPECT_FALSE(store_.find(slow.key));
}

TEST_F(CubinStoreTest, DamagedEntriesAreNotThere) {
  const auto damage = [&](int number, auto how) {
    const auto made = kernel(number);
    ASSERT_TRUE(store_.publish(made));
    ASSERT_TRUE(store_.find(made.key));
    how(made.key);
    EXPECT_FALSE(store_.find(made.key)) << number;
    EXPECT_THAT(store_.verify(false), ElementsAre(made.key)) << number;
    EXPECT_THAT(store_.verify(true), ElementsAre(made.key)) << number;
    EXPECT_THAT(store_.verify(false), IsEmpty()) << number;
    EXPECT_TRUE(store_.publish(made));  // and can be made again
    EXPECT_TRUE(store_.find(made.key)) << number;
  };
  damage(1, [&](const std::string& key) { fs::resize_file(store_.cubin_path(key), 100); });
  damage(2, [&](const std::string& key) { fs::remove(store_.cubin_path(key)); });
  damage(3, [&](const std::string& key) { fs::resize_file(json_path(store_, key), 100); });
  damage(4, [&](const std::string& key) { std::ofstream(json_path(store_, key)) << "{}"; });
  damage(5, [&](const std::string& key) {
    std::fstream file(store_.cubin_path(key), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(2500).put('!');
  });
  damage(6, [&](const std::string& key) {  // valid JSON that says something else
    std::ifstream in(json_path(store_, key));
    std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    text.replace(text.find("168"), 3, "169");
    std::ofstream(json_path(store_, key)) << text;
  });
}

TEST_F(CubinStoreTest, ManyPublishersOfOneKernelAgree) {
  const auto made = kernel(1, 200'000);
  const auto publish_and_read = [&] {
    for (int i = 0; i < 20; ++i) {
      if (!store_.publish(made)) return false;
      const auto found = store_.find(made.key);
      if (!found || found->cubin != made.cubin) return false;
    }
    return true;
  };
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) ::_exit(publish_and_read() ? 0 : 1);
  bool first = false;
  bool second = false;
  std::thread thread([&] { first = publish_and_read(); });
  second = publish_and_read();
  thread.join();
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_TRUE(first);
  EXPECT_TRUE(second);
  EXPECT_EQ(files_below(store_.folder()), 2);  // no temporary file is left
}

TEST_F(CubinStoreTest, CollectDropsTheLeastRecentlyUsed) {
  for (int i = 1; i <= 4; ++i) {
    ASSERT_TRUE(store_.publish(kernel(i)));
    set_age_in_days(json_path(store_, kernel(i).key), 10 - i);
  }
  ASSERT_TRUE(store_.find(kernel(1).key));  // the oldest is used again
  const auto each = store_.summary().bytes / 4;
  const auto freed = store_.collect(2 * each + 100, {kernel(2).key});
  ASSERT_TRUE(freed) << freed.error().message;
  EXPECT_EQ(freed->entries, 2);
  EXPECT_NEAR(static_cast<double>(freed->bytes), static_cast<double>(2 * each), 100);
  EXPECT_TRUE(store_.find(kernel(1).key));
  EXPECT_TRUE(store_.find(kernel(2).key));  // pinned
  EXPECT_FALSE(store_.find(kernel(3).key));
  EXPECT_FALSE(store_.find(kernel(4).key));
}

TEST_F(CubinStoreTest, CollectSweepsUpAfterKilledPublishersButNotLiveOnes) {
  const auto made = kernel(1);
  ASSERT_TRUE(store_.publish(made));
  const auto folder = store_.cubin_path(made.key).parent_path();
  std::ofstream(folder / "dead.cubin.tmp.1.1") << "x";
  set_age_in_days(folder / "dead.cubin.tmp.1.1", 1);
  std::ofstream(folder / "orphan.cubin") << "x";
  set_age_in_days(folder / "orphan.cubin", 1);
  std::ofstream(folder / "live.cubin.tmp.2.1") << "x";
  ASSERT_TRUE(store_.collect(1'000'000, {}));
  EXPECT_FALSE(fs::exists(folder / "dead.cubin.tmp.1.1"));
  EXPECT_FALSE(fs::exists(folder / "orphan.cubin"));
  EXPECT_TRUE(fs::exists(folder / "live.cubin.tmp.2.1"));
  EXPECT_TRUE(store_.find(made.key));
}

ssize_t full_after_4096(int file, const void* bytes, std::size_t size) {
  const off_t at = ::lseek(file, 0, SEEK_CUR);
  if (at >= 4096) {
    errno = ENOSPC;
    return -1;
  }
  return ::write(file, bytes, std::min<std::size_t>(size, 4096 - static_cast<std::size_t>(at)));
}

int lost_on_sync(int) {
  errno = EIO;
  return -1;
}

TEST_F(CubinStoreTest, FullDiskIsAnErrorThatLeavesNothingBehind) {
  const auto full = open_store(store_.folder(), {.write = full_after_4096, .fsync = ::fsync});
  const auto status = full.publish(kernel(1));
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, AllOf(HasSubstr("No space left on device"),
                                            HasSubstr("free some space"), Not(HasSubstr("\n"))));
  EXPECT_EQ(files_below(store_.folder()), 0);
  EXPECT_FALSE(store_.find(kernel(1).key));
}

TEST_F(CubinStoreTest, FullDiskDoesNotHurtWhatIsThere) {
  const auto small = kernel(1, 1000);
  ASSERT_TRUE(store_.publish(small));
  const auto full = open_store(store_.folder(), {.write = full_after_4096, .fsync = ::fsync});
  auto large = kernel(1, 9000);
  EXPECT_FALSE(full.publish(large));
  EXPECT_EQ(store_.find(small.key)->cubin, small.cubin);
}

// A sync costs milliseconds, and a torn entry is found by its checksum.
TEST_F(CubinStoreTest, NothingIsSynced) {
  const auto unsyncable =
      open_store(folder_.path() / "unsyncable", {.write = ::write, .fsync = lost_on_sync});
  ASSERT_TRUE(unsyncable.publish(kernel(1)));
  EXPECT_EQ(unsyncable.find(kernel(1).key)->cubin, kernel(1).cubin);
}

TEST_F(CubinStoreTest, FailingSyncIsAnError) {
  EXPECT_THAT(publish_file(folder_.path() / "file", "text", {.write = ::write, .fsync = lost_on_sync})
                  .error()
                  .message,
              HasSubstr("cannot sync"));
  EXPECT_FALSE(fs::exists(folder_.path() / "file"));
}

// The kernel's own refusal, as on a full disk.
TEST_F(CubinStoreTest, FileSizeLimitIsAnError) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{2048, 2048};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) ::_exit(2);
    ::_exit(!store_.publish(kernel(1)) && files_below(store_.folder()) == 0 ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

TEST(CubinStoreOpen, UnwritableFolderIsAnError) {
  const ScopedFolder folder;
  std::ofstream(folder.path() / "file") << "x";
  const auto opened = CubinStore::open(folder.path() / "file" / "cubins");  // holds for root too
  ASSERT_FALSE(opened);
  EXPECT_THAT(opened.error().message, AllOf(HasSubstr("cannot create"), HasSubstr("ATTUNE_CACHE_DIR")));
  if (::geteuid() == 0) GTEST_SKIP() << "root may write anywhere: the read-only folder is not tried";
  ::chmod(folder.path().c_str(), 0500);
  EXPECT_FALSE(CubinStore::open(folder.path()));
  ::chmod(folder.path().c_str(), 0700);
}

TEST(CubinStoreOpen, DefaultFolderFollowsTheEnvironment) {
  const ScopedVariable home("HOME", "/home/somebody");
  const ScopedVariable cache("XDG_CACHE_HOME", "");
  const ScopedVariable attune("ATTUNE_CACHE_DIR", "");
  EXPECT_EQ(CubinStore::default_folder(), "/home/somebody/.cache/attune/cubins");
  const ScopedVariable other("XDG_CACHE_HOME", "/cache");
  EXPECT_EQ(CubinStore::default_folder(), "/cache/attune/cubins");
  const ScopedVariable ours("ATTUNE_CACHE_DIR", "/ours");
  EXPECT_EQ(CubinStore::default_folder(), "/ours/cubins");
}

}  // namespace
}  // namespace attune
