#include "autotuner/recording.h"

#include <gmock/gmock.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "autotuner/gzip.h"
#include "tests/autotuner/recording_fixture.h"

namespace attune {
namespace {

using namespace testing_recordings;
using testing::AnyOf;
using testing::HasSubstr;

std::string recorded_bytes() {
  return *to_recording(recorded_origin(), recorded_trials(recorded_template_space()));
}

// The recording with its text changed.
std::string edited(const std::function<void(std::string&)>& edit) {
  std::string text = *gunzip(recorded_bytes());
  edit(text);
  return gzip(text);
}

std::string error_of(std::string_view bytes) {
  const Result<Recording> recording = parse_recording(bytes, "r");
  return recording ? "" : recording.error().message;
}

TEST(Recording, RoundTripsAllThatIsKept) {
  std::vector<Trial> trials = recorded_trials(recorded_template_space());
  const Result<Recording> recording = parse_recording(recorded_bytes(), "small");
  ASSERT_TRUE(recording) << recording.error().message;
  EXPECT_EQ(recording->info.name, "small");
  EXPECT_EQ(recording->info.origin, recorded_origin());
  EXPECT_EQ(recording->info.recorded_at, "2026-11-22T01:25:48Z");
  EXPECT_EQ(recording->info.device, trials[0].device);
  EXPECT_EQ(recording->info.shape, trials[0].shape);
  EXPECT_EQ(recording->info.trials, trials.size());
  ASSERT_EQ(recording->trials.size(), trials.size());

  std::sort(trials.begin(), trials.end(),
            [](const Trial& a, const Trial& b) { return a.config_json < b.config_json; });
  for (std::size_t i = 0; i < trials.size(); ++i) {
    Trial expected = trials[i];
    Trial got = recording->trials[i];
    EXPECT_EQ(got.config_hash, config_hash(expected.config_json));
    ASSERT_EQ(got.timing.has_value(), expected.timing.has_value());
    if (got.timing) {
      EXPECT_NEAR(got.timing->median_us, expected.timing->median_us, 5e-4);
      EXPECT_NEAR(*got.relative_error, *expected.relative_error, 1e-6);
    }
    EXPECT_NEAR(got.compile_ms, expected.compile_ms, 0.5);
    for (Trial* trial : {&expected, &got}) {  // what is not kept, or rounded
      trial->timing.reset();
      trial->relative_error.reset();
      trial->compile_ms = 0;
      trial->strategy = trial->session = trial->cubin_key = "";
    }
    EXPECT_EQ(got, expected);
  }
}

TEST(Recording, SameTrialsInAnyOrderGiveTheSameBytes) {
  std::vector<Trial> trials = recorded_trials(recorded_template_space());
  std::reverse(trials.begin(), trials.end());
  EXPECT_EQ(*to_recording(recorded_origin(), trials), recorded_bytes());
  const Recording recording = *parse_recording(recorded_bytes(), "r");
  EXPECT_EQ(*to_recording(recorded_origin(), recording.trials), recorded_bytes()) << "written again";
  EXPECT_LT(recorded_bytes().size(), trials.size() * 60) << "bytes a trial";
}

TEST(Recording, TheNewestTrialOfAConfigStands) {
  std::vector<Trial> trials = recorded_trials(recorded_template_space());
  Trial again = trials[0];
  again.created_at = "2026-11-22T02:00:00Z";
  again.timing->median_us = 77;
  trials.insert(trials.begin(), again);
  const Recording recording = *parse_recording(*to_recording(recorded_origin(), trials), "r");
  EXPECT_EQ(recording.trials.size(), trials.size() - 1);
  EXPECT_EQ(recording.info.recorded_at, again.created_at);
  for (const Trial& trial : recording.trials) {
    EXPECT_EQ(trial.config_hash == again.config_hash, trial.timing && trial.timing->median_us == 77);
  }
}

TEST(Recording, TrialsThatDoNotBelongTogetherMakeNone) {
  const auto error = [](const std::function<void(Trial&)>& spoil) {
    std::vector<Trial> trials = recorded_trials(recorded_template_space());
    spoil(trials[3]);
    const auto bytes = to_recording(recorded_origin(), trials);
    return bytes ? "" : bytes.error().message;
  };
  EXPECT_THAT(error([](Trial& t) { t.shape.batch = 2; }), HasSubstr("of one shape, these trials have two"));
  EXPECT_THAT(error([](Trial& t) { t.device.sm_count = 114; }), HasSubstr("of one device"));
  EXPECT_THAT(error([](Trial& t) { t.template_hash = "x"; }), HasSubstr("of one template_hash"));
  EXPECT_THAT(error([](Trial& t) { t.policy.cold_l2 = false; }), HasSubstr("of one policy"));
  EXPECT_THAT(error([](Trial& t) { t.replayed = true; }), HasSubstr("itself replayed"));
  EXPECT_THAT(error([](Trial& t) { t.timing->median_us = -1; }), HasSubstr("finite and positive"));
  EXPECT_THAT(to_recording({}, {}).error().message, HasSubstr("no trials"));
}

TEST(Recording, CutShortAnywhereIsSaid) {
  const std::string bytes = recorded_bytes();
  ASSERT_GT(bytes.size(), 4000U);
  for (std::size_t size = 0; size < bytes.size(); size += 97) {
    const std::string message = error_of(bytes.substr(0, size));
    EXPECT_THAT(message, AnyOf(HasSubstr("recording r is cut short: copy it again"),
                               HasSubstr("recording r is not gzip data")))
        << size;
    EXPECT_EQ(message.find('\n'), std::string::npos);
  }
  EXPECT_THAT(error_of(bytes.substr(0, bytes.size() - 1)), HasSubstr("cut short"));
}

TEST(Recording, CutShortBeforeItWasPackedIsSaidToo) {
  const std::string text = *gunzip(recorded_bytes());
  for (std::size_t size = 0; size < text.size(); size += 1000) {
    const std::string message = error_of(gzip(text.substr(0, size)));
    EXPECT_NE(message, "");
    EXPECT_EQ(message.find('\n'), std::string::npos);
  }
  EXPECT_THAT(error_of(edited([](std::string& t) { t.resize(t.find("{\"end\"")); })),
              HasSubstr("is cut short after"));
}

TEST(Recording, DamageAnywhereIsSaid) {
  const std::string bytes = recorded_bytes();
  for (std::size_t at = 10; at < bytes.size(); at += 211) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x55);
    EXPECT_NE(error_of(damaged), "") << at;
  }
  EXPECT_THAT(error_of(bytes + "more"), HasSubstr("damaged: 4 bytes follow"));
  EXPECT_THAT(error_of("hello"), HasSubstr("not gzip data"));
}

TEST(Recording, WrongContentsAreSaidWithTheLine) {
  const auto replaced = [](const std::string& from, const std::string& to) {
    return error_of(edited([&](std::string& text) { text.replace(text.find(from), from.size(), to); }));
  };
  EXPECT_THAT(replaced("\"version\":1", "\"version\":2"),
              HasSubstr("has version 2 of the format, this attune reads 1"));
  EXPECT_THAT(replaced("attune-recording", "something-else"), HasSubstr("is not an attune recording"));
  EXPECT_THAT(replaced("{\"end\":", "{\"end\":1"), HasSubstr("its last line says"));
  EXPECT_THAT(replaced("\"trials\":", "\"trials\":1"), HasSubstr("its header says"));
  EXPECT_THAT(replaced("\"commit\"", "\"comet\""), HasSubstr("wrong header"));
  EXPECT_THAT(replaced("\"outcome\":\"ok\"", "\"outcome\":\"odd\""), HasSubstr("line 2"));
  EXPECT_THAT(replaced("\"samples\":30", "\"samples\":\"x\""), HasSubstr("line 2"));
  const std::string twice = error_of(edited([](std::string& text) {
    const std::size_t begin = text.find('\n') + 1;
    const std::string line = text.substr(begin, text.find('\n', begin) + 1 - begin);
    text.insert(begin, line);
  }));
  EXPECT_THAT(twice, HasSubstr("line 3: its config is there twice"));
}

TEST(Recording, ItsSpaceIsTheRecordedGrid) {
  const Space space = recorded_template_space();
  const Recording recording = *parse_recording(recorded_bytes(), "r");
  const Result<Space> recorded = recorded_space(space, recording);
  ASSERT_TRUE(recorded) << recorded.error().message;
  EXPECT_EQ(recorded->count(), recording.trials.size());
  EXPECT_EQ(recorded->axes()[2].values.size(), 2U);  // 4 and 8 warps
  const Point point = recorded->at(0);
  EXPECT_EQ(space.canonical(*space.point(recorded->config(point))), recorded->canonical(point));

  Recording foreign = recording;
  for (Trial& trial : foreign.trials) trial.config_json = R"({"colour":"red"})";
  EXPECT_THAT(recorded_space(space, foreign).error().message, HasSubstr("none of the configs"));
  foreign.trials[0] = recording.trials[0];
  EXPECT_EQ(recorded_space(space, foreign)->count(), 1U);
}

TEST(Recording, StalenessIsSaidWithBothHashes) {
  const Recording recording = *parse_recording(recorded_bytes(), "r");
  EXPECT_EQ(staleness(recording.info, recording.info.template_hash), "");
  EXPECT_THAT(staleness(recording.info, "feedfacefeedface"), HasSubstr("0123456789ab, now feedfacefeed"));
}

class RecordingFolder : public testing::Test {
 protected:
  RecordingFolder() {
    folder_ = std::filesystem::temp_directory_path() / ("attune-recordings-" + std::to_string(getpid()));
    std::filesystem::create_directories(folder_);
    setenv("ATTUNE_RECORDINGS", folder_.c_str(), 1);
  }
  ~RecordingFolder() override {
    unsetenv("ATTUNE_RECORDINGS");
    std::filesystem::remove_all(folder_);
  }
  void write(const std::string& file, const std::string& bytes) {
    std::ofstream(folder_ / file, std::ios::binary) << bytes;
  }
  std::filesystem::path folder_;
};

TEST_F(RecordingFolder, ComesBeforeTheBinary) {
  const auto embedded = recordings();
  ASSERT_TRUE(embedded) << embedded.error().message;
  const std::string name = embedded->front().name;
  write(name + ".jsonl.gz", recorded_bytes());
  const auto recording = read_recording(name);
  ASSERT_TRUE(recording) << recording.error().message;
  EXPECT_EQ(recording->info.path, (folder_ / (name + ".jsonl.gz")).string());
}

TEST_F(RecordingFolder, IsListedAndReadByNameOrPath) {
  write("mine.jsonl.gz", recorded_bytes());
  write("notes.txt", "not a recording");
  const auto infos = recordings();
  ASSERT_TRUE(infos) << infos.error().message;
  ASSERT_FALSE(infos->empty());
  EXPECT_EQ(infos->front().name, "mine");
  EXPECT_EQ(infos->front().path, (folder_ / "mine.jsonl.gz").string());
  EXPECT_EQ(infos->front().device.name, "NVIDIA H100 80GB HBM3");
  for (const std::string& name : {std::string("mine"), (folder_ / "mine.jsonl.gz").string()}) {
    const auto recording = read_recording(name);
    ASSERT_TRUE(recording) << recording.error().message;
    EXPECT_EQ(recording->trials.size(), infos->front().trials);
  }
  EXPECT_THAT(read_recording("yours").error().message,
              AllOf(HasSubstr("no recording 'yours'; there are: "), HasSubstr("mine")));
  EXPECT_THAT(read_recording("/no/such/file").error().message, HasSubstr("cannot read"));
}

TEST_F(RecordingFolder, AFileThatIsBrokenOrAFolderThatIsNotThereIsAnError) {
  write("broken.jsonl.gz", recorded_bytes().substr(0, 20));
  EXPECT_THAT(recordings().error().message, HasSubstr("broken is cut short"));
  setenv("ATTUNE_RECORDINGS", "/no/such/folder", 1);
  EXPECT_THAT(recordings().error().message, HasSubstr("/no/such/folder"));
}

}  // namespace
}  // namespace attune
