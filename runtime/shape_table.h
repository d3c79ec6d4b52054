// Prepared shapes by shape: reads take no lock and never wait, one writer at a time, nothing is ever removed.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/shape.h"

namespace attune {

inline std::uint64_t hash_of(const Shape& shape) {
  std::uint64_t hash = 0;
  const auto mix = [&hash](std::int64_t value) {
    hash = (hash ^ static_cast<std::uint64_t>(value)) * 0x9E3779B97F4A7C15U;
    hash ^= hash >> 29;
  };
  mix(shape.batch);
  mix(shape.q_heads << 32 | shape.kv_heads);
  mix(shape.q_len << 32 | shape.kv_len);
  mix(shape.head_dim << 8 | static_cast<std::int64_t>(shape.dtype) << 6 |
      static_cast<std::int64_t>(shape.mask) << 4 | static_cast<std::int64_t>(shape.layout) << 2 |
      static_cast<std::int64_t>(shape.wants_lse));
  return hash;
}

// Entry::shape() is the key. Open addressing with linear probing, at most half full. A grown table replaces
// the old one, which stays for readers that are still in it (in all at most as large as the last one).
template <class Entry>
class ShapeTable {
 public:
  ShapeTable() { grow(kFirstCapacity); }

  // Null: not there.
  const Entry* find(const Shape& shape) const {
    const Slots& slots = *current_.load(std::memory_order_acquire);
    for (std::size_t i = hash_of(shape) & slots.mask;; i = (i + 1) & slots.mask) {
      const Entry* entry = slots.entries[i].load(std::memory_order_acquire);
      if (entry == nullptr || entry->shape() == shape) return entry;
    }
  }

  // Precondition: find(entry.shape()) is null, and no other thread inserts. The entry outlives the table.
  void insert(const Entry& entry) {
    if (2 * (size_ + 1) > all_.back()->mask + 1) grow(2 * (all_.back()->mask + 1));
    place(*all_.back(), entry);
    ++size_;
  }

  std::size_t size() const { return size_; }

 private:
  static constexpr std::size_t kFirstCapacity = 64;  // a power of two

  struct Slots {
    explicit Slots(std::size_t capacity) : mask(capacity - 1), entries(capacity) {}
    std::size_t mask;
    std::vector<std::atomic<const Entry*>> entries;
  };

  static void place(Slots& slots, const Entry& entry) {
    std::size_t i = hash_of(entry.shape()) & slots.mask;
    while (slots.entries[i].load(std::memory_order_relaxed) != nullptr) i = (i + 1) & slots.mask;
    slots.entries[i].store(&entry, std::memory_order_release);
  }

  void grow(std::size_t capacity) {
    auto grown = std::make_unique<Slots>(capacity);
    if (!all_.empty()) {
      for (const auto& entry : all_.back()->entries) {
        if (const Entry* old = entry.load(std::memory_order_relaxed)) place(*grown, *old);
      }
    }
    current_.store(grown.get(), std::memory_order_release);
    all_.push_back(std::move(grown));
  }

  std::atomic<const Slots*> current_ = nullptr;
  std::vector<std::unique_ptr<Slots>> all_;  // the writer's
  std::size_t size_ = 0;                     // the writer's
};

}  // namespace attune
