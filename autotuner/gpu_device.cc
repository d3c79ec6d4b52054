#include "autotuner/gpu_device.h"

#include <array>
#include <functional>
#include <future>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/worker_process.h"
#include "compiler/driver.h"
#include "embedded/support_kernels.h"
#include "templates/reference_attention.h"

namespace attune {
namespace {

using nlohmann::json;

Measurement lost(Outcome outcome, std::string message) {
  Measurement measurement;
  measurement.outcome = outcome;
  measurement.message = std::move(message);
  return measurement;
}

KernelSource support_source() {
  return {.name = "support_kernels.cu",
          .text = std::string(support_kernels().front().contents),
          .headers = {},
          .options = {},
          .entry = "fill_normal"};
}

}  // namespace

Result<DeviceFacts> gpu_facts(int gpu) {
  auto driver = Driver::open();
  if (!driver) return driver.error();
  const auto count = (*driver)->device_count();
  if (!count) return count.error();
  if (gpu < 0 || gpu >= *count) return fail("there is no GPU {}: the driver shows {}", gpu, *count);
  return (*driver)->device_facts(gpu);
}

Result<SupportCubins> compile_support(const Shape& shape, const std::string& arch, CompilePool& compiler) {
  // All at once: a tune waits for them before it begins.
  const auto compile = [&](std::string& path, const KernelSource& source) -> Status {
    const CompiledKernel kernel = compiler.compile(source, arch);
    if (kernel.outcome != CompileOutcome::ok)
      return fail("cannot compile {} for {}: {}", source.name, arch, kernel.log);
    path = compiler.store().cubin_path(kernel.key).string();
    return {};
  };
  const auto start = [&](std::string& path, KernelSource source) {
    return std::async(std::launch::async, compile, std::ref(path), std::move(source));
  };
  SupportCubins cubins;
  std::array compiles{start(cubins.reference, reference_source(shape, false)),
                      start(cubins.low_precision, reference_source(shape, true)),
                      start(cubins.support, support_source())};
  for (auto& done : compiles) {
    if (const Status status = done.get(); !status) return status.error();
  }
  return cubins;
}

// The worker, restarted as needed.
class GpuDevice::Connection {
 public:
  Connection(WorkerSetup setup, GpuDeviceOptions options)
      : setup_(std::move(setup)), options_(std::move(options)) {}

  struct Answer {
    std::optional<json> reply;  // absent: the worker died or hung on this request
    Outcome outcome = Outcome::launch_fault;
    std::string how;
  };

  // An Error: the worker cannot be brought up, or has died too often.
  Result<Answer> ask(const json& request, std::chrono::milliseconds timeout) {
    if (!worker_) {
      if (auto status = start(); !status) return status.error();
    }
    auto exchange = worker_->exchange(request.dump(), timeout);
    Answer answer;
    if (exchange.ending == WorkerProcess::Ending::answered) {
      answer.reply = json::parse(exchange.line, nullptr, false);
      if (answer.reply->is_discarded()) {
        bury();
        return Answer{
            .reply = {}, .outcome = Outcome::launch_fault, .how = "the worker's answer is unreadable"};
      }
      const bool broken = answer.reply->contains("error");
      if (broken || answer.reply->value("dying", false)) bury();
      if (broken)
        return fail("the GPU worker cannot go on: {}", answer.reply->at("error").get<std::string>());
      return answer;
    }
    bury();
    const bool hung = exchange.ending == WorkerProcess::Ending::timed_out;
    answer.outcome = hung ? Outcome::timeout : Outcome::launch_fault;
    answer.how = hung ? fmt::format("no answer within {} s; the worker was ended", timeout.count() / 1000)
                      : fmt::format("the worker was {}", exchange.line);
    return answer;
  }

 private:
  Status start() {
    if (deaths_ >= options_.max_worker_deaths) {
      return fail(
          "the GPU worker died {} times in this run: see attune cache ls for the configs it died of, and "
          "check the GPU",
          deaths_);
    }
    auto worker = WorkerProcess::start(options_.worker_command);
    if (!worker) return worker.error();
    const auto exchange = worker->exchange(to_json(setup_).dump(), options_.setup_timeout);
    if (exchange.ending != WorkerProcess::Ending::answered) {
      return fail("the GPU worker did not get ready: {}", exchange.line);
    }
    const json reply = json::parse(exchange.line, nullptr, false);
    if (reply.is_discarded())
      return fail("the GPU worker's answer is unreadable: is {} this program?",
                  options_.worker_command.front());
    if (reply.contains("error"))
      return fail("the GPU worker cannot start: {}", reply.at("error").get<std::string>());
    worker_ = std::move(*worker);
    return {};
  }

  void bury() {
    worker_.reset();
    ++deaths_;
  }

  const WorkerSetup setup_;
  const GpuDeviceOptions options_;
  std::optional<WorkerProcess> worker_;
  int deaths_ = 0;
};

GpuDevice::GpuDevice(DeviceFacts facts, WorkerSetup setup, GpuDeviceOptions options)
    : facts_(std::move(facts)),
      options_(std::move(options)),
      connection_(std::make_unique<Connection>(std::move(setup), options_)) {}

GpuDevice::~GpuDevice() = default;

Result<Measurement> GpuDevice::evaluate(const Candidate& candidate, std::optional<double> incumbent_us) {
  const json request{{"do", "evaluate"},
                     {"candidate", to_json(candidate)},
                     {"incumbent_us", incumbent_us ? json(*incumbent_us) : json(nullptr)}};
  const auto answer = connection_->ask(request, options_.evaluate_timeout);
  if (!answer) return answer.error();
  if (!answer->reply) return lost(answer->outcome, answer->how);
  return measurement_from_json(answer->reply->at("measurement"));
}

Result<std::vector<Measurement>> GpuDevice::shoot_out(const std::vector<Candidate>& candidates, int rounds) {
  json request{{"do", "shoot_out"}, {"candidates", json::array()}, {"rounds", rounds}};
  for (const Candidate& candidate : candidates) request["candidates"].push_back(to_json(candidate));
  const auto answer = connection_->ask(request, options_.shoot_out_timeout);
  if (!answer) return answer.error();
  std::vector<Measurement> measurements;
  if (!answer->reply) {
    return fail("the final comparison of the best configs failed ({}); their first measurements stand",
                answer->how);
  }
  for (const json& measurement : answer->reply->at("measurements")) {
    measurements.push_back(measurement_from_json(measurement));
  }
  return measurements;
}

}  // namespace attune
