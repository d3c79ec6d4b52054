// Attention forward for Hopper (sm_90a): O = softmax(scale Q K^T + mask) V, with TMA, mbarrier rings and wgmma.
//
// Roles: one producer thread copies tiles (hopper_pipeline.cuh draws the barrier protocol); kRowGroups x kKvGroups
// consumer warpgroups own 64 rows of a tile of Q each, rows of one head or of kPackedHeads heads that share K and V. S, P
// and O live in registers, Q there or in shared memory. With kKvGroups = 2 two warpgroups share the same rows, take
// alternate KV blocks and merge at the end, which halves the longest chain of a short row; with kCtaSplit > 1 as many CTAs
// share a tile, and the last to end adds up.
//
// The step of a consumer, with overlap (Shah et al., arXiv 2407.08608, section 3.2):
//
//     tensor cores   | S(j) = Q K(j)^T | O += P(j+1) V(j+1) |  ...
//     other units                      | softmax of S(j)    | rescale O, pack P(j)
//
// How far into the softmax O must be complete is kSoftmaxInBatches: the first batch of exponentials, or what ptxas makes
// of it.
//
// Between warpgroups: Sync::kGemm orders the issue of wgmmas, so that one computes its softmax while the other has the
// tensor cores; Sync::kExp orders the beginnings of their softmax; Sync::kNone lets the schedulers decide.
//
// A generated prelude defines, before this file: the facts of the shape class (kHeadDim, kCausal, kRaggedQ, kRaggedKv,
// kWantsLse, ATTUNE_FP16), the config (all other k-names used and not defined here) and the enums Grid and Sync.
#pragma once
#include "hopper_params.cuh"
#include "hopper_ptx.cuh"

using AttentionParams = attune::HopperParams;

#include "hopper_pipeline.cuh"
#include "hopper_softmax.cuh"

// Named barriers. 0 is __syncthreads.
constexpr u32 kBarrierTurn = 1;   // + warpgroup: it may issue its wgmmas (kGemm) or enter its softmax (kExp)
constexpr u32 kBarrierMerge = 5;
constexpr u32 kBarrierParts = 6;  // + row group

struct Consumer {
  static constexpr int kScores = kBlockN / 2;
  static constexpr int kOutputs = kHeadDim / 2;

  const AttentionParams& params;
  unsigned char* const shared;
  const u32 smem;
  const int warpgroup, row_group, kv_group;

  float s[kScores];
  u32 q[kQInRegisters ? kHeadDim / 4 : 1];
  u32 p[kBlockN / 4];
  float o[kOutputs];
  RowState rows;
  const u32 zero = params.tiles & 0x80000000u;  // which the compiler does not know

  bool accumulate;  // O holds something to add to

  RingPosition<kStagesQ> q_ring;
  RingPosition<kStagesK> k_ring;
  RingPosition<kStagesV> v_ring;
  Feeder feeder;
  int kv_offset;  // this group's first block, counted from the right: 0 or, of two groups, 1
  int position[2];  // of this thread's rows, in the sequence

  __device__ __forceinline__ Consumer(const AttentionParams& params, const Loader& loader, unsigned char* shared, int warpgroup)
      : params(params),
        shared(shared),
        smem(loader.smem),
        warpgroup(warpgroup),
        row_group(warpgroup % kRowGroups),
        kv_group(warpgroup / kRowGroups),
        feeder{loader},
        kv_offset(warpgroup / kRowGroups) {
    k_ring.advance(kv_group);
    v_ring.advance(kv_group);
  }

  // ---- turns between warpgroups ----

  __device__ __forceinline__ void take_turn() { ptx::barrier_sync(kBarrierTurn + warpgroup, 256); }
  __device__ __forceinline__ void pass_turn() {
    ptx::barrier_arrive(kBarrierTurn + (warpgroup + 1 == kConsumers ? 0 : warpgroup + 1), 256);
  }
  // Warpgroup 0 goes first: the last one passes it the turn before anything else.
  __device__ __forceinline__ void open_turns() {
    if (kSync != Sync::kNone && warpgroup == kConsumers - 1) pass_turn();
  }

  // ---- wgmma issue ----

  // S = Q K^T. Both operands have the head dimension contiguous; a k-step of 16 is 32 bytes of a swizzled row.
  __device__ __forceinline__ void issue_scores() {
    constexpr int kStepsPerChunk = kChunkColumns / 16;
    const u32 own_rows = smem + Layout::kQ + q_ring.stage * kTileBytesQ + row_group * 64 * kSwizzleBytes;
    const u64 q_tile = ptx::operand_descriptor<kSwizzleBytes>(own_rows, 16, 8 * kSwizzleBytes);
    const u32 k_tile = smem + Layout::kK + k_ring.stage * kTileBytesKv;
    const u64 k = ptx::operand_descriptor<kSwizzleBytes>(k_tile, 16, 8 * kSwizzleBytes);
    u64 q_steps[kHeadDim / 16], k_steps[kHeadDim / 16];
#pragma unroll
    for (int step = 0; step < kHeadDim / 16; ++step) {
      const int chunk = step / kStepsPerChunk;
      const int within = step % kStepsPerChunk * 32;
      q_steps[step] = q_tile + (chunk * kChunkBytesQ + within) / 16;
      k_steps[step] = k + (chunk * kChunkBytesKv + within) / 16;
    }
    if constexpr (kQInRegisters) {
      ptx::wgmma_scores(s, q, k_steps, false);
    } else {
      ptx::wgmma_scores(s, q_steps, k_steps, false);
    }
  }

  // Q as the A operand in registers, once a tile: wgmma then reads only K from shared memory, whose bandwidth it would else
  // nearly use up, and the buffer is free for the next tile at once.
  __device__ __forceinline__ void load_q_registers() {
    const int lane = threadIdx.x % 32;
    const u32 tile = smem + Layout::kQ + q_ring.stage * kTileBytesQ;
    const u32 row = (row_group * 64 + threadIdx.x % 128 / 32 * 16 + lane % 16) * kSwizzleBytes;
    const u32 swizzle = (row >> 7 & (kSwizzleBytes / 16 - 1)) << 4;
#pragma unroll
    for (int step = 0; step < kHeadDim / 16; ++step) {
      const u32 chunk = 32 * step / kSwizzleBytes, within = 32 * step % kSwizzleBytes + lane / 16 * 16;
      u32* const a = q + 4 * step;
      ptx::load_matrices(tile + chunk * kChunkBytesQ + row + (within ^ swizzle), a[0], a[1], a[2], a[3]);
    }
  }

  // O += P V. V has the head dimension contiguous, so it is the transposed operand: a k-step is 16 rows of every chunk.
  __device__ __forceinline__ void issue_output(bool accumulate) {
    const u32 v_tile = smem + Layout::kV + v_ring.stage * kTileBytesKv;
    const u64 v = ptx::operand_descriptor<kSwizzleBytes>(v_tile, kChunkBytesKv, 8 * kSwizzleBytes);
    u64 v_steps[kBlockN / 16];
#pragma unroll
    for (int step = 0; step < kBlockN / 16; ++step) v_steps[step] = v + step * 16 * kSwizzleBytes / 16;
    ptx::wgmma_output(o, p, v_steps, accumulate);
  }

  // ---- one KV block ----

  __device__ __forceinline__ void wait_q() { ptx::mbarrier_wait(smem + Layout::kQFull + 8 * q_ring.stage, q_ring.phase); }
  __device__ __forceinline__ void wait_k() { ptx::mbarrier_wait(smem + Layout::kKFull + 8 * k_ring.stage, k_ring.phase); }
  __device__ __forceinline__ void wait_v() { ptx::mbarrier_wait(smem + Layout::kVFull + 8 * v_ring.stage, v_ring.phase); }
  __device__ __forceinline__ void release_q() {
    if (kGrid != Grid::kFlat) release(smem + Layout::kQEmpty + 8 * q_ring.stage);
    q_ring.advance();
  }
  __device__ __forceinline__ void take_q() {
    wait_q();
    if constexpr (kQInRegisters) load_q_registers();
  }
  // After the first scores of a tile, which are complete, hence so are the loads of their operands. Not right after the
  // loads: they may still wait for shared memory behind the wgmmas of another warpgroup when the copy engine, which another
  // proxy orders, overwrites the buffer. Seen where a tile is of one block, so that the producer waits for its buffer.
  __device__ __forceinline__ void leave_q_in_registers() {
    if constexpr (kQInRegisters) {
      ptx::fence_async_proxy();
      release_q();
    }
  }
  // After the last scores of a tile.
  __device__ __forceinline__ void leave_q() {
    if constexpr (kQInRegisters) return;
    if constexpr (kStoreThroughQ) {
      q_ring.advance();  // released with the tile's O in it
    } else {
      release_q();
    }
  }
  __device__ __forceinline__ void release_k(int block) {
    release(smem + Layout::kKEmpty + 8 * k_ring.stage);
    if constexpr (kProducerWarps == 0) feeder.feed_k(k_ring, block);
    k_ring.advance(kKvGroups);
  }
  __device__ __forceinline__ void release_v(int block) {
    release(smem + Layout::kVEmpty + 8 * v_ring.stage);
    if constexpr (kProducerWarps == 0) feeder.feed_v(v_ring, block);
    v_ring.advance(kKvGroups);
  }

  template <bool kMasked>
  __device__ __forceinline__ void mask(int block) {
    if constexpr (kMasked) {
      const int first_column = block * kBlockN + threadIdx.x % 4 * 2;
      int limit[2];
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        limit[h] = params.kv_len;
        if constexpr (kCausal) limit[h] = min(limit[h], position[h] + params.causal_offset + 1);
        limit[h] -= first_column;
      }
      mask_scores<kBlockN>(s, limit);
    }
  }

  // Issues S(block), and O += P V of the block before it if there is one, then turns S into P.
  template <bool kOutput, bool kFirst, bool kMasked>
  __device__ __forceinline__ void next_scores(int block) {
    wait_k();
    if constexpr (kSync == Sync::kGemm) take_turn();
    ptx::wgmma_fence();
    issue_scores();
    ptx::wgmma_commit();
    if constexpr (kOutput) {
      wait_v();
      ptx::wgmma_fence();
      issue_output(accumulate);
      ptx::wgmma_commit();
      accumulate = true;
    }
    if constexpr (kSync == Sync::kGemm) pass_turn();
    ptx::wgmma_wait<kOutput ? 1 : 0>();
    ptx::pin(s);
    release_k(block);
    mask<kMasked>(block);
    float scale_log2 = params.scale_log2;
    if constexpr (kSync == Sync::kExp) {
      take_turn();
      scale_log2 = ptx::after_barrier(scale_log2, zero);
    }
    SoftmaxBlock<kBlockN, kFirst, kMasked> softmax(s, p, rows, scale_log2);
    // The first block has the tile before it to finish as well, and no registers for batches.
    if constexpr (kSoftmaxInBatches && !kFirst) {
      softmax_in_batches(softmax, block);
    } else {
      softmax_at_once<kOutput, kFirst>(softmax, block);
    }
  }

  // Before this O is incomplete and P is being read.
  template <bool kOutput>
  __device__ __forceinline__ void wait_for_output(int block) {
    if constexpr (kSync == Sync::kExp) pass_turn();
    if constexpr (kOutput) {
      ptx::wgmma_wait<0>();
      ptx::pin(o);
      release_v(block + kKvGroups);
    }
  }

  // Leaves the order to the compiler, which moves most exponentials past the wait. Takes the fewest registers.
  template <bool kOutput, bool kFirst, typename Softmax>
  __device__ __forceinline__ void softmax_at_once(Softmax& softmax, int block) {
#pragma unroll
    for (int h = 0; h < 2; ++h) softmax.find_maximum(h);
#pragma unroll
    for (int h = 0; h < 2; ++h) softmax.use_maximum(h);
    softmax.exponentials_and_sums();
    ptx::pin(s);
    wait_for_output<kOutput>(block);
    ptx::pin(s);
    if constexpr (kOutput && !kFirst) {
#pragma unroll
      for (int i = 0; i < kOutputs; ++i) o[i] *= softmax.rescale[i / 2 % 2];
    }
    softmax.pack();
  }

  // Fixes the order: the first exponentials, and the maximum of the second row, run beside O += P V; the sums, the packing
  // and the rescaling of O beside the exponentials of the batch after, in whose shadow they cost little.
  template <typename Softmax>
  __device__ __forceinline__ void softmax_in_batches(Softmax& softmax, int block) {
    constexpr int kBatches = Softmax::kBatches;
    softmax.find_maximum(0);
    softmax.use_maximum(0);
    softmax.exponentials(0);
    softmax.find_maximum(1);
    softmax.use_maximum(1);
    // ptxas moves arithmetic across waits, but none down across a branch. This one is never taken.
    if (zero != 0) ptx::mbarrier_wait(smem + Layout::kKFull, 0);
    wait_for_output<true>(block);
#pragma unroll
    for (int batch = 0; batch < kBatches; ++batch) {
      if (batch + 1 < kBatches) softmax.exponentials(batch + 1);
      softmax.sum_and_pack(batch);
      rescale_output<kBatches>(batch, softmax.rescale);
    }
  }

  // The part of O that goes with a batch, whose row it is of.
  template <int kBatches>
  __device__ __forceinline__ void rescale_output(int batch, const float (&factor)[2]) {
    constexpr int kParts = kBatches / 2;
    const int h = batch / kParts, part = batch % kParts;
#pragma unroll
    for (int k = 0; k < kOutputs / 2; ++k) {
      if (k * kParts / (kOutputs / 2) == part) o[k / 2 * 4 + 2 * h + k % 2] *= factor[h];
    }
  }

  template <bool kMasked>
  __device__ __forceinline__ void next_block(int block) {
    next_scores<true, false, kMasked>(block);
  }

  __device__ __forceinline__ void last_output(int block = 0) {
    wait_v();
    ptx::wgmma_fence();
    issue_output(accumulate);
    ptx::wgmma_commit();
    ptx::wgmma_wait<0>();
    ptx::pin(o);
    release_v(block);
    accumulate = true;
  }

  // ---- one tile ----

  static constexpr bool kAnyMask = kCausal || kRaggedKv;

  // The loops of a tile: blocks with a mask, then blocks without. Compact: one loop, so that the code is short, for
  // rows where fetching it is what costs.
  template <typename Masked, typename Unmasked>
  __device__ __forceinline__ void for_blocks(const Tile& tile, int block, Masked masked, Unmasked unmasked) {
    if constexpr (kCompact) {
#pragma unroll 1
      for (; block >= tile.first_block; block -= kKvGroups) masked(block);
      return;
    }
    if constexpr (kCausal) {
      const int end = max(tile.unmasked, tile.first_block);
#pragma unroll 1
      for (; block >= end; block -= kKvGroups) masked(block);
    }
#pragma unroll 1
    for (; block >= tile.first_block; block -= kKvGroups) unmasked(block);
  }

  // The first scores of a tile are computed beside the last output of the tile before it (kPending), whose rows
  // are then finished while P of the new tile waits.
  template <bool kPending>
  __device__ __forceinline__ void begin_overlapped(const Tile& tile, const Tile& previous) {
    const RowState previous_rows = rows;
    take_q();
    next_scores<kPending, true, kAnyMask>(tile.end_block - 1 - kv_offset);
    if constexpr (kStoreThroughQ) {
      if constexpr (kPending) {
        leave_output(previous, previous_rows);
      } else {
        leave_q_in_registers();
      }
    } else {
      leave_q_in_registers();
      if constexpr (kPending) store(previous, previous_rows);
    }
    accumulate = false;
  }
  __device__ __forceinline__ void go_on_overlapped(const Tile& tile) {
    for_blocks(
        tile, tile.end_block - 1 - kv_offset - kKvGroups, [&](int block) { next_block<kAnyMask && (kCausal || kCompact)>(block); },
        [&](int block) { next_block<false>(block); });
    leave_q();
  }

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int i = 0; i < kOutputs; ++i) o[i] = 0.0f;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      rows.max[h] = -kInfinity;
      rows.sum[h] = 0.0f;
    }
  }

  // ---- this thread's rows ----

  // In the tile.
  __device__ __forceinline__ int tile_row(int h) const {
    return row_group * 64 + threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4 + 8 * h;
  }
  __device__ __forceinline__ void take_rows(const Tile& tile) {
#pragma unroll
    for (int h = 0; h < 2; ++h) position[h] = tile.position(tile_row(h));
  }

  // Symmetric to the bit, which a fused multiply and add is not: which group took which blocks is up to the schedule.
  static __device__ __forceinline__ float weigh(float a, float weight_a, float b, float weight_b) {
    return __fadd_rn(__fmul_rn(a, weight_a), __fmul_rn(b, weight_b));
  }

  // Group 1 leaves its rows in shared memory, group 0 adds them to its own. Before the first barrier both groups have
  // finished their blocks, and group 0 the merge of the tile before.
  __device__ __forceinline__ void merge_groups() {
    constexpr int kWords = 128 * (kOutputs + 4);
    float* slot = reinterpret_cast<float*>(shared + Layout::kMerge) + row_group * kWords + threadIdx.x % 128;
    // All warpgroups: a ring stage is shared by the row groups.
    ptx::barrier_sync(kBarrierMerge, kConsumerThreads);
    if (kv_group == 1) {
#pragma unroll
      for (int i = 0; i < kOutputs; ++i) slot[128 * i] = o[i];
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        slot[128 * (kOutputs + h)] = rows.max[h];
        slot[128 * (kOutputs + 2 + h)] = rows.sum[h];
      }
    }
    ptx::barrier_sync(kBarrierMerge, kConsumerThreads);
    if (kv_group == 0) {
      float own[2], other[2];
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const float other_max = slot[128 * (kOutputs + h)];
        const float top = fmaxf(rows.max[h], other_max);
        const float base = top == -kInfinity ? 0.0f : top * params.scale_log2;
        own[h] = ptx::exp2_approx(fmaf(rows.max[h], params.scale_log2, -base));
        other[h] = ptx::exp2_approx(fmaf(other_max, params.scale_log2, -base));
        rows.max[h] = top;
        rows.sum[h] = weigh(rows.sum[h], own[h], slot[128 * (kOutputs + 2 + h)], other[h]);
      }
#pragma unroll
      for (int i = 0; i < kOutputs; ++i) o[i] = weigh(o[i], own[i / 2 % 2], slot[128 * i], other[i / 2 % 2]);
    }
  }

  __device__ __forceinline__ void store_lse(const Tile& tile, int row, float max, float sum) {
    const long long head = static_cast<long long>(tile.batch) * params.q_heads + tile.head + Tile::packed_head(row);
    params.lse[head * params.q_len + tile.position(row)] =
        sum > 0.0f ? (max * params.scale_log2 + ptx::log2_approx(sum)) * 0.69314718056f : -kInfinity;
  }

  // What O is to be multiplied by in row h, whose LSE is written.
  __device__ __forceinline__ float close_row(const Tile& tile, const RowState& rows, int h) {
    const float sum = quad_sum(rows.sum[h]);
    const int row = tile_row(h);
    if constexpr (kWantsLse) {
      if (threadIdx.x % 4 == 0 && tile.has(row)) store_lse(tile, row, rows.max[h], sum);
    }
    return sum > 0.0f ? ptx::reciprocal_approx(sum) : 0.0f;
  }

  // Puts O of a tile that is not the last down in the buffer of a Q that nobody reads any more, for the producer to store,
  // and leaves it the buffer. Each warp writes the rows that it alone has read. The copy engine reads boxes that begin
  // before row 0, but stores none (an illegal instruction, seen on an H100), so those are stored here.
  __device__ __forceinline__ void leave_output(const Tile& tile, const RowState& rows) {
    const u32 stage = kQInRegisters ? q_ring.stage : q_ring.stage ^ 1;
    if (kRaggedQ && tile.first_row < 0) {
      store(tile, rows);
    } else {
      put_down_output(tile, rows, smem + Layout::kQ + stage * kTileBytesQ);
    }
    ptx::fence_async_proxy();
    release(smem + Layout::kQEmpty + 8 * stage);
    if constexpr (kQInRegisters) q_ring.advance();
  }

  __device__ __forceinline__ void put_down_output(const Tile& tile, const RowState& rows, u32 buffer) {
    const int lane = threadIdx.x % 32;
    const u32 row = (row_group * 64 + threadIdx.x % 128 / 32 * 16 + lane % 16) * kSwizzleBytes;
    const u32 swizzle = (row >> 7 & (kSwizzleBytes / 16 - 1)) << 4;
    const float inverse[2] = {close_row(tile, rows, 0), close_row(tile, rows, 1)};
#pragma unroll
    for (int step = 0; step < kHeadDim / 16; ++step) {
      const u32 chunk = 32 * step / kSwizzleBytes, within = 32 * step % kSwizzleBytes + lane / 16 * 16;
      u32 v[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int j = 8 * step + 2 * i;
        v[i] = ptx::pack(o[j] * inverse[i % 2], o[j + 1] * inverse[i % 2]);
      }
      ptx::store_matrices(buffer + chunk * kChunkBytesQ + row + (within ^ swizzle), v[0], v[1], v[2], v[3]);
    }
  }

  __device__ __forceinline__ char* output_row(const Tile& tile, int row) const {
    return static_cast<char*>(params.o) +
           2 * (tile.batch * params.o_batch_stride + (tile.head + Tile::packed_head(row)) * params.o_head_stride +
                tile.position(row) * params.o_row_stride);
  }

  // Divides by the row sums and writes O from registers. The four threads of a quad hold 4 bytes each of a row's group
  // of 8 columns; transposing four groups among them gives each 16 contiguous bytes.
  __device__ __forceinline__ void store(const Tile& tile, const RowState& rows) {
    const int lane = threadIdx.x % 4;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float inverse = close_row(tile, rows, h);
      const bool exists = tile.has(tile_row(h));
      char* const destination = output_row(tile, tile_row(h));
      constexpr int kGroups = kHeadDim / 8;
#pragma unroll
      for (int group = 0; group < kGroups; group += 4) {
        u32 v[4];
#pragma unroll
        for (int g = 0; g < 4; ++g) {
          const int i = 4 * (group + g) + 2 * h;
          v[g] = group + g < kGroups ? ptx::pack(o[i % kOutputs] * inverse, o[(i + 1) % kOutputs] * inverse) : 0;
        }
        transpose_quad(v, lane);
        if (exists && group + lane < kGroups) {
          ptx::store_global(destination + 16 * (group + lane), v[0], v[1], v[2], v[3]);
        }
      }
    }
  }

  // Thread t of a quad ends with word t of threads 0 to 3, in order.
  static __device__ __forceinline__ void transpose_quad(u32 (&v)[4], int lane) {
#pragma unroll
    for (int bit = 1; bit <= 2; bit *= 2) {
      const bool upper = lane & bit;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (i & bit) continue;
        const u32 received = __shfl_xor_sync(0xffffffff, upper ? v[i] : v[i | bit], bit);
        if (upper) {
          v[i] = received;
        } else {
          v[i | bit] = received;
        }
      }
    }
  }

  // A tile with nothing carried in or out. A group may have no block of it.
  __device__ __forceinline__ void run_alone(const Tile& tile) {
    if (tile.blocks() <= kv_offset) {
      clear();
      wait_q();
      release_q();
    } else {
      begin_overlapped<false>(tile, tile);
      go_on_overlapped(tile);
      last_output();
    }
  }

  // The rows of this warpgroup, of which the CTAs that share the tile have a part each: all leave theirs in global memory,
  // the last to come adds them up.
  __device__ __forceinline__ void leave_part(const Tile& tile, int item) {
    const int slot = item / kCtaSplit * kRowGroups + row_group;
    float* const parts = params.partials + static_cast<long long>(slot) * kCtaSplit * kPartWords;
    float* const own = parts + item % kCtaSplit * kPartWords;
    const int column = threadIdx.x % 4 * 2;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float sum = quad_sum(rows.sum[h]);
      if (!tile.has(tile_row(h))) continue;
      const int row = tile_row(h) % 64;
#pragma unroll
      for (int j = 0; j < kHeadDim / 8; ++j) {
        ptx::store_for_other_ctas(own + row * kHeadDim + 8 * j + column, o[4 * j + 2 * h], o[4 * j + 2 * h + 1]);
      }
      if (column == 0) ptx::store_for_other_ctas(own + 64 * kHeadDim + 2 * row, rows.max[h], sum);
    }
    // The barriers order the other threads' accesses before and after those of the thread that counts, its fences these
    // among CTAs: fences are cumulative (PTX ISA, Memory Consistency Model, causality order).
    ptx::barrier_sync(kBarrierParts + row_group, 128);
    bool last = false;
    if (threadIdx.x % 128 == 0) {
      __threadfence();
      // Wraps to zero by itself at the last part.
      last = atomicInc(params.counters + slot, tile.parts - 1) == tile.parts - 1;
      __threadfence();
    }
    if (!ptx::barrier_any(kBarrierParts + row_group, 128, last)) return;
    for (int row = threadIdx.x % 128 / 32; row < 64; row += 4) {
      if (tile.has(row_group * 64 + row)) add_parts(tile, row_group * 64 + row, parts, row);
    }
  }

  // One row, by one warp, in the order of the blocks: the same bits whichever CTA is the last.
  __device__ __forceinline__ void add_parts(const Tile& tile, int tile_row, const float* parts, int row) {
    const int lane = threadIdx.x % 32;
    float2 own = {-kInfinity, 0.0f};  // maximum and sum of the part that has this lane's number
    if (lane < tile.parts) own = ptx::load_of_other_ctas(parts + lane * kPartWords + 64 * kHeadDim + 2 * row);
    const float top = warp_max(own.x);
    const float base = top == -kInfinity ? 0.0f : top * params.scale_log2;
    const float weight = ptx::exp2_approx(fmaf(own.x, params.scale_log2, -base));
    const float sum = warp_sum(own.y * weight);
    const float inverse = sum > 0.0f ? ptx::reciprocal_approx(sum) : 0.0f;

    constexpr int kPairs = (kHeadDim / 2 + 31) / 32;  // of columns, a lane
    float2 total[kPairs] = {};
#pragma unroll 4
    for (int part = 0; part < tile.parts; ++part) {
      const float part_weight = __shfl_sync(0xffffffff, weight, part) * inverse;
#pragma unroll
      for (int i = 0; i < kPairs; ++i) {
        const int column = 2 * (lane + 32 * i);
        if (column >= kHeadDim) continue;
        const float2 value = ptx::load_of_other_ctas(parts + part * kPartWords + row * kHeadDim + column);
        total[i].x = fmaf(value.x, part_weight, total[i].x);
        total[i].y = fmaf(value.y, part_weight, total[i].y);
      }
    }
    char* const destination = output_row(tile, tile_row);
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      const int column = 2 * (lane + 32 * i);
      if (column < kHeadDim) ptx::store_global(destination + 2 * column, ptx::pack(total[i].x, total[i].y));
    }
    if constexpr (kWantsLse) {
      if (lane == 0) store_lse(tile, tile_row, top, sum);
    }
  }

  __device__ __forceinline__ void finish(const Tile& tile, int item) {
    if constexpr (kKvGroups > 1) merge_groups();
    if (kv_group != 0) return;
    if (kCtaSplit > 1 && tile.parts > 1) {
      leave_part(tile, item);
    } else {
      store(tile, rows);
    }
  }

  __device__ __forceinline__ void run() {
    ConsumerTiles tiles{params, smem};
    int index = tiles.first();
    if (index >= params.tiles) return;
    Tile tile = tile_of(index, params);
    if (kCtaSplit > 1 && tile.blocks() <= 0) return;
    open_turns();
    take_rows(tile);
    if constexpr (kProducerWarps == 0) feeder.fill(tile, kv_group);

    if constexpr (kGrid == Grid::kFlat || kKvGroups > 1) {
#pragma unroll 1
      while (true) {
        run_alone(tile);
        finish(tile, index);
        if (kGrid == Grid::kFlat) break;
        // After an odd number of blocks the ring's next one is due to the other group.
        kv_offset ^= tile.blocks() & (kKvGroups - 1);
        index = tiles.next();
        if (index >= params.tiles) break;
        tile = tile_of(index, params);
        take_rows(tile);
      }
    } else {
      begin_overlapped<false>(tile, tile);
#pragma unroll 1
      while (true) {
        go_on_overlapped(tile);
        index = tiles.next();
        if (index >= params.tiles) break;
        const Tile previous = tile;
        tile = tile_of(index, params);
        take_rows(tile);
        begin_overlapped<true>(tile, previous);
      }
      last_output();
      finish(tile, index);
    }
  }
};

extern "C" __global__ void __launch_bounds__(kThreads, kCtasPerSm)
    attention_forward(const __grid_constant__ AttentionParams params) {
  extern __shared__ __align__(1024) unsigned char shared[];
  const u32 smem = ptx::smem_address(shared);
  const int warp = __shfl_sync(0xffffffff, threadIdx.x / 32, 0);  // tells the compiler that it is uniform
  constexpr int kFirstProducerWarp = kProducerWarps > 0 ? kConsumerThreads / 32 : 0;

  const Loader loader{smem, params};
  Producer producer(loader);
  if (warp == kFirstProducerWarp && ptx::elect_one()) {
    ptx::prefetch_tensor_map(params.k);
    ptx::prefetch_tensor_map(params.q);
    ptx::prefetch_tensor_map(params.v);
    init_barriers(smem);
    if constexpr (kProducerWarps > 0) producer.begin();
  }
  __syncthreads();

  if (kProducerWarps > 0 && warp >= kFirstProducerWarp) {
    if constexpr (kProducerRegisters > 0) ptx::give_registers<kProducerRegisters>();
    if (warp == kFirstProducerWarp && ptx::elect_one()) producer.run();  // the same thread as above
  } else {
    if constexpr (kConsumerRegisters > 0) ptx::take_registers<kConsumerRegisters>();
    Consumer consumer(params, loader, shared, warp / 4);
    consumer.run();
  }
}
