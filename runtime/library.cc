#include "runtime/library.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>

#include "cache/location.h"
#include "compiler/nvrtc.h"
#include "runtime/caller_context.h"

namespace attune {
namespace {

namespace fs = std::filesystem;

constexpr int kServerPatienceMs = 2000;  // a program goes on without its database
constexpr std::chrono::milliseconds kCompileTimeout = std::chrono::minutes(2);

// How long a server may take to make a kernel: not long where this machine can make it itself.
constexpr double kServerSeconds = 10;
constexpr double kOnlyServerSeconds = 120;

// The named folder, or the default one; where that cannot be written, a folder of this user's own below /tmp.
Result<CubinStore> open_cubins(const LibraryOptions& options, std::string& warning) {
  if (options.cubins) return CubinStore::open(*options.cubins);
  auto store = CubinStore::open(CubinStore::default_folder());
  if (store) return store;
  std::error_code ignored;
  const fs::path temporary =
      fs::temp_directory_path(ignored) / fmt::format("attune-{}", ::geteuid()) / "cubins";
  warning = fmt::format("{}; compiled kernels go to {}", store.error().message, temporary.string());
  return CubinStore::open(temporary);
}

Shape in_other_order(Shape shape) {
  shape.layout = shape.layout == Layout::bhsd ? Layout::bshd : Layout::bhsd;
  return shape;
}

Result<int> resolve_device(const Driver& driver, int wanted) {
  const auto count = driver.device_count();
  if (!count) return count.error();
  if (wanted == ATTUNE_CURRENT_DEVICE) {
    const auto current = current_device(driver);
    if (!current) return current.error();
    wanted = current->value_or(0);
  }
  if (wanted < 0 || wanted >= *count) return fail("there is no GPU {}: the driver shows {}", wanted, *count);
  return wanted;
}

// CUDA_ERROR_NOT_INITIALIZED, even of cuInit() itself, is what every call gives in a child of a process that
// used CUDA, through this library or not (driver 580).
Reply no_gpu(const Error& error) {
  constexpr int kNotInitialized = 3;
  if (error.device_code != kNotInitialized) return reply(ATTUNE_NO_GPU, error);
  Reply forked = forked_reply();
  forked.text += " (" + error.message + ")";
  return forked;
}

}  // namespace

Library::Library(LibraryOptions options, CubinStore cubins)
    : options_(std::move(options)), cubins_(std::move(cubins)), failed_(options_.now) {}

Library::~Library() {
  if (!gpu_) return;
  const Context::Scope scope(gpu_->context);  // modules and memory are freed in their context
  kernels_.clear();
  modules_ = {};
}

Reply Library::open(LibraryOptions options, std::unique_ptr<Library>& library) {
  std::string warning;
  auto cubins = open_cubins(options, warning);
  if (!cubins) return reply(ATTUNE_INVALID_ARGUMENT, cubins.error());
  std::unique_ptr<Library> made(new Library(std::move(options), *std::move(cubins)));
  if (!warning.empty()) made->log(ATTUNE_LOG_WARNING, warning);
  if (auto opening = made->open_database(); !opening.ok()) return opening;
  if (auto opening = made->open_packs(); !opening.ok()) return opening;
  if (auto opening = made->open_gpu(); !opening.ok()) return opening;
  if (!made->options_.server.empty()) {
    const Library& raw = *made;
    made->server_.emplace(ServerClient::Settings{made->options_.server, made->options_.server_token,
                                                 made->cubins_.folder().parent_path() / "served"},
                          [&raw](const std::string& text) { raw.log(ATTUNE_LOG_WARNING, text); });
  }
  if (made->options_.queue_misses) {
    made->wanted_.emplace(
        made->options_.database.value_or(default_database()),
        [raw = made.get()](const std::string& text) { raw->log(ATTUNE_LOG_WARNING, text); });
  }
  library = std::move(made);
  return {};
}

Reply Library::open_database() {
  const std::string location = options_.database.value_or(default_database());
  if (!store_exists(location)) {
    if (options_.database) {
      return reply(ATTUNE_DATABASE, fail("there is no database {}; attune tune makes one", location));
    }
    log(ATTUNE_LOG_INFO,
        fmt::format("no database {} yet: shapes are served from packs, else their default", location));
    return {};
  }
  auto store = open_store(location, {.read_only = true, .server_patience_ms = kServerPatienceMs});
  if (!store && !options_.database && is_server(location)) {  // as a file that is not there yet
    log(ATTUNE_LOG_WARNING,
        store.error().message +
            "; until it is opened again, shapes are served from packs, else their default");
    return {};
  }
  if (!store) return reply(ATTUNE_DATABASE, store.error());
  store_ = *std::move(store);
  return {};
}

// A list that the program gave must be readable; what the environment or the binary holds is only told about.
Reply Library::open_packs() {
  auto found = packs(options_.packs ? options_.packs->c_str() : nullptr);
  if (found) {
    packs_ = *std::move(found);
    return {};
  }
  if (options_.packs) return reply(ATTUNE_DATABASE, found.error());
  log(ATTUNE_LOG_WARNING, found.error().message + "; no pack is served from");
  return {};
}

Reply Library::open_gpu() {
  const auto driver = Driver::open();
  if (!driver) return no_gpu(driver.error());
  const auto device = resolve_device(**driver, options_.device);
  if (!device) return no_gpu(device.error());
  auto facts = (*driver)->device_facts(*device);
  if (!facts) return cuda_reply(facts.error());
  auto context = Context::retain(**driver, *device);
  if (!context) return cuda_reply(context.error());
  const Context::Scope scope(*context);
  if (!scope.status()) return cuda_reply(scope.status().error());
  auto setup = Stream::create(*context);
  if (!setup) return cuda_reply(setup.error());
  log(ATTUNE_LOG_INFO,
      fmt::format("serving {} ({}), CUDA {}", facts->name, facts->arch, facts->driver_version));
  gpu_.emplace(Gpu{**driver, *std::move(facts), *std::move(context), *std::move(setup)});
  return {};
}

Reply Library::find_or_prepare(const Shape& shape, CUstream_st* stream, const PreparedKernel*& kernel) {
  kernel = table_.find(shape);
  if (kernel != nullptr) return {};
  if (forked()) return forked_reply();
  auto valid = validated(shape);
  if (!valid) return reply(ATTUNE_INVALID_ARGUMENT, valid.error());
  const auto captured = capturing(gpu_->context, stream);
  if (!captured) return cuda_reply(captured.error());
  if (*captured) {
    // Perhaps not the fastest one known for this order, and right nevertheless: kernels take strides.
    kernel = table_.find(in_other_order(*valid));
    if (kernel != nullptr) return {};
    if (auto failure = failed_.find(*valid)) return *std::move(failure);
    return reply(ATTUNE_NOT_PREPARED, fail("{} is not prepared and the stream is being captured; call "
                                           "attune_prepare() before the capture",
                                           to_string(*valid)));
  }
  return prepare(*valid, kernel);
}

Reply Library::prepare(const Shape& shape, const PreparedKernel*& kernel) {
  if (forked()) return forked_reply();
  kernel = table_.find(shape);
  if (kernel != nullptr) return {};
  if (const auto valid = validated(shape); !valid) return reply(ATTUNE_INVALID_ARGUMENT, valid.error());
  if (auto failure = failed_.find(shape)) return *std::move(failure);
  const std::lock_guard lock(preparing_);
  kernel = table_.find(shape);  // another thread may have made it meanwhile, or failed to
  if (kernel != nullptr) return {};
  if (auto failure = failed_.find(shape)) return *std::move(failure);
  std::unique_ptr<PreparedKernel> made;
  const auto began = failed_.now();
  if (auto making = make(shape, made); !making.ok()) {
    failed_.remember(shape, making, began);
    return making;
  }
  const Choice& choice = made->choice();
  const bool tuned = choice.provenance != ATTUNE_PROVENANCE_DEFAULT;
  log(tuned ? ATTUNE_LOG_INFO : ATTUNE_LOG_WARNING,
      fmt::format("{}: {} {}; {}", to_string(shape), choice.tmpl->name(), choice.config_json, choice.reason));
  kernel = made.get();
  kernels_.push_back(std::move(made));
  table_.insert(*kernel);
  return {};
}

Reply Library::make(const Shape& shape, std::unique_ptr<PreparedKernel>& kernel) {
  const RelaxedCapture relaxed(gpu_->driver);
  const Context::Scope scope(gpu_->context);
  if (!scope.status()) return cuda_reply(scope.status().error());
  auto choice = choose_for(shape);
  if (!choice) return reply(ATTUNE_NOT_SUPPORTED, choice.error());
  const bool tuned = choice->provenance != ATTUNE_PROVENANCE_DEFAULT;
  const bool wanted = choice->provenance != ATTUNE_PROVENANCE_EXACT || choice->former_kernel;
  // Once, however often it fails.
  if (wanted_ && wanted && !failed_.knows(shape)) wanted_->note(shape, gpu_->facts);
  auto making = make_from(*std::move(choice), shape, kernel);
  if (making.ok() || !tuned || making.code == ATTUNE_OUT_OF_MEMORY) return making;
  log(ATTUNE_LOG_WARNING, fmt::format("{}: its record cannot be used: {}", to_string(shape), making.text));
  auto fallback = choose_default(shape, gpu_->facts, "the record cannot be used: " + making.text);
  if (!fallback) return making;
  return make_from(*std::move(fallback), shape, kernel);
}

// The server is asked where nothing here was measured for the shape. Its record competes as one of a pack
// would.
Result<Choice> Library::choose_for(const Shape& shape) {
  auto own = choose(shape, gpu_->facts, store_.get(), attention_templates(), packs_);
  if (!server_ || !own || own->provenance == ATTUNE_PROVENANCE_EXACT) return own;
  auto record = server_->record(shape, gpu_->facts);
  if (!record) return own;
  auto served = std::make_shared<Pack>();
  served->info.name = server_->name();
  served->records.push_back(*std::move(record));
  Packs with_server = packs_;
  with_server.push_back(std::move(served));
  return choose(shape, gpu_->facts, store_.get(), attention_templates(), with_server);
}

Reply Library::make_from(Choice choice, const Shape& shape, std::unique_ptr<PreparedKernel>& kernel) {
  const auto compiled = cubin_for(choice, shape);
  if (!compiled) return reply(ATTUNE_COMPILE, compiled.error());
  note_kernel(choice, shape, gpu_->facts, compiled->key);
  auto loaded = PreparedKernel::load(*gpu_, shape, std::move(choice), *compiled, modules_);
  if (!loaded) return cuda_reply(loaded.error());
  kernel = *std::move(loaded);
  return {};
}

void Library::open_compiler() {
  if (compiler_) return;
  auto nvrtc = Nvrtc::open();
  if (!nvrtc) no_nvrtc_ = nvrtc.error().message;
  compiler_.emplace(nvrtc ? *std::move(nvrtc) : nullptr, cubins_, /*threads=*/1, kCompileTimeout);
}

Result<CompiledKernel> Library::cubin_for(const Choice& choice, const Shape& shape) {
  if (!choice.cubin_key.empty()) {
    auto stored = cubins_.find(choice.cubin_key);
    if (stored && stored->outcome == CompileOutcome::ok && stored->arch == gpu_->facts.arch)
      return *std::move(stored);
  }
  open_compiler();
  if (server_) {
    const double seconds = no_nvrtc_.empty() ? kServerSeconds : kOnlyServerSeconds;
    auto given = server_->kernel(choice, shape, gpu_->facts, seconds);
    if (given) {
      if (auto status = cubins_.publish(*given); !status) log(ATTUNE_LOG_WARNING, status.error().message);
      return *std::move(given);
    }
  }
  auto compiled =
      compiler_->compile(choice.tmpl->render(shape, gpu_->facts, choice.config), gpu_->facts.arch);
  if (compiled.outcome == CompileOutcome::ok) return compiled;
  if (!no_nvrtc_.empty())
    return fail("{} is not in {}: {}", choice.config_json, cubins_.folder().string(), no_nvrtc_);
  const std::string first_line = compiled.log.substr(0, compiled.log.find('\n'));
  return fail("NVRTC cannot compile {} for {}: {}", choice.config_json, gpu_->facts.arch,
              compiled.outcome == CompileOutcome::timeout ? "it takes too long" : first_line);
}

void Library::log(attune_log_level level, const std::string& text) const {
  if (options_.log != nullptr) options_.log(level, text.c_str(), options_.log_user);
}

}  // namespace attune
