#include "cache/transfer.h"

#include <istream>
#include <nlohmann/json.hpp>
#include <ostream>

#include "base/json_text.h"
#include "cache/trial_json.h"

namespace attune {
namespace {

using nlohmann::json;

constexpr const char* kExportFormat = "attune-trials";
constexpr int kVersion = 1;

// Reads a file line by line; what is wrong is told with the line.
class ImportReader {
 public:
  ImportReader(std::istream& in, const std::string& name) : in_(in), name_(name) {}

  Status read_header() {
    auto line = next_line();
    if (!line) return line.error();
    const auto format = line->find("format");
    if (format == line->end() || *format != kExportFormat || !line->contains("version")) {
      return wrong("is not an export of attune trials (the first line must name the format)");
    }
    if (line->at("version") != kVersion) {
      return wrong(fmt::format("has version {} of the format, this attune reads version {}",
                               line->at("version").dump(), kVersion));
    }
    return {};
  }

  Result<std::optional<Trial>> next() {
    auto line = next_line();
    if (!line) return line.error();
    if (line->contains("end")) {
      if (auto status = check_end(*line); !status) return status.error();
      return std::optional<Trial>();
    }
    auto trial = trial_from_json(*line);
    if (!trial) return wrong(trial.error().message);
    trial->id = 0;
    ++trials_;
    return std::optional<Trial>(*std::move(trial));
  }

  std::int64_t trials() const { return trials_; }

 private:
  Error wrong(const std::string& why) const {
    return fail("{} line {}: {}; nothing was imported", name_, line_, why);
  }

  Result<json> next_line() {
    ++line_;
    std::string text;
    if (!std::getline(in_, text)) {
      if (in_.bad()) return wrong("cannot be read");
      return wrong("is missing: the file is cut short; export it again");
    }
    json line = parse_outside_json(text);
    if (line.is_object()) return line;
    if (in_.eof()) return wrong("is cut short; export it again");
    return wrong("is not a JSON object");
  }

  Status check_end(const json& line) {
    if (line != json{{"end", true}, {"trials", trials_}}) {
      return wrong(
          fmt::format("the end does not fit the {} trials before it; export the file again", trials_));
    }
    if (in_.peek() != std::istream::traits_type::eof()) {
      ++line_;
      return wrong("comes after the end; export the file again");
    }
    return {};
  }

  std::istream& in_;
  const std::string& name_;
  std::int64_t line_ = 0;
  std::int64_t trials_ = 0;
};

}  // namespace

Result<std::int64_t> export_trials(const TrialStore& store, const TrialFilter& filter, std::ostream& out,
                                   const std::string& name) {
  const auto cannot_write = [&name] {
    return fail("{}: cannot be written; is the disk full? Free space or name another file", name);
  };
  std::int64_t trials = 0;
  out << json{{"format", kExportFormat}, {"version", kVersion}}.dump() << '\n';
  const auto status = store.visit(filter, [&](const Trial& trial) -> Status {
    Trial portable = trial;
    portable.id = 0;
    out << to_json_line(portable) << '\n';
    ++trials;
    if (!out) return cannot_write();
    return {};
  });
  if (!status) return status.error();
  out << json{{"end", true}, {"trials", trials}}.dump() << '\n';
  out.flush();
  if (!out) return cannot_write();
  return trials;
}

Result<std::int64_t> check_export(std::istream& in, const std::string& name) {
  ImportReader reader(in, name);
  if (auto status = reader.read_header(); !status) return status.error();
  for (;;) {
    const auto trial = reader.next();
    if (!trial) return trial.error();
    if (!*trial) return reader.trials();
  }
}

Result<ImportSummary> import_trials(TrialStore& store, std::istream& in, const std::string& name) {
  ImportReader reader(in, name);
  if (auto status = reader.read_header(); !status) return status.error();
  auto added = store.add_new([&reader] { return reader.next(); });
  if (!added) return added.error();
  return ImportSummary{.read = reader.trials(), .added = *added};
}

}  // namespace attune
