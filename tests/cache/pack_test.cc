// Packs: what is written is what is read; what is damaged is refused; how they answer beside a database.
#include "cache/pack.h"

#include <algorithm>
#include <cstdlib>

#include "tests/cache/cache_fixture.h"

namespace attune {
namespace {

using testing::AllOf;
using testing::HasSubstr;

const MeasurementPolicy kPolicy;

class PackTest : public CacheTest {
 protected:
  PackTest() {
    unsetenv("ATTUNE_PACKS");
    setenv("XDG_CONFIG_HOME", folder_.c_str(),
           1);  // whom this machine's user trusts is not the tests' affair
  }
  ~PackTest() override {
    unsetenv("ATTUNE_PACKS");
    unsetenv("XDG_CONFIG_HOME");
  }

  // A record as it is stored, but for the hash of its config, which a pack works out.
  static Trial record(double median_us, std::int64_t length = 4096) {
    Trial trial = ok_trial(median_us);
    trial.config_hash = "9d9bb1de2e5bd4e4";
    trial.shape.q_len = trial.shape.kv_len = length;
    trial.final_round = true;
    return trial;
  }
  static PackInfo info() {
    return {.name = "",
            .path = "",
            .made_at = "2026-11-22T05:00:00Z",
            .attune = "0.1.0",
            .command = "sweep",
            .commit = "abc"};
  }
  static std::string bytes(std::vector<Trial> records) {
    const auto pack = to_pack(info(), std::move(records));
    EXPECT_TRUE(pack) << pack.error().message;
    return *pack;
  }
  static std::string refused(const std::string& text) {
    const auto pack = parse_pack(text, "mine");
    if (pack) return "";
    EXPECT_EQ(pack.error().message.find('\n'), std::string::npos);
    return pack.error().message;
  }
  static Packs one(std::vector<Trial> records, const std::string& name = "mine") {
    auto pack = parse_pack(bytes(std::move(records)), name);
    EXPECT_TRUE(pack) << pack.error().message;
    return {std::make_shared<const Pack>(*std::move(pack))};
  }
  static LookupAnswer must_look_up(const TrialStore* store, const Packs& packs,
                                   const Shape& shape = dense_shape(),
                                   const std::function<bool(const Trial&)>& legal = {}) {
    auto answer = lookup(store, packs, shape, h100(), kPolicy, "13.0", legal);
    EXPECT_TRUE(answer) << answer.error().message;
    return *std::move(answer);
  }
};

TEST_F(PackTest, WhatIsWrittenIsWhatIsRead) {
  std::vector<Trial> records{record(10, 512), record(20, 1024)};
  records[1].sm_clock_mhz = 1755;
  const std::string text = bytes(records);
  const auto pack = parse_pack(text, "mine");
  ASSERT_TRUE(pack) << pack.error().message;
  ASSERT_EQ(pack->records.size(), 2U);
  for (std::size_t i = 0; i < 2; ++i) {
    Trial expected = records[i];
    expected.config_hash = pack->records[i].config_hash;
    EXPECT_EQ(pack->records[i], expected);
  }
  EXPECT_EQ(pack->info.command, "sweep");
  EXPECT_EQ(bytes(pack->records), text) << "the same records, the same bytes";
  std::reverse(records.begin(), records.end());
  EXPECT_EQ(bytes(records), text) << "in whatever order";
}

TEST_F(PackTest, WhatIsNoRecordMakesNoPack) {
  EXPECT_FALSE(to_pack(info(), {}));
  EXPECT_FALSE(to_pack(info(), {failed_trial(Outcome::wrong_answer)}));
  EXPECT_THAT(to_pack(info(), {record(10), record(11)}).error().message, HasSubstr("two records"));
}

TEST_F(PackTest, CutDamagedAndForeignFilesAreRefusedInOneLine) {
  const std::string whole = bytes({record(10, 512), record(20, 1024)});
  for (std::size_t length = 0; length < whole.size(); length += 7)
    EXPECT_NE(refused(whole.substr(0, length)), "") << length;
  EXPECT_NE(refused(whole.substr(0, whole.size() - 1)), "");
  EXPECT_THAT(refused(whole + "x\n"), HasSubstr("goes on after its end"));
  std::string damaged = whole;
  damaged.replace(damaged.find("\"median_us\":10"), 14, "\"median_us\":11");
  EXPECT_THAT(refused(damaged), AllOf(HasSubstr("mine"), HasSubstr("damaged")));
  EXPECT_THAT(refused("PK\x03\x04 something else"), HasSubstr("not an attune pack"));
  EXPECT_THAT(refused("{\"format\":\"attune-trials\",\"version\":1}\n"), HasSubstr("not an attune pack"));
  EXPECT_THAT(refused("[1,2]\n"), HasSubstr("not an attune pack"));
  std::string newer = whole;
  newer.replace(newer.find("\"version\":1"), 11, "\"version\":9");
  EXPECT_THAT(refused(newer), HasSubstr("version 9"));
}

TEST_F(PackTest, AnswersExactlyAndNearly) {
  const Packs packs = one({record(10, 512), record(20, 1024)});
  Shape shape = dense_shape();
  shape.q_len = shape.kv_len = 1024;
  const LookupAnswer exact = must_look_up(nullptr, packs, shape);
  EXPECT_EQ(exact.provenance, Provenance::exact);
  EXPECT_EQ(exact.pack, "mine");
  EXPECT_EQ(exact.record->timing->median_us, 20);
  EXPECT_THAT(exact.reason, HasSubstr("from the pack mine"));
  shape.q_len = shape.kv_len = 640;
  const LookupAnswer near = must_look_up(nullptr, packs, shape);
  EXPECT_EQ(near.provenance, Provenance::near);
  EXPECT_EQ(near.record->shape.q_len, 512);
  EXPECT_EQ(must_look_up(nullptr, {}, shape).provenance, Provenance::none);
}

TEST_F(PackTest, WhatIsNotLegalIsPassedOver) {
  const Packs packs = one({record(10, 512), record(20, 1024)});
  Shape shape = dense_shape();
  shape.q_len = shape.kv_len = 512;
  const auto answer =
      must_look_up(nullptr, packs, shape, [](const Trial& trial) { return trial.shape.q_len > 512; });
  EXPECT_EQ(answer.record->shape.q_len, 1024);
  const auto none = must_look_up(nullptr, packs, shape, [](const Trial&) { return false; });
  EXPECT_EQ(none.provenance, Provenance::none);
}

TEST_F(PackTest, TheDatabaseAnswersBeforeAPackThatKnowsAsMuch) {
  auto store = open();
  must_add(*store, record(50));
  EXPECT_EQ(must_look_up(store.get(), one({record(10)})).pack, "") << "measured here, if slower";
  EXPECT_EQ(must_look_up(store.get(), one({record(10, 2048)})).pack, "");
}

TEST_F(PackTest, AnExactPackRecordBeatsANearOneOfTheDatabase) {
  auto store = open();
  must_add(*store, record(50, 2048));
  const auto answer = must_look_up(store.get(), one({record(10)}));
  EXPECT_EQ(answer.pack, "mine");
  EXPECT_EQ(answer.provenance, Provenance::exact);
  Shape shape = dense_shape();
  shape.q_len = shape.kv_len = 2304;
  EXPECT_EQ(must_look_up(store.get(), one({record(10)}), shape).pack, "")
      << "the database has the nearer one";
  shape.q_len = shape.kv_len = 3840;
  EXPECT_EQ(must_look_up(store.get(), one({record(10)}), shape).pack, "mine");
}

TEST_F(PackTest, MeasuredBeatsReplayedAndTheSameGpuAnother) {
  auto store = open();
  Trial replayed = record(5);
  replayed.replayed = true;
  must_add(*store, replayed);
  EXPECT_EQ(must_look_up(store.get(), one({record(10)})).pack, "mine");
  Trial other = record(5);
  other.device.name = "NVIDIA H100 PCIe";
  must_add(*store, other);
  EXPECT_EQ(must_look_up(store.get(), one({record(10)})).pack, "mine");
}

TEST_F(PackTest, ADriverChangeMakesAPackRecordStale) {
  DeviceFacts newer = h100();
  newer.driver = "590.1";
  const auto answer = lookup_in_packs(one({record(10)}), dense_shape(), newer, kPolicy, "13.0", {});
  EXPECT_TRUE(answer.stale);
  EXPECT_TRUE(answer.record) << "served all the same";
}

TEST_F(PackTest, FilesAndFoldersAreListed) {
  write_file(folder_ / "b.pack.jsonl", bytes({record(20)}));
  write_file(folder_ / "a.pack.jsonl", bytes({record(10)}));
  write_file(folder_ / "notes.txt", "no pack");
  const auto folder = packs(folder_.c_str());
  ASSERT_TRUE(folder) << folder.error().message;
  ASSERT_EQ(folder->size(), 2U);
  EXPECT_EQ(folder->at(0)->info.name, "a");
  const std::string file = (folder_ / "b.pack.jsonl").string();
  EXPECT_EQ(packs((file + ":" + folder_.string()).c_str())->at(0)->info.name, "b")
      << "in the order that was given";
  setenv("ATTUNE_PACKS", file.c_str(), 1);
  EXPECT_EQ(packs()->size(), 1U);
  EXPECT_TRUE(find_pack("b"));
  EXPECT_THAT(find_pack("c").error().message, HasSubstr("there are: b"));
  setenv("ATTUNE_PACKS", "", 1);
  EXPECT_EQ(packs()->size(), 0U);
  EXPECT_THAT(packs("/nonexistent/x.pack.jsonl").error().message, HasSubstr("/nonexistent/x.pack.jsonl"));
}

TEST_F(PackTest, ThoseThatComeWithAttuneAreWhole) {
  const auto builtin = packs("builtin");
  ASSERT_TRUE(builtin) << builtin.error().message;
  for (const auto& pack : *builtin) {
    EXPECT_FALSE(pack->records.empty());
    for (const Trial& trial : pack->records)
      EXPECT_FALSE(trial.replayed) << pack->info.name << " ships a replayed time";
  }
}

}  // namespace
}  // namespace attune
