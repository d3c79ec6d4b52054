// The C API on a GPU: compiled, loaded, launched on the caller's stream, compared with fp32 on the host.
#include <gmock/gmock.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <random>
#include <span>
#include <thread>
#include <vector>

#include "attune/attune.hpp"
#include "base/shape.h"
#include "gpu_fixture.h"
#include "templates/attention_template.h"

namespace attune {
namespace {

// Round to nearest even; no NaN comes in.
std::uint16_t to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
float from_bf16(std::uint16_t value) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(value) << 16);
}

std::vector<std::uint16_t> random_bf16(std::int64_t elements, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<std::uint16_t> values(static_cast<std::size_t>(elements));
  for (auto& value : values) value = to_bf16(normal(generator));
  return values;
}

struct HostTensor {
  std::vector<std::uint16_t> values;
  TensorStrides strides{};
  float at(std::int64_t batch, std::int64_t head, std::int64_t row, std::int64_t column) const {
    return from_bf16(values[static_cast<std::size_t>(offset(batch, head, row) + column)]);
  }
  std::int64_t offset(std::int64_t batch, std::int64_t head, std::int64_t row) const {
    return batch * strides.batch + head * strides.head + row * strides.seq;
  }
};

// One output row in fp32.
std::vector<float> expected_row(const Shape& shape, const HostTensor& q, const HostTensor& k,
                                const HostTensor& v, std::int64_t b, std::int64_t h, std::int64_t i) {
  const std::int64_t kv_head = h / (shape.q_heads / shape.kv_heads);
  const std::int64_t keys =
      shape.causal() ? std::min(shape.kv_len, i + shape.causal_offset() + 1) : shape.kv_len;
  const float scale = 1 / std::sqrt(static_cast<float>(shape.head_dim));
  std::vector<float> scores;
  float largest = -std::numeric_limits<float>::infinity();
  for (std::int64_t j = 0; j < keys; ++j) {
    float score = 0;
    for (std::int64_t d = 0; d < shape.head_dim; ++d) score += q.at(b, h, i, d) * k.at(b, kv_head, j, d);
    scores.push_back(score * scale);
    largest = std::max(largest, scores.back());
  }
  float sum = 0;
  for (float& score : scores) sum += score = std::exp(score - largest);
  std::vector<float> row(static_cast<std::size_t>(shape.head_dim));
  for (std::int64_t j = 0; j < keys; ++j) {
    for (std::int64_t d = 0; d < shape.head_dim; ++d) {
      row[static_cast<std::size_t>(d)] += scores[static_cast<std::size_t>(j)] / sum * v.at(b, kv_head, j, d);
    }
  }
  return row;
}

attune_shape c_shape(const Shape& shape) {
  return {.struct_size = sizeof(attune_shape),
          .batch = shape.batch,
          .q_heads = shape.q_heads,
          .kv_heads = shape.kv_heads,
          .q_len = shape.q_len,
          .kv_len = shape.kv_len,
          .head_dim = shape.head_dim,
          .dtype = ATTUNE_BF16,
          .mask = shape.causal() ? ATTUNE_MASK_CAUSAL_BOTTOM_RIGHT : ATTUNE_MASK_NONE,
          .layout = shape.layout == Layout::bhsd ? ATTUNE_BHSD : ATTUNE_BSHD,
          .wants_lse = 0};
}

class RuntimeGpuTest : public GpuFixture {
 protected:
  void SetUp() override {
    GpuFixture::SetUp();
    if (IsSkipped()) return;
    context_ = *Context::retain(*driver_, 0);
    ASSERT_TRUE(context_->make_current());
    stream_ = *Stream::create(*context_);
    attune_open_options options = ATTUNE_OPEN_OPTIONS_INIT;
    const std::string cubins = folder_.string();
    options.cubins = cubins.c_str();
    options.packs = "";
    ASSERT_EQ(attune_open(&options, &library_), ATTUNE_OK) << attune_last_error();
  }
  void TearDown() override { attune_close(library_); }

  // Random q, k and v on the host and the device, and an output of NaN.
  void make_tensors(const Shape& shape) {
    const auto strides = [&](std::int64_t heads, std::int64_t length) {
      return contiguous_strides(shape.layout, heads, length, shape.head_dim);
    };
    const std::int64_t q_elements = shape.batch * shape.q_heads * shape.q_len * shape.head_dim;
    const std::int64_t kv_elements = shape.batch * shape.kv_heads * shape.kv_len * shape.head_dim;
    q_ = {random_bf16(q_elements, 1), strides(shape.q_heads, shape.q_len)};
    k_ = {random_bf16(kv_elements, 2), strides(shape.kv_heads, shape.kv_len)};
    v_ = {random_bf16(kv_elements, 3), strides(shape.kv_heads, shape.kv_len)};
    o_ = {std::vector<std::uint16_t>(static_cast<std::size_t>(q_elements)), q_.strides};
    const auto upload = [this](const HostTensor& from) {
      auto buffer = DeviceBuffer::allocate(*context_, static_cast<std::int64_t>(2 * from.values.size()));
      EXPECT_TRUE(buffer);
      EXPECT_TRUE(buffer->upload(std::as_bytes(std::span(from.values)), *stream_));
      return std::move(*buffer);
    };
    device_.clear();
    for (const HostTensor* tensor : {&q_, &k_, &v_, &o_}) device_.push_back(upload(*tensor));
    ASSERT_TRUE(device_[3].fill(0xff, *stream_));
    const auto at = [this](std::size_t i) { return reinterpret_cast<void*>(device_[i].address()); };
    tensors_ = attune_api::contiguous_tensors(c_shape(shape), at(0), at(1), at(2), at(3));
  }

  double relative_error(const Shape& shape) {
    EXPECT_TRUE(device_[3].download(std::as_writable_bytes(std::span(o_.values)), *stream_));
    EXPECT_TRUE(stream_->synchronize());
    double error = 0;
    double norm = 0;
    for (std::int64_t b = 0; b < shape.batch; ++b) {
      for (std::int64_t h = 0; h < shape.q_heads; ++h) {
        for (std::int64_t i = 0; i < shape.q_len; ++i) {
          const auto row = expected_row(shape, q_, k_, v_, b, h, i);
          for (std::int64_t d = 0; d < shape.head_dim; ++d) {
            const double expected = row[static_cast<std::size_t>(d)];
            error += std::pow(o_.at(b, h, i, d) - expected, 2);
            norm += expected * expected;
          }
        }
      }
    }
    return std::sqrt(error / norm);  // NaN where the output has one
  }

  attune_library* library_ = nullptr;
  std::optional<Context> context_;
  std::optional<Stream> stream_;
  HostTensor q_, k_, v_, o_;
  std::vector<DeviceBuffer> device_;
  attune_tensors tensors_{};
};

TEST_F(RuntimeGpuTest, ServesEveryKindOfShapeRight) {
  const Shape shapes[] = {
      {.batch = 2, .q_heads = 4, .kv_heads = 4, .q_len = 256, .kv_len = 256, .head_dim = 128},
      {.q_heads = 8,
       .kv_heads = 2,
       .q_len = 200,
       .kv_len = 200,
       .head_dim = 64,
       .mask = Mask::causal_bottom_right},
      {.q_heads = 4,
       .kv_heads = 4,
       .q_len = 130,
       .kv_len = 257,
       .head_dim = 80,
       .mask = Mask::causal_bottom_right},
      {.batch = 2,
       .q_heads = 4,
       .kv_heads = 1,
       .q_len = 192,
       .kv_len = 192,
       .head_dim = 96,
       .layout = Layout::bshd},
      {.q_heads = 8, .kv_heads = 8, .q_len = 1, .kv_len = 333, .head_dim = 128}};
  for (const Shape& shape : shapes) {
    make_tensors(shape);
    const attune_shape asked = c_shape(shape);
    ASSERT_EQ(attune_forward(library_, &asked, &tensors_, 0, stream_->handle()), ATTUNE_OK)
        << attune_last_error();
    EXPECT_LE(relative_error(shape), 5e-3) << to_string(shape);
  }
}

TEST_F(RuntimeGpuTest, IsCapturedOncePrepared) {
  const Shape shape{.q_heads = 4, .kv_heads = 2, .q_len = 256, .kv_len = 256, .head_dim = 64};
  make_tensors(shape);
  const attune_shape asked = c_shape(shape);
  attune_status status = ATTUNE_OK;
  const auto enqueue = [&]() -> Status {
    status = attune_forward(library_, &asked, &tensors_, 0, stream_->handle());
    if (status != ATTUNE_OK) return fail("{}", attune_last_error());
    return {};
  };
  const auto unprepared = Graph::capture(*stream_, enqueue);
  EXPECT_FALSE(unprepared);
  EXPECT_EQ(status, ATTUNE_NOT_PREPARED);
  ASSERT_EQ(attune_prepare(library_, &asked, nullptr), ATTUNE_OK) << attune_last_error();
  const auto graph = Graph::capture(*stream_, enqueue);
  ASSERT_TRUE(graph) << graph.error().message;
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(device_[3].fill(0xff, *stream_));
    ASSERT_TRUE(graph->launch(*stream_));
    EXPECT_LE(relative_error(shape), 5e-3);
  }
}

TEST_F(RuntimeGpuTest, AThreadMayPrepareWhileAnotherCaptures) {
  const Shape shape{.q_heads = 4, .kv_heads = 4, .q_len = 320, .kv_len = 320, .head_dim = 64};
  const attune_shape other =
      c_shape({.q_heads = 4, .kv_heads = 4, .q_len = 320, .kv_len = 328, .head_dim = 72});
  make_tensors(shape);
  const attune_shape asked = c_shape(shape);
  ASSERT_EQ(attune_prepare(library_, &asked, nullptr), ATTUNE_OK) << attune_last_error();
  attune_status prepared = ATTUNE_INTERNAL;
  const auto graph = Graph::capture(*stream_, [&]() -> Status {
    std::thread([&] { prepared = attune_prepare(library_, &other, nullptr); }).join();
    if (attune_forward(library_, &asked, &tensors_, 0, stream_->handle()) != ATTUNE_OK)
      return fail("refused");
    return {};
  });
  ASSERT_TRUE(graph) << graph.error().message;
  EXPECT_EQ(prepared, ATTUNE_OK);
  ASSERT_TRUE(graph->launch(*stream_));
  EXPECT_LE(relative_error(shape), 5e-3);
}

TEST_F(RuntimeGpuTest, ManyThreadsShareOneHandle) {
  const Shape shape{.q_heads = 4, .kv_heads = 4, .q_len = 256, .kv_len = 256, .head_dim = 64};
  make_tensors(shape);
  const attune_shape asked = c_shape(shape);
  std::vector<std::thread> threads;
  std::atomic<int> failures = 0;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      if (!context_->make_current()) ++failures;
      const auto stream = Stream::create(*context_);
      for (int i = 0; i < 50; ++i) {
        if (attune_forward(library_, &asked, &tensors_, 0, stream->handle()) != ATTUNE_OK) ++failures;
      }
      if (!stream->synchronize()) ++failures;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  EXPECT_LE(relative_error(shape), 5e-3);
}

TEST_F(RuntimeGpuTest, AThreadWithoutAContextMayLaunch) {
  const Shape shape{.q_heads = 4, .kv_heads = 4, .q_len = 256, .kv_len = 256, .head_dim = 64};
  make_tensors(shape);
  const attune_shape asked = c_shape(shape);
  ASSERT_EQ(attune_prepare(library_, &asked, nullptr), ATTUNE_OK) << attune_last_error();
  attune_status status = ATTUNE_INTERNAL;
  std::thread([&] { status = attune_forward(library_, &asked, &tensors_, 0, stream_->handle()); }).join();
  ASSERT_EQ(status, ATTUNE_OK);
  EXPECT_LE(relative_error(shape), 5e-3);
}

// The same kernel, other tensors: what was bound for the first must not serve the second.
TEST_F(RuntimeGpuTest, EachSetOfTensorsIsBoundByItself) {
  const Shape shape{.q_heads = 4, .kv_heads = 2, .q_len = 512, .kv_len = 512, .head_dim = 128};
  const attune_shape asked = c_shape(shape);
  std::vector<DeviceBuffer> former;
  for (int round = 0; round < 3; ++round) {
    make_tensors(shape);
    for (int i = 0; i < 2; ++i) {
      ASSERT_TRUE(device_[3].fill(0xff, *stream_));
      ASSERT_EQ(attune_forward(library_, &asked, &tensors_, 0, stream_->handle()), ATTUNE_OK)
          << attune_last_error();
      EXPECT_LE(relative_error(shape), 5e-3) << "round " << round;
    }
    for (auto& buffer : device_)
      former.push_back(std::move(buffer));  // so that the next have other addresses
  }
}

}  // namespace
}  // namespace attune
