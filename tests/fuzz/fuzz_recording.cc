// Recordings from other people: --device recorded:FILE, ATTUNE_RECORDINGS. Packed as it comes, and, since a
// fuzzer does not guess checksums, the text that is packed.
#include "autotuner/gzip.h"
#include "autotuner/recording.h"
#include "autotuner/replay_space.h"
#include "fuzz.h"
#include "templates/attention_template.h"

namespace attune {
namespace {

void replay(const Recording& recording) {
  const auto tmpl = find_template(recording.info.template_name);
  if (!tmpl || !(*tmpl)->supports(recording.info.shape, recording.info.device)) return;
  const Space space((*tmpl)->space(recording.info.shape, recording.info.device));
  const auto recorded = recorded_space(space, recording);
  if (!recorded) return must_be_one_line(recorded.error());
  must(recorded->count() <= recording.trials.size(), "only recorded configs are replayed");
  const auto replayed = ReplaySpace::make(space, recording, {});
  if (!replayed) must_be_one_line(replayed.error());
}

void read_it(std::string_view bytes) {
  const auto info = parse_recording_info(bytes, "fuzzed");
  if (!info) must_be_one_line(info.error());
  const auto recording = parse_recording(bytes, "fuzzed");
  if (!recording) return must_be_one_line(recording.error());
  must(info.ok(), "a recording whose lines can be read has a header that can");
  if (recording->trials.empty()) return;
  const auto again = to_recording(recording->info.origin, recording->trials);
  must(again.ok(), "what was read can be written", again ? "" : again.error().message);
  const auto reread = parse_recording(*again, "fuzzed");
  must(reread.ok(), "what was written can be read", reread ? "" : reread.error().message);
  must(*to_recording(reread->info.origin, reread->trials) == *again, "the same trials are the same bytes");
  replay(*recording);
}

}  // namespace
}  // namespace attune

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = attune::text_of(data, size);
  if (bytes.starts_with("\x1f\x8b")) {
    attune::read_it(bytes);
  } else {
    attune::read_it(attune::gzip(bytes));
  }
  return 0;
}
