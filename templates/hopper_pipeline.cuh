// The pipeline frame of the Hopper attention kernel: shared memory, barriers, rings, the tile schedule and the producer.
// It moves tiles and says when they may be read or overwritten; it knows nothing of softmax.
//
//   producer (one thread)                                consumers (warpgroups of 128 threads)
//   ---------------------                                -------------------------------------
//   wait  k_empty[s] ----------------------------------- arrive, a lane of each warp, when S = Q K^T is complete
//   copy K block, bytes counted at k_full[s] ----------- wait, all threads
//   wait  q_empty    ----------------------------------- arrive, a lane of each warp, after the tile's last S (persistent)
//   copy Q tile, bytes counted at q_full --------------- wait, all threads
//   wait  v_empty[s] ----------------------------------- arrive, a lane of each warp, when O += P V is complete
//   copy V block, bytes counted at v_full[s] ----------- wait, all threads
//
// Per tile the producer sends K[n-1], Q, then K[j], V[j+1] for j = n-2 .. 0, then V[0]: V lags K by one block, as the
// consumers do. Blocks run from the right, so the masked ones come first. A ring position has a stage and a phase bit;
// consumers wait for the phase, the producer for its complement, which a fresh barrier reports as complete.
//
// The KV blocks of a tile are dealt to kKvGroups groups of consumers in turn: group g takes ring positions g,
// g + kKvGroups, ... A stage is therefore released by the kRowGroups warpgroups of one group only.
#pragma once
#include "hopper_ptx.cuh"

using ptx::u16;
using ptx::u32;
using ptx::u64;

// ---- shapes of the tiles ----

constexpr int kConsumers = kRowGroups * kKvGroups;
constexpr int kConsumerThreads = 128 * kConsumers;
constexpr int kThreads = kConsumerThreads + 32 * kProducerWarps;
constexpr int kBlockM = 64 * kRowGroups;

// A tile of R rows is stored as kChunks chunks of R x kChunkColumns elements, each row one swizzle span, so that every
// chunk is one TMA box and every wgmma operand has one layout. A head_dim that does not fill its last chunk leaves
// columns that TMA fills with zeros and no wgmma reads.
constexpr int kChunkColumns = kSwizzleBytes / 2;
constexpr int kChunks = (kHeadDim + kChunkColumns - 1) / kChunkColumns;
constexpr u32 kChunkBytesQ = kBlockM * kSwizzleBytes;
constexpr u32 kChunkBytesKv = kBlockN * kSwizzleBytes;
constexpr u32 kTileBytesQ = kChunks * kChunkBytesQ;
constexpr u32 kTileBytesKv = kChunks * kChunkBytesKv;

constexpr u32 kMergeBytes = kKvGroups > 1 ? kRowGroups * 128 * (kHeadDim / 2 + 4) * 4 * (kKvGroups - 1) : 0;

// ---- shared memory ----

struct Layout {
  static constexpr u32 kQ = 0;
  static constexpr u32 kK = kQ + kTileBytesQ;
  static constexpr u32 kV = kK + kStagesK * kTileBytesKv;
  static constexpr u32 kTiles = kV + kStagesV * kTileBytesKv;
  // The merge of KV groups happens after the last block of the launch's only tile, so it may reuse the rings.
  static constexpr u32 kMerge = kK;
  static constexpr u32 kRings = kTiles > kMerge + kMergeBytes ? kTiles : kMerge + kMergeBytes;
  static constexpr u32 kQFull = (kRings + 7) / 8 * 8;
  static constexpr u32 kQEmpty = kQFull + 8;
  static constexpr u32 kKFull = kQEmpty + 8;
  static constexpr u32 kKEmpty = kKFull + 8 * kStagesK;
  static constexpr u32 kVFull = kKEmpty + 8 * kStagesK;
  static constexpr u32 kVEmpty = kVFull + 8 * kStagesV;
  static constexpr u32 kTileFull = kVEmpty + 8 * kStagesV;  // dynamic schedule: the mailbox holds the next tile
  static constexpr u32 kTileEmpty = kTileFull + 8;
  static constexpr u32 kMailbox = kTileEmpty + 8;
  static constexpr u32 kBytes = kMailbox + 16;
};

template <int kStages>
struct RingPosition {
  u32 stage = 0;
  u32 phase = 0;

  __device__ __forceinline__ void advance(int steps = 1) {
    stage += steps;
    while (stage >= kStages) {
      stage -= kStages;
      phase ^= 1;
    }
  }
};

__device__ __forceinline__ void init_barriers(u32 smem) {
  ptx::mbarrier_init(smem + Layout::kQFull, 1);
  ptx::mbarrier_init(smem + Layout::kQEmpty, 4 * kConsumers);
#pragma unroll
  for (int i = 0; i < kStagesK; ++i) {
    ptx::mbarrier_init(smem + Layout::kKFull + 8 * i, 1);
    ptx::mbarrier_init(smem + Layout::kKEmpty + 8 * i, 4 * kRowGroups);
  }
#pragma unroll
  for (int i = 0; i < kStagesV; ++i) {
    ptx::mbarrier_init(smem + Layout::kVFull + 8 * i, 1);
    ptx::mbarrier_init(smem + Layout::kVEmpty + 8 * i, 4 * kRowGroups);
  }
  ptx::mbarrier_init(smem + Layout::kTileFull, 1);
  ptx::mbarrier_init(smem + Layout::kTileEmpty, 4 * kConsumers);
  ptx::fence_mbarrier_init();
}

// One arrival for the calling warp, after all of its lanes have passed.
__device__ __forceinline__ void release(u32 barrier) {
  __syncwarp();
  if (threadIdx.x % 32 == 0) ptx::mbarrier_arrive(barrier);
}

// ---- tiles ----

// A tile is kBlockM rows of Q of one head. blocks counts the KV blocks that any of its rows attends to; the first
// unmasked of them are attended to in full by every row.
struct Tile {
  int head;
  int batch;
  int first_row;
  int blocks;
  int unmasked;
};

__device__ __forceinline__ Tile tile_of(int index, const AttentionParams& params) {
  // Heads form sections whose K and V share the L2 cache; inside a section the row blocks of its heads alternate.
  const int heads = params.q_heads * params.batch;
  const int per_section = params.section_heads * params.row_blocks;
  const int section = index / per_section;
  const int in_section = index - section * per_section;
  const int section_size = min(params.section_heads, heads - section * params.section_heads);
  const int row_index = in_section / section_size;
  const int head_and_batch = section * params.section_heads + in_section - row_index * section_size;

  Tile tile;
  tile.batch = head_and_batch / params.q_heads;
  tile.head = head_and_batch - tile.batch * params.q_heads;
  tile.first_row = (kLongestFirst ? params.row_blocks - 1 - row_index : row_index) * kBlockM;
  int kv_end = params.kv_len;
  tile.unmasked = params.kv_len / kBlockN;
  if constexpr (kCausal) {
    const int end_row = min(tile.first_row + kBlockM, params.q_len);
    kv_end = max(0, min(kv_end, end_row + params.causal_offset));
    tile.unmasked = min(tile.unmasked, max(0, tile.first_row + params.causal_offset + 1) / kBlockN);
  }
  tile.blocks = (kv_end + kBlockN - 1) / kBlockN;
  return tile;
}

// The static schedules. Flat: the tile of the block. Persistent: blocked gives a block consecutive tiles, interleaved
// every gridDim-th; snake reverses every other round, which evens out tiles sorted by length.
__device__ __forceinline__ int static_tile(int round, const AttentionParams& params) {
  const int block = blockIdx.x;
  const int blocks = gridDim.x;
  if constexpr (kGrid == Grid::kFlat) return round == 0 ? block : params.tiles;
  if constexpr (kGrid == Grid::kPersistentBlocked) {
    const int each = (params.tiles + blocks - 1) / blocks;
    return round < each ? block * each + round : params.tiles;
  }
  if constexpr (kGrid == Grid::kPersistentSnake) return round * blocks + (round % 2 ? blocks - 1 - block : block);
  return round * blocks + block;
}

// The dynamic schedule hands out tiles in order. The producer draws the next tile while the consumers work on the
// current one and leaves it in a mailbox. The last block to finish zeroes the counter for the next launch.
struct ProducerTiles {
  const AttentionParams& params;
  u32 smem;
  int round = 0;
  int index = 0;
  int next_index = 0;

  __device__ __forceinline__ int first() {
    index = static_tile(0, params);
    return index;
  }
  // Before the loads of a tile: starts the draw of the tile after it, whose latency the loads then hide.
  __device__ __forceinline__ void draw_next() {
    if constexpr (kGrid == Grid::kDynamic) next_index = static_cast<int>(gridDim.x + atomicAdd(params.counters, 1u));
  }
  // After the loads of a tile: the consumers empty the mailbox when they begin this tile.
  __device__ __forceinline__ void announce_next() {
    if constexpr (kGrid == Grid::kDynamic) {
      ptx::mbarrier_wait(smem + Layout::kTileEmpty, (round & 1) ^ 1);
      asm volatile("st.shared.b32 [%0], %1;" ::"r"(smem + Layout::kMailbox), "r"(next_index) : "memory");
      ptx::mbarrier_arrive(smem + Layout::kTileFull);
    }
  }
  __device__ __forceinline__ int next() {
    ++round;
    index = kGrid == Grid::kDynamic ? next_index : static_tile(round, params);
    return index;
  }
  __device__ __forceinline__ void finish() {
    if constexpr (kGrid == Grid::kDynamic) {
      __threadfence();
      // atomicInc wraps to zero by itself at the last block.
      if (atomicInc(params.counters + 1, gridDim.x - 1) == gridDim.x - 1) atomicExch(params.counters, 0u);
    }
  }
};

struct ConsumerTiles {
  const AttentionParams& params;
  u32 smem;
  int round = 0;

  __device__ __forceinline__ int first() { return static_tile(0, params); }
  __device__ __forceinline__ int next() {
    ++round;
    if constexpr (kGrid != Grid::kDynamic) return static_tile(round, params);
    ptx::mbarrier_wait(smem + Layout::kTileFull, (round - 1) & 1);
    int index;
    asm volatile("ld.shared.b32 %0, [%1];" : "=r"(index) : "r"(smem + Layout::kMailbox) : "memory");
    release(smem + Layout::kTileEmpty);
    return index;
  }
};

// ---- the producer ----

constexpr u64 hint_of(int hint) { return hint == 1 ? ptx::kHintFirst : hint == 2 ? ptx::kHintLast : ptx::kHintNone; }

template <int kHint>
__device__ __forceinline__ void copy_tile(u32 destination, u32 chunk_bytes, const ptx::TensorMap& map, u32 barrier, int row,
                                          int head, int batch) {
#pragma unroll
  for (int chunk = 0; chunk < kChunks; ++chunk) {
    ptx::copy_box<hint_of(kHint)>(destination + chunk * chunk_bytes, map, barrier, chunk * kChunkColumns, row, head, batch);
  }
}

// Run by one thread.
__device__ __forceinline__ void produce(u32 smem, const ptx::TensorMap& q_map, const ptx::TensorMap& k_map,
                                        const ptx::TensorMap& v_map, const AttentionParams& params) {
  RingPosition<kStagesK> k_ring;
  RingPosition<kStagesV> v_ring;
  RingPosition<1> q_ring;
  ProducerTiles tiles{params, smem};

  for (int index = tiles.first(); index < params.tiles; index = tiles.next()) {
    tiles.draw_next();
    const Tile tile = tile_of(index, params);
    const int kv_head = tile.head / params.q_heads_per_kv_head;

    auto load_k = [&](int block) {
      const u32 full = smem + Layout::kKFull + 8 * k_ring.stage;
      ptx::mbarrier_wait(smem + Layout::kKEmpty + 8 * k_ring.stage, k_ring.phase ^ 1);
      ptx::mbarrier_arrive_expect_bytes(full, kTileBytesKv);
      copy_tile<kHintK>(smem + Layout::kK + k_ring.stage * kTileBytesKv, kChunkBytesKv, k_map, full, block * kBlockN, kv_head,
                        tile.batch);
      k_ring.advance();
    };
    auto load_v = [&](int block) {
      const u32 full = smem + Layout::kVFull + 8 * v_ring.stage;
      ptx::mbarrier_wait(smem + Layout::kVEmpty + 8 * v_ring.stage, v_ring.phase ^ 1);
      ptx::mbarrier_arrive_expect_bytes(full, kTileBytesKv);
      copy_tile<kHintV>(smem + Layout::kV + v_ring.stage * kTileBytesKv, kChunkBytesKv, v_map, full, block * kBlockN, kv_head,
                        tile.batch);
      v_ring.advance();
    };

    if (tile.blocks > 0) {
      load_k(tile.blocks - 1);
      if (kGrid != Grid::kFlat) ptx::mbarrier_wait(smem + Layout::kQEmpty, q_ring.phase ^ 1);
      ptx::mbarrier_arrive_expect_bytes(smem + Layout::kQFull, kTileBytesQ);
      copy_tile<kHintQ>(smem + Layout::kQ, kChunkBytesQ, q_map, smem + Layout::kQFull, tile.first_row, tile.head, tile.batch);
      q_ring.advance();
      for (int block = tile.blocks - 2; block >= 0; --block) {
        load_k(block);
        load_v(block + 1);
      }
      load_v(0);
    }
    tiles.announce_next();
  }
  tiles.finish();
}
