// What attune_library stands for: a database, a cubin store and a GPU, and the shapes prepared on it.
#pragma once

#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "cache/pack.h"
#include "cache/trial_store.h"
#include "compiler/compile_pool.h"
#include "runtime/failed_shapes.h"
#include "runtime/prepared_kernel.h"
#include "runtime/reply.h"
#include "runtime/server_client.h"
#include "runtime/shape_table.h"
#include "runtime/wanted_queue.h"

namespace attune {

struct LibraryOptions {
  std::optional<std::string> database = {};          // absent: the default one, if it exists
  std::optional<std::filesystem::path> cubins = {};  // absent: the default folder
  int device = ATTUNE_CURRENT_DEVICE;
  std::optional<std::string> packs = {};  // as packs() takes it; absent: ATTUNE_PACKS, else those built in
  bool queue_misses = false;              // to the database's wanted list
  std::string server = {};                // base URL; "": none
  std::string server_token = {};          // secret; "": none
  attune_log_callback log = nullptr;
  void* log_user = nullptr;
  FailedShapes::Clock now = std::chrono::steady_clock::now;
};

class Library {
 public:
  static Reply open(LibraryOptions options, std::unique_ptr<Library>& library);
  ~Library();

  // Whether this is a child of the process that opened it: not to be used there, nor destroyed.
  bool forked() const { return gpu_->forked(); }

  // Lock-free where the shape is prepared already. What failed lately fails again at once. A shape has its
  // aliases folded as validated() does it, and is checked here.
  Reply prepare(const Shape& shape, const PreparedKernel*& kernel);

  // What is prepared, or prepare() where the stream is not being captured. A capture is also given what is
  // prepared for the other memory order.
  Reply find_or_prepare(const Shape& shape, CUstream_st* stream, const PreparedKernel*& kernel);

 private:
  Library(LibraryOptions options, CubinStore cubins);
  Reply open_database();
  Reply open_packs();
  Reply open_gpu();
  Reply make(const Shape& shape, std::unique_ptr<PreparedKernel>& kernel);
  Reply make_from(Choice choice, const Shape& shape, std::unique_ptr<PreparedKernel>& kernel);
  Result<Choice> choose_for(const Shape& shape);
  Result<CompiledKernel> cubin_for(const Choice& choice, const Shape& shape);
  void open_compiler();
  void log(attune_log_level level, const std::string& text) const;

  const LibraryOptions options_;
  const CubinStore cubins_;
  std::unique_ptr<TrialStore> store_;  // null: no database
  Packs packs_;
  std::optional<Gpu> gpu_;  // outlives the kernels below

  FailedShapes failed_;
  std::mutex preparing_;
  std::optional<CompilePool> compiler_;  // made when something must be compiled
  std::string no_nvrtc_;                 // why it has none, and only knows what the store has
  std::optional<ServerClient> server_;
  LoadedModules modules_;
  std::vector<std::unique_ptr<const PreparedKernel>> kernels_;
  ShapeTable<PreparedKernel> table_;
  std::optional<WantedQueue> wanted_;  // last: its thread ends first
};

}  // namespace attune
