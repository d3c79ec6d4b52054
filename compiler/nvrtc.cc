#include "compiler/nvrtc.h"

#include <dlfcn.h>
#include <nvrtc.h>

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#include "base/hash.h"
#include "compiler/compile_log.h"

namespace attune {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kMajor = 13;

// The tool never settles on a layout for such lists.
// clang-format off
#define ATTUNE_NVRTC_FUNCTIONS(X) \
  X(nvrtcVersion) X(nvrtcGetErrorString) X(nvrtcCreateProgram) X(nvrtcDestroyProgram) \
  X(nvrtcCompileProgram) X(nvrtcGetCUBINSize) X(nvrtcGetCUBIN) X(nvrtcGetProgramLogSize) \
  X(nvrtcGetProgramLog) X(nvrtcSetFlowCallback)
// clang-format on

struct Table {
#define ATTUNE_DECLARE(function) decltype(&::function) function = nullptr;
  ATTUNE_NVRTC_FUNCTIONS(ATTUNE_DECLARE)
#undef ATTUNE_DECLARE
};

// One compile, shared by the thread that waits and the thread that compiles: either may be the last to leave.
struct Compilation {
  KernelSource source;
  std::string arch;
  std::atomic<bool> cancelled{false};  // read by NVRTC between its passes

  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  CompiledKernel kernel;
};

int is_cancelled(void* job, void*) {
  return static_cast<const Compilation*>(job)->cancelled.load() ? 1 : 0;
}

std::string read_log(const Table& nvrtc, nvrtcProgram program) {
  std::size_t size = 0;
  if (nvrtc.nvrtcGetProgramLogSize(program, &size) != NVRTC_SUCCESS || size <= 1) return "";
  std::string log(size, '\0');
  if (nvrtc.nvrtcGetProgramLog(program, log.data()) != NVRTC_SUCCESS) return "";
  return trimmed_log(log);
}

// An ELF image names the section of a kernel's code ".text.<kernel>" in its string table.
bool has_kernel(std::string_view cubin, const std::string& entry) {
  const std::string section = ".text." + entry;
  return cubin.find(std::string_view(section.c_str(), section.size() + 1)) != std::string_view::npos;
}

class Program {
 public:
  Program(const Table& nvrtc, const KernelSource& source) : nvrtc_(nvrtc) {
    std::vector<const char*> texts;
    std::vector<const char*> names;
    for (const auto& [name, text] : source.headers) {
      names.push_back(name.c_str());
      texts.push_back(text.c_str());
    }
    code_ = nvrtc_.nvrtcCreateProgram(&handle_, source.text.c_str(), source.name.c_str(),
                                      static_cast<int>(names.size()), texts.data(), names.data());
  }
  ~Program() {
    if (handle_ != nullptr) nvrtc_.nvrtcDestroyProgram(&handle_);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  nvrtcResult code() const { return code_; }
  nvrtcProgram handle() const { return handle_; }

 private:
  const Table& nvrtc_;
  nvrtcProgram handle_ = nullptr;
  nvrtcResult code_ = NVRTC_SUCCESS;
};

CompileOutcome compile_job(const Table& nvrtc, Compilation& job, CompiledKernel& kernel) {
  const Program program(nvrtc, job.source);
  if (program.code() != NVRTC_SUCCESS) {
    kernel.log = fmt::format("nvrtcCreateProgram: {}", nvrtc.nvrtcGetErrorString(program.code()));
    return CompileOutcome::error;
  }
  nvrtc.nvrtcSetFlowCallback(program.handle(), &is_cancelled, &job);
  const std::vector<std::string> options = compile_options(job.source, job.arch);
  std::vector<const char*> arguments;
  arguments.reserve(options.size());
  for (const auto& option : options) arguments.push_back(option.c_str());
  const nvrtcResult code =
      nvrtc.nvrtcCompileProgram(program.handle(), static_cast<int>(arguments.size()), arguments.data());
  kernel.log = read_log(nvrtc, program.handle());
  if (code != NVRTC_SUCCESS) {
    if (kernel.log.empty())
      kernel.log = fmt::format("nvrtcCompileProgram: {}", nvrtc.nvrtcGetErrorString(code));
    return CompileOutcome::error;
  }
  std::size_t size = 0;
  nvrtcResult read = nvrtc.nvrtcGetCUBINSize(program.handle(), &size);
  if (read == NVRTC_SUCCESS) {
    kernel.cubin.resize(size);
    read = nvrtc.nvrtcGetCUBIN(program.handle(), kernel.cubin.data());
  }
  if (read != NVRTC_SUCCESS || size == 0 || !has_kernel(kernel.cubin, job.source.entry)) {
    kernel.cubin.clear();
    kernel.log += fmt::format("\nattune: {} has no extern \"C\" __global__ function '{}'", job.source.name,
                              job.source.entry);
    return CompileOutcome::error;
  }
  kernel.cubin_hash = sha256_hex(kernel.cubin);
  kernel.usage = parse_resources(kernel.log, job.source.entry);
  kernel.warnings = parse_warnings(kernel.log);
  return CompileOutcome::ok;
}

class LoadedNvrtc final : public Nvrtc {
 public:
  LoadedNvrtc(const Table& table, std::string version, std::string path)
      : table_(table), version_(std::move(version)), path_(std::move(path)) {}

  std::string version() const override { return version_; }
  std::string path() const override { return path_; }
  std::string key(const KernelSource& source, const std::string& arch) const override {
    return kernel_key(source, arch, version_);
  }
  int abandoned() const override { return abandoned_->load(); }

  CompiledKernel compile(const KernelSource& source, const std::string& arch,
                         std::chrono::milliseconds timeout) const override {
    const auto begin = Clock::now();
    const auto elapsed_ms = [begin] {
      return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
    };
    CompiledKernel refused;
    refused.key = key(source, arch);
    refused.entry = source.entry;
    refused.arch = arch;
    // NVRTC takes C strings: it would silently compile what stands before a NUL.
    if (source.text.find('\0') != std::string::npos) {
      refused.log = fmt::format("attune: {} contains a NUL character", source.name);
      return refused;
    }

    auto job = std::make_shared<Compilation>();
    job->source = source;
    job->arch = arch;
    std::thread compiling;
    try {
      compiling = std::thread([job, abandoned = abandoned_, nvrtc = table_] {
        CompiledKernel kernel;
        try {
          kernel.outcome = compile_job(nvrtc, *job, kernel);
        } catch (const std::exception& exception) {
          kernel = {};
          kernel.log = fmt::format("attune: {}", exception.what());
        }
        const std::lock_guard lock(job->mutex);
        job->kernel = std::move(kernel);
        job->done = true;
        if (job->cancelled) abandoned->fetch_sub(1);
        job->changed.notify_all();
      });
    } catch (const std::system_error& error) {
      refused.log = fmt::format("attune: no thread for the compiler: {}", error.what());
      return refused;
    }

    std::unique_lock lock(job->mutex);
    const auto is_done = [&job] { return job->done; };
    if (timeout.count() <= 0) {
      job->changed.wait(lock, is_done);
    } else if (!job->changed.wait_for(lock, timeout, is_done)) {
      job->cancelled = true;
      compiling.detach();
      const int others = abandoned_->fetch_add(1);
      refused.outcome = CompileOutcome::timeout;
      refused.compile_ms = elapsed_ms();
      refused.log = fmt::format("attune: given up after {} ms", timeout.count());
      if (others > 0) {
        refused.log += fmt::format(
            "; perhaps not its own fault: {} given up before still run, and NVRTC parses one source at a "
            "time",
            others);
      }
      return refused;
    }
    lock.unlock();
    compiling.join();  // NVRTC cleans up as its threads end, which must not meet the end of the process
    CompiledKernel kernel = std::move(job->kernel);
    kernel.key = refused.key;
    kernel.entry = refused.entry;
    kernel.arch = refused.arch;
    kernel.compile_ms = elapsed_ms();
    return kernel;
  }

 private:
  Table table_;
  std::string version_;
  std::string path_;
  // Outlives this object in abandoned threads.
  std::shared_ptr<std::atomic<int>> abandoned_ = std::make_shared<std::atomic<int>>(0);
};

Result<std::shared_ptr<const Nvrtc>> bind(void* library, const std::string& name) {
  Table table;
#define ATTUNE_FIND(function)                                                             \
  table.function = reinterpret_cast<decltype(table.function)>(dlsym(library, #function)); \
  if (table.function == nullptr && std::string_view(#function) == "nvrtcVersion") {       \
    return fail("{} is not NVRTC: it has no nvrtcVersion", name);                         \
  }
  ATTUNE_NVRTC_FUNCTIONS(ATTUNE_FIND)
#undef ATTUNE_FIND
  int major = 0;
  int minor = 0;
  if (table.nvrtcVersion(&major, &minor) != NVRTC_SUCCESS) return fail("{} does not tell its version", name);
  if (major != kMajor) {
    return fail(
        "{} is NVRTC {}.{}, and attune needs {}.x: install the NVRTC of CUDA {}, or point ATTUNE_NVRTC at "
        "its libnvrtc.so.{}",
        name, major, minor, kMajor, kMajor, kMajor);
  }
#define ATTUNE_CHECK(function) \
  if (table.function == nullptr) return fail("{} is NVRTC {}.{} but lacks {}", name, major, minor, #function);
  ATTUNE_NVRTC_FUNCTIONS(ATTUNE_CHECK)
#undef ATTUNE_CHECK
  Dl_info info{};
  const bool known =
      dladdr(reinterpret_cast<void*>(table.nvrtcVersion), &info) != 0 && info.dli_fname != nullptr;
  return std::shared_ptr<const Nvrtc>(std::make_shared<LoadedNvrtc>(table, fmt::format("{}.{}", major, minor),
                                                                    known ? info.dli_fname : name));
}

std::vector<std::string> places_to_look() {
  const std::string file = fmt::format("libnvrtc.so.{}", kMajor);
  std::vector<std::string> places{file};
  for (const char* variable : {"CUDA_HOME", "CUDA_PATH"}) {
    const char* home = std::getenv(variable);
    if (home == nullptr || *home == '\0') continue;
    for (const char* folder : {"lib64", "lib"}) places.push_back(fmt::format("{}/{}/{}", home, folder, file));
  }
  places.push_back("/usr/local/cuda/lib64/" + file);
  places.push_back(fmt::format("/usr/local/cuda-{}/lib64/{}", kMajor, file));
  places.push_back("/usr/lib/x86_64-linux-gnu/" + file);
  return places;
}

}  // namespace

Result<std::shared_ptr<const Nvrtc>> Nvrtc::open() {
  // Never closed: abandoned compiles may be inside, and other users of NVRTC share the copy.
  constexpr int kFlags = RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE;
  const char* named = std::getenv("ATTUNE_NVRTC");
  if (named != nullptr && *named != '\0') {
    void* library = dlopen(named, kFlags);
    if (library == nullptr) return fail("ATTUNE_NVRTC names no usable library: {}", dlerror());
    return bind(library, named);
  }
  std::string looked;
  for (const auto& place : places_to_look()) {
    if (void* library = dlopen(place.c_str(), kFlags)) return bind(library, place);
    looked += looked.empty() ? place : ", " + place;
  }
  // A toolkit of another version, if there is one, makes a better message.
  for (const char* other : {"libnvrtc.so", "libnvrtc.so.12", "/usr/local/cuda/lib64/libnvrtc.so"}) {
    if (void* library = dlopen(other, kFlags)) return bind(library, other);
  }
  return fail(
      "NVRTC {} not found (looked for {}): install CUDA {}'s NVRTC (Debian package cuda-nvrtc-{}-0), or "
      "point ATTUNE_NVRTC at its libnvrtc.so.{}",
      kMajor, looked, kMajor, kMajor, kMajor);
}

}  // namespace attune
