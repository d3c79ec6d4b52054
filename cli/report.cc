// attune report: what is stored, as one HTML file to look at.
#include <memory>
#include <nlohmann/json.hpp>

#include "cache/location.h"
#include "cli/command.h"
#include "cli/database_flag.h"
#include "cli/shape_options.h"
#include "cli/text.h"
#include "cli/version.h"
#include "cli/write_file.h"
#include "dashboard/data.h"
#include "dashboard/page.h"

namespace attune::cli {
namespace {

constexpr const char* kReportExamples = R"(Examples:
  attune report --html report.html
  attune report --html report.html --shape 4,32,4096,128 --template portable

One file that needs no network: mail it, or attach it to a change. docs/dashboard.md says how to read it.)";

struct ReportFlags {
  ShapeFlags shape;
  std::string html;
  std::string database;
  std::string template_name;
  std::string gpu_name;
  std::string session;
};

Result<TrialFilter> filter_of(const ReportFlags& flags) {
  TrialFilter filter;
  filter.template_name = flags.template_name;
  filter.gpu_name = flags.gpu_name;
  filter.session = flags.session;
  if (flags.shape.shape.empty()) return filter;
  const auto shape = parse_shape(flags.shape);
  if (!shape) return shape.error();
  filter.shape = *shape;
  return filter;
}

int run_report(const ReportFlags& flags) {
  const auto filter = filter_of(flags);
  if (!filter) return usage_error(filter.error());
  const std::string database = database_location(flags.database);
  const auto store = open_existing(database);
  if (!store) return failed(store.error());
  auto data = dashboard_data(**store, *filter);
  if (!data) return failed(data.error());
  const auto trials = (*data)["trials"]["count"].get<std::int64_t>();
  const auto records = static_cast<std::int64_t>((*data)["records"].size());
  if (trials == 0) {
    return failed(
        fail("no trials that match are stored in {}; `attune cache ls` shows what is", shown(database)));
  }
  const std::string source =
      is_server(database) ? shown(database) : std::filesystem::path(database).filename().string();
  (*data)["source"] = source;
  (*data)["attune"] = kVersion;
  const std::string html = report_page(*data, source + " · attune");
  if (auto status = write_file(flags.html, html); !status) return failed(status.error());
  fmt::print("{}: {} and {}, {}\n", flags.html, count_of(trials, "trial", "trials"),
             count_of(records, "record", "records"), byte_size(static_cast<std::int64_t>(html.size())));
  return kOk;
}

}  // namespace

Action configure_report(CLI::App& app) {
  auto flags = std::make_shared<ReportFlags>();
  app.add_option("--html", flags->html, "Where to write the page")->required()->type_name("FILE");
  add_shape_flags(app, flags->shape, false);
  for (const char* part : {"--kv-heads", "--kv-len", "--causal", "--dtype", "--layout", "--lse"})
    app.get_option(part)->needs("--shape");
  app.add_option("--template", flags->template_name, "Only trials of this template")->type_name("NAME");
  app.add_option("--gpu-name", flags->gpu_name, "Only trials of this device")->type_name("NAME");
  app.add_option("--session", flags->session, "Only trials of this run")->type_name("ID");
  add_database_flag(app, flags->database);
  app.footer(kReportExamples);
  return [flags] { return run_report(*flags); };
}

}  // namespace attune::cli
