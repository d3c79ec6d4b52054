// What the runtime costs a program on the host: attune_bench [--db FILE] [--cubins DIR] [--library
// libattune.so]
//
// Prints one JSON document. Without a GPU it times the look-up alone and says what was left out.
#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "attune/attune.hpp"
#include "base/shape.h"
#include "base/time.h"
#include "compiler/driver.h"
#include "compiler/nvrtc.h"
#include "runtime/shape_table.h"

namespace attune {
namespace {

using Clock = std::chrono::steady_clock;
using nlohmann::json;

double us_since(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

[[noreturn]] void die(const std::string& text) {
  std::fprintf(stderr, "attune_bench: %s\n", text.c_str());
  std::exit(1);
}

template <class T>
T must(Result<T> result) {
  if (!result) die(result.error().message);
  return std::move(*result);
}

void must(attune_status status) {
  if (status != ATTUNE_OK) die(attune_last_error());
}

struct Options {
  std::string database, cubins, library;
  bool first_launch = false;
  bool resident = false;
};

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const auto value = [&] {
      if (++i == argc) die(word + " needs a value");
      return std::string(argv[i]);
    };
    if (word == "--db")
      options.database = value();
    else if (word == "--cubins")
      options.cubins = value();
    else if (word == "--library")
      options.library = value();
    else if (word == "--first-launch")
      options.first_launch = true;
    else if (word == "--resident")
      options.resident = true;
    else
      die("unknown argument " + word + "; there are --db FILE, --cubins DIR, --library FILE");
  }
  return options;
}

// The language models of workload.json.
std::vector<attune_shape> workload() {
  constexpr int kModels[][3] = {{14, 2, 64},  {16, 8, 128}, {32, 8, 64},  {12, 2, 128}, {32, 32, 64},
                                {32, 32, 80}, {16, 2, 128}, {24, 8, 128}, {32, 32, 96}, {32, 8, 128}};
  std::vector<attune_shape> shapes;
  for (const auto& [q_heads, kv_heads, head_dim] : kModels) {
    for (const int length : {512, 1024, 2048, 4096}) {
      attune_shape shape = attune_api::square_shape(1, q_heads, length, head_dim, /*causal=*/true);
      shape.kv_heads = kv_heads;
      shapes.push_back(shape);
    }
  }
  return shapes;
}

Shape internal(const attune_shape& shape) {
  return *validated({.q_heads = shape.q_heads,
                     .kv_heads = shape.kv_heads,
                     .q_len = shape.q_len,
                     .kv_len = shape.kv_len,
                     .head_dim = shape.head_dim,
                     .mask = Mask::causal_bottom_right});
}

// Nanoseconds of one call of `work(i)` a thread, with `threads` of them at once: the median thread's.
template <class Work>
double ns_per_call(int threads, int calls, const Work& work) {
  std::vector<double> each(static_cast<std::size_t>(threads));
  std::atomic<int> ready = 0;
  std::vector<std::thread> running;
  for (auto& result : each) {
    running.emplace_back([&] {
      for (int i = 0; i < calls / 10; ++i) work(i);
      for (++ready; ready.load() < threads;) std::this_thread::yield();
      const auto start = Clock::now();
      for (int i = 0; i < calls; ++i) work(i);
      result = 1000 * us_since(start) / calls;
    });
  }
  for (auto& thread : running) thread.join();
  return median(each);
}

json lookup_cost() {
  struct Entry {
    Shape key;
    const Shape& shape() const { return key; }
  };
  std::vector<Entry> entries;
  for (const auto& shape : workload()) entries.push_back({internal(shape)});
  ShapeTable<Entry> table;
  for (const auto& entry : entries) table.insert(entry);
  std::atomic<long> missing = 0;
  json result;
  for (const int threads : {1, 2, 4, 8, 16}) {
    result[std::to_string(threads)] = ns_per_call(threads, 2'000'000, [&](int i) {
      const Entry& wanted = entries[static_cast<std::size_t>(i) % 32];  // a cheap choice among them
      if (table.find(wanted.key) != &wanted) ++missing;
    });
  }
  if (missing != 0) die("the table lost an entry");
  return result;
}

std::int64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::int64_t size = 0, resident = 0;
  file >> size >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

attune_library* open_library(const Options& options) {
  attune_open_options open = ATTUNE_OPEN_OPTIONS_INIT;
  if (!options.database.empty()) open.database = options.database.c_str();
  if (!options.cubins.empty()) open.cubins = options.cubins.c_str();
  attune_library* library = nullptr;
  must(attune_open(&open, &library));
  return library;
}

// The shape whose host cost is timed: little work, so that the GPU keeps up with the host.
attune_shape small_shape() {
  return attune_api::square_shape(1, 1, 128, 128, /*causal=*/true);
}

struct DeviceTensors {
  explicit DeviceTensors(const Context& context, const attune_shape& shape)
      : memory(must(DeviceBuffer::allocate(context, 4 * bytes(shape)))) {
    const auto at = [&](int i) {
      return reinterpret_cast<void*>(memory.address() + static_cast<std::uint64_t>(i * bytes(shape)));
    };
    tensors = attune_api::contiguous_tensors(shape, at(0), at(1), at(2), at(3));
  }
  static std::int64_t bytes(const attune_shape& shape) {
    return 2 * shape.batch * shape.q_heads * shape.q_len * shape.head_dim;
  }
  DeviceBuffer memory;
  attune_tensors tensors;
};

// A new process: what comes after the CUDA start-up that it would have anyway. The first line of its output.
int first_launch(const Options& options) {
  const auto start = Clock::now();
  const Driver* driver = must(Driver::open());
  const double init_us = us_since(start);
  const Context context = must(Context::retain(*driver, 0));
  if (const auto status = context.make_current(); !status) die(status.error().message);
  const attune_shape shape = small_shape();
  const Stream stream = must(Stream::create(context));
  const DeviceTensors tensors(context, shape);
  const double context_us = us_since(start);
  attune_library* library = open_library(options);
  const double open_us = us_since(start);
  must(attune_prepare(library, &shape, nullptr));
  const double prepare_us = us_since(start);
  must(attune_forward(library, &shape, &tensors.tensors, 0, stream.handle()));
  const double launch_us = us_since(start);
  if (const auto status = stream.synchronize(); !status) die(status.error().message);
  std::printf("%s\n", json{{"cuinit_us", init_us},
                           {"context_us", context_us - init_us},
                           {"open_us", open_us - context_us},
                           {"prepare_us", prepare_us - open_us},
                           {"launch_us", launch_us - prepare_us},
                           {"attune_us", launch_us - context_us}}
                          .dump()
                          .c_str());
  return 0;
}

// The JSON line that this program prints when it is run again with `mode`.
json in_new_process(const Options& options, const std::string& mode) {
  std::string command = "/proc/" + std::to_string(::getpid()) + "/exe " + mode;
  if (!options.database.empty()) command += " --db '" + options.database + "'";
  if (!options.cubins.empty()) command += " --cubins '" + options.cubins + "'";
  FILE* pipe = ::popen(command.c_str(), "r");
  std::array<char, 1024> line{};
  const bool read = pipe != nullptr && std::fgets(line.data(), line.size(), pipe) != nullptr;
  if (pipe == nullptr || ::pclose(pipe) != 0 || !read) die("a child process failed");
  return json::parse(line.data());
}

json first_launches(const Options& options) {
  in_new_process(options, "--first-launch");  // warms the disk, the driver and the store
  json all = json::array();
  std::vector<double> attune_us;
  for (int i = 0; i < 5; ++i) {
    all.push_back(in_new_process(options, "--first-launch"));
    attune_us.push_back(all.back()["attune_us"]);
  }
  return {{"median_attune_us", median(attune_us)}, {"runs", all}};
}

// What a handle adds to a process that has a CUDA context, with a warm store.
int resident(const Options& options) {
  const Driver* driver = must(Driver::open());
  const Context context = must(Context::retain(*driver, 0));
  if (const auto status = context.make_current(); !status) die(status.error().message);
  const std::int64_t before = resident_bytes();
  attune_library* library = open_library(options);
  const std::int64_t opened = resident_bytes();
  const auto shapes = workload();
  must(attune_prepare(library, shapes.data(), nullptr));
  const std::int64_t first = resident_bytes();
  for (const auto& shape : shapes) must(attune_prepare(library, &shape, nullptr));
  std::printf("%s\n", json{{"open_bytes", opened - before},
                           {"first_shape_bytes", first - opened},
                           {"other_39_shapes_bytes", resident_bytes() - first}}
                          .dump()
                          .c_str());
  return 0;
}

// An empty kernel whose parameter is as large as attune's, launched by cuLaunchKernel itself.
class BareLaunch {
 public:
  explicit BareLaunch(const Driver& driver, const Context& context) {
    const auto nvrtc = must(Nvrtc::open());
    const CompiledKernel compiled =
        nvrtc->compile({.name = "empty.cu",
                        .text = "struct alignas(64) P { char bytes[512]; };\n"
                                "extern \"C\" __global__ void empty(const __grid_constant__ P p) {}\n",
                        .headers = {},
                        .options = {"-default-device"},
                        .entry = "empty"},
                       must(driver.device_facts(0)).arch, std::chrono::minutes(1));
    if (compiled.outcome != CompileOutcome::ok) die(compiled.log);
    module_.emplace(must(Module::load(context, compiled.cubin)));
    kernel_.emplace(must(module_->kernel("empty")));
    void* library = ::dlopen(driver.path().c_str(), RTLD_NOW | RTLD_LOCAL);
    launch_ = reinterpret_cast<Launch*>(::dlsym(library, "cuLaunchKernel"));
    if (launch_ == nullptr) die("the driver has no cuLaunchKernel");
  }
  void operator()(CUstream_st* stream) {
    void* parameters[] = {argument_.data()};
    if (launch_(kernel_->handle(), 1, 1, 1, 128, 1, 1, 0, stream, parameters, nullptr) != 0)
      die("cuLaunchKernel failed");
  }

 private:
  using Launch = int(CUfunc_st*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                     CUstream_st*, void**, void**);
  alignas(64) std::array<char, 512> argument_{};
  std::optional<Module> module_;
  std::optional<Kernel> kernel_;
  Launch* launch_ = nullptr;
};

// Microseconds of the host a call, by name: rounds that take turns, with the GPU's queue never full.
std::map<std::string, double> host_us(const Stream& stream,
                                      const std::map<std::string, std::function<void(int)>>& calls) {
  constexpr int kCalls = 200;
  constexpr int kRounds = 60;
  constexpr int kWarmUp = 10;
  std::map<std::string, std::vector<double>> samples;
  for (int round = 0; round < kWarmUp + kRounds; ++round) {
    for (const auto& [name, call] : calls) {
      const auto start = Clock::now();
      for (int i = 0; i < kCalls; ++i) call(i);
      const double took = us_since(start) / kCalls;
      if (!stream.synchronize()) die("a launch failed on the GPU");
      if (round >= kWarmUp) samples[name].push_back(took);
    }
  }
  std::map<std::string, double> medians;
  for (const auto& [name, values] : samples) medians[name] = median(values);
  return medians;
}

json gpu_costs(const Driver& driver, const Options& options) {
  const Context context = must(Context::retain(driver, 0));
  if (const auto status = context.make_current(); !status) die(status.error().message);
  const Stream stream = must(Stream::create(context));
  json result;

  attune_library* library = open_library(options);
  json provenance = json::object();
  for (const auto& shape : workload()) {
    const attune_kernel* kernel = nullptr;
    must(attune_prepare(library, &shape, &kernel));
    attune_info info{};
    info.struct_size = sizeof(info);
    must(attune_explain(kernel, &info));
    constexpr const char* kNames[] = {"exact", "near", "default"};
    const std::string name = kNames[info.provenance];
    provenance[name] = provenance.value(name, 0) + 1;
  }
  result["provenance_40_shapes"] = provenance;

  const auto shapes = workload();
  json by_threads;
  for (const int threads : {1, 16}) {
    by_threads[std::to_string(threads)] = ns_per_call(threads, 500'000, [&](int i) {
      const attune_kernel* kernel = nullptr;
      attune_prepare(library, &shapes[static_cast<std::size_t>(i) % shapes.size()], &kernel);
      if (kernel == nullptr) die("a prepared shape is gone");
    });
  }
  result["attune_prepare_again_ns_by_threads"] = by_threads;

  const attune_shape shape = small_shape();
  const attune_kernel* kernel = nullptr;
  must(attune_prepare(library, &shape, &kernel));
  const DeviceTensors first(context, shape);
  std::vector<DeviceTensors> many;
  for (int i = 0; i < 400; ++i) many.emplace_back(context, shape);
  BareLaunch bare(driver, context);
  int next = 0;
  result["host_us"] = host_us(
      stream, {{"cuLaunchKernel", [&](int) { bare(stream.handle()); }},
               {"attune_forward",
                [&](int) { must(attune_forward(library, &shape, &first.tensors, 0, stream.handle())); }},
               {"attune_kernel_forward",
                [&](int) { must(attune_kernel_forward(kernel, &first.tensors, 0, stream.handle())); }},
               {"attune_forward, new addresses", [&](int) {
                  const auto& tensors = many[static_cast<std::size_t>(next++) % many.size()].tensors;
                  must(attune_forward(library, &shape, &tensors, 0, stream.handle()));
                }}});
  result["forward_over_bare_us"] =
      result["host_us"]["attune_forward"].get<double>() - result["host_us"]["cuLaunchKernel"].get<double>();
  attune_close(library);
  return result;
}

int run(const Options& options) {
  if (options.first_launch) return first_launch(options);
  if (options.resident) return resident(options);
  json document{
      {"utc", utc_timestamp()}, {"attune", attune_version()}, {"cores", std::thread::hardware_concurrency()}};
  document["lookup_ns_by_threads"] = lookup_cost();
  struct stat file {};
  if (!options.library.empty() && ::stat(options.library.c_str(), &file) == 0) {
    document["library_bytes"] = file.st_size;
  }
  const auto driver = Driver::open();
  if (!driver) {
    document["left_out"] = "launches: " + driver.error().message;
  } else {
    document["gpu"] = must((*driver)->device_facts(0)).name;
    document["driver"] = (*driver)->kernel_driver();
    document.update(gpu_costs(**driver, options));
    document["first_launch"] = first_launches(options);
    document["resident"] = in_new_process(options, "--resident");
  }
  std::printf("%s\n", document.dump(2).c_str());
  return 0;
}

}  // namespace
}  // namespace attune

int main(int argc, char** argv) {
  return attune::run(attune::parse(argc, argv));
}
