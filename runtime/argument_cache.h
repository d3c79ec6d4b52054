// Bound kernel arguments by tensors: packing one costs microseconds (tensor maps), reading one back does not.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "templates/attention_template.h"

namespace attune {

// Of one kernel. An argument depends on nothing but the addresses, strides and scale that it was bound to, so
// an entry is never stale; what does not fit replaces the oldest of its set. Readers and writers never wait:
// an entry that is being written is not there, and a write that meets another is dropped. Memory is taken at
// construction and touched as it is used.
class ArgumentCache {
 public:
  static constexpr int kEntries = 128;  // a model's layers have keys and values of their own

  ArgumentCache();

  // Fills `argument` and says so, or leaves it unspecified. From any thread.
  bool find(const AttentionTensors& tensors, KernelArgument& argument) const;
  void store(const AttentionTensors& tensors, const KernelArgument& argument);

 private:
  static constexpr int kWays = 4;
  static constexpr int kSets = kEntries / kWays;
  static constexpr int kKeyWords = 19;
  static constexpr int kArgumentWords = sizeof(KernelArgument::bytes) / sizeof(std::uint64_t);

  // Words are read and written one by one, atomically; `version` is odd while they change, and 0 in an entry
  // that was never written.
  struct Entry {
    std::uint64_t version;
    std::uint64_t size;  // bytes of the argument
    std::uint64_t key[kKeyWords];
    std::uint64_t argument[kArgumentWords];
  };
  struct Set {
    Entry ways[kWays];
    std::uint64_t next;  // the way to replace
  };
  struct Free {
    void operator()(Set* sets) const { std::free(sets); }
  };
  struct Key {
    std::uint64_t words[kKeyWords];
    std::uint64_t hash;
  };
  static Key key_of(const AttentionTensors& tensors);

  std::unique_ptr<Set, Free> sets_;  // [kSets]; null: no memory, and nothing is cached
};

}  // namespace attune
