#include "runtime/shape_table.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

namespace attune {
namespace {

struct Entry {
  Shape key;
  const Shape& shape() const { return key; }
};

Shape shape_of(std::int64_t length) {
  return {.batch = 1, .q_heads = 32, .kv_heads = 8, .q_len = length, .kv_len = length};
}

TEST(ShapeTable, FindsWhatWasInserted) {
  ShapeTable<Entry> table;
  EXPECT_EQ(table.find(shape_of(1)), nullptr);
  std::vector<std::unique_ptr<Entry>> entries;
  for (std::int64_t length = 1; length <= 1000; ++length) {
    entries.push_back(std::make_unique<Entry>(Entry{shape_of(length)}));
    table.insert(*entries.back());
  }
  for (const auto& entry : entries) EXPECT_EQ(table.find(entry->key), entry.get());
  EXPECT_EQ(table.find(shape_of(1001)), nullptr);
  EXPECT_EQ(table.size(), 1000U);
}

TEST(ShapeTable, TellsShapesApartByEveryField) {
  const Shape base = shape_of(128);
  std::vector<Shape> others(10, base);
  others[0].batch = 2;
  others[1].q_heads = 16;
  others[2].kv_heads = 4;
  others[3].q_len = 64;
  others[4].kv_len = 64;
  others[5].head_dim = 128;
  others[6].dtype = DType::fp16;
  others[7].mask = Mask::causal_top_left;
  others[8].layout = Layout::bshd;
  others[9].wants_lse = true;
  ShapeTable<Entry> table;
  const Entry entry{base};
  table.insert(entry);
  for (const Shape& other : others) {
    EXPECT_EQ(table.find(other), nullptr) << to_string(other);
    EXPECT_NE(hash_of(other), hash_of(base)) << to_string(other);
  }
}

TEST(ShapeTable, ReadersSeeWholeEntriesWhileItGrows) {
  ShapeTable<Entry> table;
  std::atomic<bool> stop = false;
  std::atomic<int> wrong = 0;
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      for (std::int64_t length = 1; !stop; length = length % 2000 + 1) {
        const Entry* found = table.find(shape_of(length));
        if (found != nullptr && found->key.q_len != length) ++wrong;
      }
    });
  }
  std::vector<std::unique_ptr<Entry>> entries;
  for (std::int64_t length = 1; length <= 2000; ++length) {
    entries.push_back(std::make_unique<Entry>(Entry{shape_of(length)}));
    table.insert(*entries.back());
    if (table.find(entries.back()->key) != entries.back().get()) ++wrong;
  }
  stop = true;
  for (auto& reader : readers) reader.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace attune
