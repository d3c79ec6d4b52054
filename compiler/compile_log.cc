#include "compiler/compile_log.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>

namespace attune {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// The number right before `unit`: number_before("Used 10 registers", " registers") is 10.
std::optional<std::int64_t> number_before(std::string_view line, std::string_view unit) {
  const auto end = line.find(unit);
  if (end == std::string_view::npos) return std::nullopt;
  auto begin = end;
  while (begin > 0 && is_digit(line[begin - 1])) --begin;
  std::int64_t value = 0;
  const auto parsed = std::from_chars(line.data() + begin, line.data() + end, value);
  if (parsed.ec != std::errc() || parsed.ptr != line.data() + end) return std::nullopt;
  return value;
}

// What stands between `before` and `after`, if the line has both.
std::optional<std::string_view> between(std::string_view line, std::string_view before,
                                        std::string_view after) {
  const auto at = line.find(before);
  if (at == std::string_view::npos) return std::nullopt;
  line.remove_prefix(at + before.size());
  const auto end = after.empty() ? line.size() : line.find(after);
  if (end == std::string_view::npos) return std::nullopt;
  return line.substr(0, end);
}

template <class Function>
void for_each_line(std::string_view text, Function function) {
  while (!text.empty()) {
    const auto end = text.find('\n');
    std::string_view line = text.substr(0, end);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    function(line);
    if (end == std::string_view::npos) return;
    text.remove_prefix(end + 1);
  }
}

}  // namespace

// ptxas reports a kernel so (captured from NVRTC 13.0):
//   ptxas info    : Compiling entry function 'entry' for 'sm_90a'
//   ptxas info    : Function properties for entry
//   ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
//   ptxas info    : Used 10 registers, used 1 barriers, 1024 bytes smem
// and, after a kernel's, the properties of the device functions it calls.
ResourceUsage parse_resources(std::string_view log, std::string_view entry) {
  ResourceUsage usage;
  std::string_view kernel;    // whose "Used" line comes
  std::string_view function;  // whose properties come
  for_each_line(log, [&](std::string_view line) {
    if (const auto name = between(line, "Compiling entry function '", "'")) {
      kernel = *name;
      return;
    }
    if (const auto name = between(line, "Function properties for ", "")) {
      function = *name;
      return;
    }
    if (function == entry && line.find("bytes stack frame") != std::string_view::npos) {
      usage.stack_bytes = number_before(line, " bytes stack frame").value_or(0);
      usage.spill_store_bytes = number_before(line, " bytes spill stores").value_or(0);
      usage.spill_load_bytes = number_before(line, " bytes spill loads").value_or(0);
      return;
    }
    if (kernel == entry && line.find(": Used ") != std::string_view::npos) {
      usage.registers = static_cast<int>(number_before(line, " registers").value_or(0));
      usage.static_smem_bytes = number_before(line, " bytes smem").value_or(0);
      kernel = {};
    }
  });
  return usage;
}

std::vector<std::string> parse_warnings(std::string_view log) {
  constexpr std::string_view kHarmless = "C7519";
  constexpr std::size_t kLength = 7;  // "(C7508)"
  std::vector<std::string> codes;
  for (auto at = log.find("(C75"); at != std::string_view::npos; at = log.find("(C75", at + 1)) {
    const std::string_view text = log.substr(at, kLength);
    if (text.size() < kLength || !is_digit(text[4]) || !is_digit(text[5]) || text[6] != ')') continue;
    const std::string_view code = text.substr(1, 5);
    if (code != kHarmless && std::find(codes.begin(), codes.end(), code) == codes.end())
      codes.emplace_back(code);
  }
  return codes;
}

std::string trimmed_log(std::string_view log) {
  std::string kept;
  for_each_line(log.substr(0, log.find('\0')), [&](std::string_view line) {
    if (line.find("ptxas info    : Compile time = ") != std::string_view::npos) return;
    kept += line;
    kept += '\n';
  });
  const auto begin = kept.find_first_not_of(" \n\t");
  if (begin == std::string::npos) return "";
  return kept.substr(begin, kept.find_last_not_of(" \n\t") - begin + 1);
}

}  // namespace attune
