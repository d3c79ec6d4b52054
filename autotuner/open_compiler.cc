#include "autotuner/open_compiler.h"

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "base/own_path.h"
#include "compiler/cubin_store.h"
#include "compiler/nvrtc.h"
#include "compiler/nvrtc_processes.h"

namespace attune {
namespace {

constexpr std::chrono::seconds kCompileTimeout{60};

}  // namespace

Result<std::unique_ptr<CompilePool>> open_compiler(int threads, int niceness) {
  auto nvrtc = Nvrtc::open();
  if (!nvrtc) return nvrtc.error();
  auto cubins = CubinStore::open(CubinStore::default_folder());
  if (!cubins) return cubins.error();
  const auto program = own_path();
  if (!program) return program.error();
  std::vector<std::string> command{*program, "compile-worker"};
  if (niceness != 0) command.insert(command.end(), {"--nice", std::to_string(niceness)});
  const int cores = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  return std::make_unique<CompilePool>(nvrtc_in_processes(*nvrtc, std::move(command)), *cubins,
                                       threads > 0 ? threads : cores, kCompileTimeout);
}

}  // namespace attune
