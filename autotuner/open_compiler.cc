#include "autotuner/open_compiler.h"

#include <algorithm>
#include <thread>

#include "base/own_path.h"
#include "compiler/cubin_store.h"
#include "compiler/nvrtc.h"
#include "compiler/nvrtc_processes.h"

namespace attune {
namespace {

constexpr std::chrono::seconds kCompileTimeout{60};

}  // namespace

Result<std::unique_ptr<CompilePool>> open_compiler(int threads) {
  auto nvrtc = Nvrtc::open();
  if (!nvrtc) return nvrtc.error();
  auto cubins = CubinStore::open(CubinStore::default_folder());
  if (!cubins) return cubins.error();
  const auto program = own_path();
  if (!program) return program.error();
  const int cores = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  return std::make_unique<CompilePool>(nvrtc_in_processes(*nvrtc, {*program, "compile-worker"}), *cubins,
                                       threads > 0 ? threads : cores, kCompileTimeout);
}

}  // namespace attune
