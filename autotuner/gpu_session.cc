#include "autotuner/gpu_session.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "autotuner/sampler.h"
#include "compiler/driver.h"
#include "compiler/nvml.h"

namespace attune {
namespace {

// Rung one of a measurement: so many samples, and whoever is this much slower than the best is dropped.
constexpr int kFirstRungSamples = 3;
constexpr double kDropRatio = 1.3;
constexpr int kBatchSamples = 6;
constexpr int kStabilityRepeats = 20;
constexpr int kWarmUpMs = 150;

// Only one process times a GPU. The lock goes with the process, however it ends.
Result<int> lock_gpu(const std::string& pci_bus_id) {
  std::string name = pci_bus_id;
  for (char& c : name) {
    if (c == ':' || c == '.') c = '-';
  }
  std::error_code ignored;
  const auto path = std::filesystem::temp_directory_path(ignored) / ("attune-gpu-" + name + ".lock");
  const int fd = ::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0666);
  if (fd < 0) return fail("cannot open the GPU's lock file {}: {}", path.string(), std::strerror(errno));
  while (::flock(fd, LOCK_EX) != 0) {
    if (errno == EINTR) continue;
    const int code = errno;
    ::close(fd);
    return fail("cannot lock {}: {}", path.string(), std::strerror(code));
  }
  return fd;
}

// A candidate on the device: loaded, bound to inputs, launchable.
struct Loaded {
  Module module;
  Kernel kernel;
  KernelLaunch launch;
  DeviceBuffer workspace;
  KernelArgument normal, large;
};

class Session final : public GpuSession {
 public:
  static Result<std::unique_ptr<GpuSession>> open(const WorkerSetup& setup) {
    auto driver = Driver::open();
    if (!driver) return driver.error();
    auto facts = (*driver)->device_facts(setup.gpu);
    if (!facts) return facts.error();
    auto tmpl = find_template(setup.template_name);
    if (!tmpl) return tmpl.error();
    auto session = std::unique_ptr<Session>(new Session(setup, *facts, **tmpl));
    if (auto bus = (*driver)->pci_bus_id(setup.gpu)) {
      auto lock = lock_gpu(*bus);
      if (!lock) return lock.error();
      if (auto nvml = Nvml::open(*bus)) session->nvml_ = std::move(*nvml);
    }
    if (auto status = session->prepare(**driver, setup); !status) return status.error();
    return {std::move(session)};
  }

  const SpaceDefinition& space() const override { return space_; }
  bool lost() const override { return lost_; }

  Measurement evaluate(const Candidate& candidate, std::optional<double> incumbent_us) override {
    Measurement measurement;
    auto loaded = load(candidate, Inputs::normal);
    if (!loaded) return failed(std::move(measurement), loaded.error());
    const auto launch = [&] { return launch_on(*loaded, Inputs::normal); };
    if (!verified(Inputs::normal, launch, measurement)) return measurement;
    auto samples = time_in_rungs(launch, incumbent_us, measurement.outcome);
    if (!samples) return failed(std::move(measurement), samples.error());
    measurement.timing = summarize(std::move(*samples));
    if (measurement.outcome == Outcome::slow) {
      measurement.message =
          fmt::format("dropped after {} samples: {:.2f}x the best", measurement.timing->samples,
                      measurement.timing->median_us / *incumbent_us);
    }
    note_clocks(measurement);
    return measurement;
  }

  std::vector<Measurement> shoot_out(const std::vector<Candidate>& candidates, int rounds) override {
    std::vector<Measurement> measurements(candidates.size());
    std::vector<std::optional<Loaded>> loaded(candidates.size());
    for (std::size_t i = 0; i < candidates.size() && !lost_; ++i) {
      loaded[i] = qualify(candidates[i], measurements[i]);
    }
    std::vector<std::vector<double>> samples(candidates.size());
    for (int round = 0; round < rounds && !lost_; ++round) {
      for (std::size_t i = 0; i < candidates.size(); ++i) {
        if (!loaded[i]) continue;
        auto sample = sampler_->sample(*stream_, verifier_->ranges(Inputs::normal), 1,
                                       [&] { return launch_on(*loaded[i], Inputs::normal); });
        if (sample) {
          samples[i].push_back(sample->front());
        } else {
          measurements[i] = failed(std::move(measurements[i]), sample.error());
          loaded[i].reset();
        }
      }
    }
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      if (!loaded[i] || samples[i].empty()) continue;
      measurements[i].timing = summarize(std::move(samples[i]));
      note_clocks(measurements[i]);
    }
    return measurements;
  }

 private:
  Session(const WorkerSetup& setup, DeviceFacts facts, const AttentionTemplate& tmpl)
      : shape_(setup.shape), facts_(std::move(facts)), template_(tmpl), space_(tmpl.space(shape_, facts_)) {}

  Status prepare(const Driver& driver, const WorkerSetup& setup) {
    auto context = Context::retain(driver, setup.gpu);
    if (!context) return context.error();
    context_ = std::move(*context);
    if (auto status = context_->make_current(); !status) return status;
    auto stream = Stream::create(*context_);
    if (!stream) return stream.error();
    stream_ = std::move(*stream);
    auto support = Module::load_file(*context_, setup.cubins.support);
    if (!support) return support.error();
    support_ = std::move(*support);
    auto sampler = Sampler::create(*context_, facts_, *support_, setup.policy);
    if (!sampler) return sampler.error();
    sampler_ = std::move(*sampler);
    auto verifier = Verifier::create(*context_, *stream_, shape_, setup.cubins, *support_);
    if (!verifier) return verifier.error();
    verifier_ = std::move(*verifier);
    if (auto tensors = verifier_->tensors(Inputs::normal); !tensors) return tensors.error();
    return sampler_->warm_up(*stream_, kWarmUpMs);
  }

  Result<Loaded> load(const Candidate& candidate, Inputs inputs) {
    auto module = Module::load_file(*context_, candidate.cubin_path);
    if (!module) return module.error();
    auto kernel = module->kernel(candidate.entry);
    if (!kernel) return kernel.error();
    if (auto status = kernel->set_max_dynamic_smem(candidate.launch.smem_bytes); !status)
      return status.error();
    auto workspace = DeviceBuffer::allocate(*context_, candidate.launch.workspace_bytes);
    if (!workspace) return workspace.error();
    if (workspace->bytes() > 0) {
      if (auto status = workspace->fill(0, *stream_); !status) return status.error();
    }
    Loaded loaded{.module = std::move(*module),
                  .kernel = *kernel,
                  .launch = {},
                  .workspace = std::move(*workspace),
                  .normal = {},
                  .large = {}};
    loaded.launch = {.grid = candidate.launch.grid,
                     .block = candidate.launch.block,
                     .cluster = candidate.launch.cluster,
                     .smem_bytes = candidate.launch.smem_bytes,
                     .programmatic_dependent_launch = candidate.launch.programmatic_dependent_launch};
    auto argument = bind(candidate, loaded, inputs);
    if (!argument) return argument.error();
    (inputs == Inputs::normal ? loaded.normal : loaded.large) = *argument;
    return loaded;
  }

  Result<KernelArgument> bind(const Candidate& candidate, const Loaded& loaded, Inputs inputs) {
    auto tensors = verifier_->tensors(inputs);
    if (!tensors) return tensors.error();
    tensors->workspace = loaded.workspace.address();
    return template_.bind(shape_, candidate.config, candidate.launch, *tensors);
  }

  Status launch_on(const Loaded& loaded, Inputs inputs) const {
    const KernelArgument& argument = inputs == Inputs::normal ? loaded.normal : loaded.large;
    return loaded.kernel.launch(loaded.launch, std::span(argument.bytes).first(argument.size), *stream_);
  }

  // Sets outcome, message and errors; true when right.
  bool verified(Inputs inputs, const std::function<Status()>& launch, Measurement& measurement) {
    const auto verdict = verifier_->verify(inputs, launch);
    if (!verdict) {
      measurement = failed(std::move(measurement), verdict.error());
      return false;
    }
    measurement.relative_error = verdict->relative_error;
    measurement.max_abs_error = verdict->max_abs_error;
    measurement.outcome = verdict->right() ? Outcome::ok : Outcome::wrong_answer;
    measurement.message = verdict->message;
    return verdict->right();
  }

  // The hard part of a shoot-out's verification; the candidate if it passes.
  std::optional<Loaded> qualify(const Candidate& candidate, Measurement& measurement) {
    auto loaded = load(candidate, Inputs::normal);
    if (!loaded) {
      measurement = failed(std::move(measurement), loaded.error());
      return {};
    }
    auto large = bind(candidate, *loaded, Inputs::large_logits);
    if (!large) {
      measurement = failed(std::move(measurement), large.error());
      return {};
    }
    loaded->large = *large;
    const auto on_large = [&] { return launch_on(*loaded, Inputs::large_logits); };
    if (!verified(Inputs::large_logits, on_large, measurement)) return {};
    const auto on_normal = [&] { return launch_on(*loaded, Inputs::normal); };
    if (!verified(Inputs::normal, on_normal, measurement)) return {};
    const auto unstable = verifier_->count_unstable(Inputs::normal, kStabilityRepeats, on_normal);
    if (!unstable) {
      measurement = failed(std::move(measurement), unstable.error());
      return {};
    }
    if (*unstable > 0) {
      measurement.outcome = Outcome::wrong_answer;
      measurement.message =
          fmt::format("{} of {} repeats differ in some bit: a race", *unstable, kStabilityRepeats);
      return {};
    }
    return std::move(*loaded);
  }

  Result<std::vector<double>> time_in_rungs(const std::function<Status()>& launch,
                                            std::optional<double> incumbent_us, Outcome& outcome) {
    const auto ranges = verifier_->ranges(Inputs::normal);
    auto samples = sampler_->sample(*stream_, ranges, kFirstRungSamples, launch);
    if (!samples) return samples.error();
    if (incumbent_us && summarize(*samples).median_us > kDropRatio * *incumbent_us) {
      outcome = Outcome::slow;
      return samples;
    }
    while (!StoppingRule::enough(*samples)) {
      const auto more = sampler_->sample(*stream_, ranges, kBatchSamples, launch);
      if (!more) return more.error();
      samples->insert(samples->end(), more->begin(), more->end());
    }
    return samples;
  }

  Measurement failed(Measurement measurement, const Error& error) {
    if (is_sticky(error)) lost_ = true;
    measurement.outcome = Outcome::launch_fault;
    measurement.message = error.message;
    measurement.timing.reset();
    return measurement;
  }

  void note_clocks(Measurement& measurement) const {
    if (!nvml_) return;
    const GpuState state = nvml_->sample();
    measurement.sm_clock_mhz = state.sm_clock_mhz;
    measurement.throttle = state.throttle;
  }

  const Shape shape_;
  const DeviceFacts facts_;
  const AttentionTemplate& template_;
  const SpaceDefinition space_;
  std::optional<Nvml> nvml_;
  // In order of dependence: what is below is destroyed first.
  std::optional<Context> context_;
  std::optional<Stream> stream_;
  std::optional<Module> support_;
  std::optional<Sampler> sampler_;
  std::optional<Verifier> verifier_;
  bool lost_ = false;
};

}  // namespace

Result<std::unique_ptr<GpuSession>> GpuSession::open(const WorkerSetup& setup) {
  return Session::open(setup);
}

}  // namespace attune
