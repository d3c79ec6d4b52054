#include "compiler/nvrtc_processes.h"

#include <sodium.h>

#include <chrono>
#include <iostream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/worker_process.h"
#include "compiler/compiled_kernel_json.h"

namespace attune {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr int kBase64 = sodium_base64_VARIANT_ORIGINAL;
// For what is never given up: longer than any search.
constexpr auto kForever = std::chrono::hours(24 * 365);

std::string to_base64(const std::string& bytes) {
  std::string text(sodium_base64_encoded_len(bytes.size(), kBase64), '\0');
  sodium_bin2base64(text.data(), text.size(), reinterpret_cast<const unsigned char*>(bytes.data()),
                    bytes.size(), kBase64);
  text.pop_back();  // the NUL
  return text;
}

std::optional<std::string> from_base64(const std::string& text) {
  std::string bytes(text.size(), '\0');
  std::size_t size = 0;
  if (sodium_base642bin(reinterpret_cast<unsigned char*>(bytes.data()), bytes.size(), text.data(),
                        text.size(), nullptr, &size, nullptr, kBase64) != 0) {
    return {};
  }
  bytes.resize(size);
  return bytes;
}

json request_json(const KernelSource& source, const std::string& arch) {
  return {{"name", source.name},       {"text", source.text},   {"headers", source.headers},
          {"options", source.options}, {"entry", source.entry}, {"arch", arch}};
}

json reply_json(const CompiledKernel& kernel) {
  json reply = to_json(kernel);
  reply["cubin"] = to_base64(kernel.cubin);
  return reply;
}

// What the child found out; `asked` says what it was asked, and what a damaged answer becomes.
CompiledKernel read_reply(const json& reply, CompiledKernel asked) {
  auto cubin = from_base64(reply.at("cubin").get<std::string>());
  if (!cubin) {
    asked.log = "attune: the compiler process sent a damaged kernel";
    return asked;
  }
  CompiledKernel kernel = compiled_kernel_from_json(reply);
  kernel.key = std::move(asked.key);
  kernel.entry = std::move(asked.entry);
  kernel.arch = std::move(asked.arch);
  kernel.compile_ms = asked.compile_ms;
  kernel.cubin = std::move(*cubin);
  return kernel;
}

class NvrtcProcesses final : public Nvrtc {
 public:
  NvrtcProcesses(std::shared_ptr<const Nvrtc> loaded, std::vector<std::string> worker_command)
      : loaded_(std::move(loaded)), worker_command_(std::move(worker_command)) {}

  std::string version() const override { return loaded_->version(); }
  std::string path() const override { return loaded_->path(); }
  std::string key(const KernelSource& source, const std::string& arch) const override {
    return loaded_->key(source, arch);
  }

  CompiledKernel compile(const KernelSource& source, const std::string& arch,
                         std::chrono::milliseconds timeout) const override {
    const auto begin = Clock::now();
    CompiledKernel kernel;
    kernel.key = key(source, arch);
    kernel.entry = source.entry;
    kernel.arch = arch;
    auto worker = take();
    if (!worker) {
      kernel.log = fmt::format("attune: {}", worker.error().message);
      return kernel;
    }
    const auto exchange =
        worker->exchange(request_json(source, arch).dump(-1, ' ', false, json::error_handler_t::replace),
                         timeout.count() > 0 ? timeout : std::chrono::milliseconds(kForever));
    kernel.compile_ms = std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
    if (exchange.ending == WorkerProcess::Ending::timed_out) {
      kernel.outcome = CompileOutcome::timeout;
      kernel.log = fmt::format("attune: given up after {} ms", timeout.count());
      return kernel;
    }
    if (exchange.ending == WorkerProcess::Ending::died) {
      kernel.log = fmt::format("attune: the compiler's process was lost on this source: {}", exchange.line);
      return kernel;
    }
    try {
      kernel = read_reply(json::parse(exchange.line), kernel);
    } catch (const json::exception&) {
      kernel.outcome = CompileOutcome::error;
      kernel.log = "attune: the compiler process's answer is unreadable";
      return kernel;
    }
    put_back(std::move(*worker));
    return kernel;
  }

 private:
  Result<WorkerProcess> take() const {
    {
      const std::lock_guard lock(mutex_);
      if (!idle_.empty()) {
        WorkerProcess worker = std::move(idle_.back());
        idle_.pop_back();
        return worker;
      }
    }
    return WorkerProcess::start(worker_command_);
  }

  void put_back(WorkerProcess worker) const {
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(worker));
  }

  const std::shared_ptr<const Nvrtc> loaded_;
  const std::vector<std::string> worker_command_;
  mutable std::mutex mutex_;
  mutable std::vector<WorkerProcess> idle_;
};

KernelSource source_from(const json& request) {
  KernelSource source;
  request.at("name").get_to(source.name);
  request.at("text").get_to(source.text);
  request.at("headers").get_to(source.headers);
  request.at("options").get_to(source.options);
  request.at("entry").get_to(source.entry);
  return source;
}

}  // namespace

std::shared_ptr<const Nvrtc> nvrtc_in_processes(std::shared_ptr<const Nvrtc> loaded,
                                                std::vector<std::string> worker_command) {
  return std::make_shared<NvrtcProcesses>(std::move(loaded), std::move(worker_command));
}

int run_compile_worker() {
  end_with_parent();
  const auto nvrtc = Nvrtc::open();
  std::string line;
  while (std::getline(std::cin, line)) {
    const json request = json::parse(line);
    CompiledKernel kernel;
    if (nvrtc) {
      kernel = (*nvrtc)->compile(source_from(request), request.at("arch").get<std::string>(), {});
    } else {
      kernel.log = nvrtc.error().message;
    }
    std::cout << reply_json(kernel).dump(-1, ' ', false, json::error_handler_t::replace) << std::endl;
  }
  return 0;
}

}  // namespace attune
