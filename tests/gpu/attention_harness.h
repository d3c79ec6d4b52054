// Compiles, checks and repeats attention kernels on the GPU, for tests of the templates. Correct means what
// the tuner's verifier says (autotuner/verifier.h).
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "compiler/compile_pool.h"
#include "compiler/driver.h"
#include "templates/attention_template.h"

namespace attune {

template <class T>
T need(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  return std::move(*result);
}
inline void need(const Status& status) {
  if (!status) throw std::runtime_error(status.error().message);
}

struct Machine {
  Context context;
  Stream stream;
  DeviceFacts facts;
  std::unique_ptr<CompilePool> pool;
};

// The GPU, opened once a process, or why there is none.
Result<Machine*> machine();

// One kernel to check: a config of a template for a shape.
struct Case {
  const AttentionTemplate* from;
  Shape shape;
  Config config;
};

struct CheckOptions {
  bool large_logits = false;  // a second run on inputs with nearly one-hot rows
  int repeats = 2;            // further runs, each of which must give the same bits
};

// Compiles all cases on all cores, then checks each; failures are gtest's.
void check_all(Machine& on, const std::vector<Case>& cases, const CheckOptions& options = {});

}  // namespace attune
