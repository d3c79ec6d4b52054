// A server's records and kernels (`attune serve`), for shapes that this machine has no record of.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "base/device_facts.h"
#include "base/shape.h"
#include "cache/trial.h"
#include "compiler/compiled_kernel.h"
#include "runtime/choice.h"

namespace attune {

// Used from one thread at a time (a library's prepare lock), never on the hot path. What a server gave is
// kept in the cache folder and answers when it is down; a server that is down is told of once and left alone
// for a while.
class ServerClient {
 public:
  struct Settings {
    std::string url;             // "http://tuner:8750"
    std::string token;           // secret; "": none
    std::filesystem::path kept;  // folder of the records that it gave
  };
  using Clock = std::function<std::chrono::steady_clock::time_point()>;

  // `log` is told one line at a time.
  ServerClient(Settings settings, std::function<void(const std::string&)> log,
               Clock now = std::chrono::steady_clock::now);

  // The server's best record for the shape on the device, else the one that it gave last, else nothing.
  // Whether it may be served is the caller's to check, as with any record.
  std::optional<Trial> record(const Shape& shape, const DeviceFacts& device);

  // The machine code of a choice, made by the server where it must be, and checked against its hash; nothing
  // where the server cannot give it. `patience_seconds`: a compile may take some.
  std::optional<CompiledKernel> kernel(const Choice& choice, const Shape& shape, const DeviceFacts& device,
                                       double patience_seconds);

  const std::string& name() const { return settings_.url; }

 private:
  std::optional<std::string> ask(const std::string& path, const std::optional<std::string>& body,
                                 double seconds);
  void note_failure(const std::string& why);
  std::filesystem::path kept_file(const Shape& shape, const DeviceFacts& device) const;
  std::optional<Trial> kept_record(const Shape& shape, const DeviceFacts& device) const;
  void keep(const Trial& record, const Shape& shape, const DeviceFacts& device) const;

  const Settings settings_;
  const std::function<void(const std::string&)> log_;
  const Clock now_;
  std::chrono::steady_clock::time_point again_at_{};  // no request before
  std::chrono::seconds pause_{0};                     // after the next failure; 0: the last request went well
};

}  // namespace attune
