// Kernel Tuner's cache files and T4 results from other people: `attune strategies score --space FILE`.
#include "autotuner/foreign_space.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace attune;
  const auto space = parse_foreign_space(text_of(data, size), "fuzzed");
  if (!space) {
    must_be_one_line(space.error());
    return 0;
  }
  must(space->space().count() == space->sorted_us().size(), "every config of the space has a time");
  for (const ForeignFormat format : {ForeignFormat::kernel_tuner, ForeignFormat::t4}) {
    const std::string text = to_foreign(*space, format, "kernel", "2026-01-01T00:00:00Z");
    const auto again = parse_foreign_space(text, "written");
    must(again.ok(), "what was written can be read", again ? "" : again.error().message);
    must(again->sorted_us().size() == space->sorted_us().size(), "no config is lost on the way", text);
  }
  return 0;
}
