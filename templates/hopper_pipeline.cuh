// The pipeline frame of the Hopper attention kernel: shared memory, barriers, rings, the tile schedule and the producer.
// It moves tiles and says when they may be read or overwritten; it knows nothing of softmax.
//
//   producer (one thread)                                consumers (warpgroups of 128 threads)
//   ---------------------                                -------------------------------------
//   wait  k_empty[s] ----------------------------------- arrive, a lane of each warp, when S = Q K^T is complete
//   copy K block, bytes counted at k_full[s] ----------- wait, all threads
//   wait  q_empty    ----------------------------------- arrive, a lane of each warp, after the tile's last S, or its first
//                                                        where Q was taken to registers (persistent); with O of the tile
//                                                        before put down there (kStoreThroughQ)
//   store that O, wait until it has been read
//   copy Q tile, bytes counted at q_full --------------- wait, all threads
//   wait  v_empty[s] ----------------------------------- arrive, a lane of each warp, when O += P V is complete
//   copy V block, bytes counted at v_full[s] ----------- wait, all threads
//
// Per tile the producer sends K[n-1], Q, then K[j], V[j+1] for j = n-2 .. 0, then V[0]: V lags K by one block, as the
// consumers do. Blocks run from the right, so the masked ones come first. A ring position has a stage and a phase bit;
// consumers wait for the phase, the producer for its complement, which a fresh barrier reports as complete.
//
// The KV blocks of a tile are dealt to kKvGroups groups of consumers in turn: group g takes ring positions g,
// g + kKvGroups, ... and where a tile has an odd number of blocks the two groups swap places for the next. A stage is
// therefore released by the kRowGroups warpgroups of one group only.
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

// The rows of a tile are kPositions rows of each of kPackedHeads heads that share K and V, head after head; what is then
// left of kBlockM is nobody's: computed, never stored.
constexpr int kPositions = kBlockM / kPackedHeads;
constexpr u32 kBoxBytesQ = kChunks * kPackedHeads * kPositions * kSwizzleBytes;
constexpr u32 kTileBytesKv = kChunks * kChunkBytesKv;

// A stage must stay with one group: a wait names only the parity of a phase, so a group may not wait at a stage whose
// phase before is still the other group's to come.
static_assert(kKvGroups <= 2 && kStagesK % kKvGroups == 0 && kStagesV % kKvGroups == 0, "two groups share out the stages");
static_assert(kSync == Sync::kNone || (kKvGroups == 1 && kRowGroups > 1), "turns need warpgroups of equal length");
static_assert(kProducerWarps > 0 || (kGrid == Grid::kFlat && kRowGroups == 1),
              "without a producer a warpgroup feeds its own blocks of one tile");

// O leaves through the buffer of a Q that is no longer read: the next tile's once it is in registers, or its own.
static_assert(!kStoreThroughQ || (kGrid != Grid::kFlat && kKvGroups == 1 && kStagesQ == (kQInRegisters ? 1 : 2)),
              "a producer stores O between the tiles that it loads");
static_assert(kCtaSplit == 1 || (kCtaSplit <= 32 && !kStoreThroughQ), "parts are added up by a lane each, from registers");

// What a CTA leaves of 64 rows it shares with others: O, not divided, then the maximum and the sum of each row.
constexpr int kPartWords = 64 * (kHeadDim + 2);
constexpr int kScheduleCounters = 2;  // then the counters of the parts

constexpr u32 kMergeBytes = kKvGroups > 1 ? kRowGroups * 128 * (kHeadDim / 2 + 4) * 4 * (kKvGroups - 1) : 0;

// ---- shared memory ----

struct Layout {
  static constexpr u32 kQ = 0;
  static constexpr u32 kK = kQ + kStagesQ * kTileBytesQ;
  static constexpr u32 kV = kK + kStagesK * kTileBytesKv;
  static constexpr u32 kTiles = kV + kStagesV * kTileBytesKv;
  // The merge of KV groups comes after the last block of a tile. If there is but one, it may reuse the rings.
  static constexpr u32 kMerge = kGrid == Grid::kFlat ? kK : kTiles;
  static constexpr u32 kRings = kTiles > kMerge + kMergeBytes ? kTiles : kMerge + kMergeBytes;
  static constexpr u32 kQFull = (kRings + 7) / 8 * 8;
  static constexpr u32 kQEmpty = kQFull + 8 * kStagesQ;
  static constexpr u32 kKFull = kQEmpty + 8 * kStagesQ;
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

  // By at most kStages.
  __device__ __forceinline__ void advance(u32 steps = 1) {
    stage += steps;
    if (stage >= kStages) {
      stage -= kStages;
      phase ^= 1;
    }
  }
};

__device__ __forceinline__ void init_barriers(u32 smem) {
#pragma unroll
  for (int i = 0; i < kStagesQ; ++i) {
    ptx::mbarrier_init(smem + Layout::kQFull + 8 * i, 1);
    ptx::mbarrier_init(smem + Layout::kQEmpty + 8 * i, 4 * kConsumers);
  }
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

// kBlockM rows of Q, and the KV blocks [first_block, end_block) that this CTA has to go through for them: all that any row
// attends to, at least one, or where kCtaSplit CTAs share the tile a part of them, which in the flat grid may be empty. CTAs
// share all tiles of a flat grid, and of a persistent one the tiles of the last round, which has not one for every CTA: the
// launch then ends when these are done by all CTAs and not by a few. Blocks below unmasked
// are attended to in full by every row. Tiles end where Q ends: what does not fill one lies before row 0, where the copy
// engine reads zeros and nothing is stored, in the tile that a causal mask makes the shortest.
struct Tile {
  int head;  // the first of kPackedHeads
  int batch;
  int first_row;  // in the sequence
  int first_block, end_block;
  int unmasked;
  int parts;  // of the tile that are not empty
  int part;   // this CTA's
  int shared_index;  // among the tiles that CTAs share

  __device__ __forceinline__ int blocks() const { return end_block - first_block; }

  // Of the row of the tile with this number: which of the packed heads it is of, where in the sequence, whether it is at all.
  static __device__ __forceinline__ int packed_head(int row) { return kPackedHeads == 1 ? 0 : row / kPositions; }
  __device__ __forceinline__ int position(int row) const { return first_row + row - packed_head(row) * kPositions; }
  __device__ __forceinline__ bool has(int row) const {
    return position(row) >= 0 && (kPackedHeads * kPositions == kBlockM || packed_head(row) < kPackedHeads);
  }
};

__device__ __forceinline__ int divide(int n, const attune::HopperDivisor& by) {
  return static_cast<int>(static_cast<u64>(static_cast<u32>(n)) * by.multiplier >> by.shift);
}

__device__ __forceinline__ Tile tile_of(int item, const AttentionParams& params) {
  int index = item, ctas = 1;
  Tile tile;
  tile.part = 0;
  if constexpr (kCtaSplit > 1) {
    const int beyond = item - params.whole_tiles;
    if (beyond >= 0) {
      ctas = kCtaSplit;
      tile.shared_index = beyond / kCtaSplit;
      tile.part = beyond % kCtaSplit;
      index = params.whole_tiles + tile.shared_index;
    }
  }
  // Heads form sections whose K and V share the L2 cache; inside a section the row blocks of its heads alternate.
  const int section = divide(index, params.by_section_tiles);
  const int in_section = index - section * params.section_heads * params.row_blocks;
  const bool full = section < params.full_sections;
  const int row_index = divide(in_section, full ? params.by_section_heads : params.by_rest_heads);
  const int section_size = full ? params.section_heads : params.head_tiles * params.batch - section * params.section_heads;
  const int head_and_batch = section * params.section_heads + in_section - row_index * section_size;

  tile.batch = divide(head_and_batch, params.by_head_tiles);
  tile.head = (head_and_batch - tile.batch * params.head_tiles) * kPackedHeads;
  tile.first_row = params.q_len - (kLongestFirst ? row_index + 1 : params.row_blocks - row_index) * kPositions;
  int kv_end = params.kv_len;
  tile.unmasked = params.kv_len / kBlockN;
  if constexpr (kCausal) {
    kv_end = max(0, min(kv_end, tile.first_row + kPositions + params.causal_offset));
    tile.unmasked = min(tile.unmasked, max(0, tile.first_row + params.causal_offset + 1) / kBlockN);
  }
  // Rows that see nothing still get one block, all of it masked: every tile then takes the same path.
  const int blocks = max(1, (kv_end + kBlockN - 1) / kBlockN);
  const int part_blocks = ctas == 1 ? blocks : (blocks + kCtaSplit - 1) / kCtaSplit;
  tile.parts = ctas == 1 ? 1 : (blocks + part_blocks - 1) / part_blocks;
  tile.end_block = blocks - tile.part * part_blocks;
  tile.first_block = max(0, tile.end_block - part_blocks);
  return tile;
}

// In a flat grid a tile of few blocks has fewer parts than CTAs.
__device__ __forceinline__ bool nothing_to_do(int item, const AttentionParams& params) {
  if constexpr (kCtaSplit == 1 || kGrid != Grid::kFlat) return false;
  return tile_of(item, params).blocks() <= 0;
}

// The static schedules. Flat: the tile of the block. Snake: every gridDim-th tile, to and fro, which evens out tiles sorted
// by length; the first round is the dynamic schedule's too.
__device__ __forceinline__ int static_tile(int round, const AttentionParams& params) {
  const int block = blockIdx.x;
  const int blocks = gridDim.x;
  if constexpr (kGrid == Grid::kFlat) return round == 0 ? block : params.items;
  return round * blocks + (round % 2 ? blocks - 1 - block : block);
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

template <bool kEvictFirst>
__device__ __forceinline__ void copy_tile(u32 destination, u32 chunk_bytes, const attune::HopperTensorMap& map, u32 barrier, int row,
                                          int head, int batch) {
#pragma unroll
  for (int chunk = 0; chunk < kChunks; ++chunk) {
    ptx::copy_box<kEvictFirst>(destination + chunk * chunk_bytes, map, barrier, chunk * kChunkColumns, row, head, batch);
  }
}

// Where the loads of a tile go and what they wait for. Every call is made by one thread.
struct Loader {
  const u32 smem;
  const AttentionParams& params;

  __device__ __forceinline__ void wait_for_q_buffer(const RingPosition<kStagesQ>& q_ring) const {
    ptx::mbarrier_wait(smem + Layout::kQEmpty + 8 * q_ring.stage, q_ring.phase ^ 1);
  }

  __device__ __forceinline__ void load_q(const RingPosition<kStagesQ>& q_ring, const Tile& tile) const {
    const u32 full = smem + Layout::kQFull + 8 * q_ring.stage;
    ptx::mbarrier_arrive_expect_bytes(full, kBoxBytesQ);
    copy_tile<kEvictFirstQ>(smem + Layout::kQ + q_ring.stage * kTileBytesQ, kChunkBytesQ, params.q, full, tile.first_row, tile.head,
                      tile.batch);
  }

  __device__ __forceinline__ void load_k(const RingPosition<kStagesK>& k_ring, const Tile& tile, int kv_head, int block) const {
    const u32 full = smem + Layout::kKFull + 8 * k_ring.stage;
    ptx::mbarrier_wait(smem + Layout::kKEmpty + 8 * k_ring.stage, k_ring.phase ^ 1);
    ptx::mbarrier_arrive_expect_bytes(full, kTileBytesKv);
    copy_tile<kEvictFirstK>(smem + Layout::kK + k_ring.stage * kTileBytesKv, kChunkBytesKv, params.k, full, block * kBlockN, kv_head,
                      tile.batch);
  }

  __device__ __forceinline__ void load_v(const RingPosition<kStagesV>& v_ring, const Tile& tile, int kv_head, int block) const {
    const u32 full = smem + Layout::kVFull + 8 * v_ring.stage;
    ptx::mbarrier_wait(smem + Layout::kVEmpty + 8 * v_ring.stage, v_ring.phase ^ 1);
    ptx::mbarrier_arrive_expect_bytes(full, kTileBytesKv);
    copy_tile<kEvictFirstV>(smem + Layout::kV + v_ring.stage * kTileBytesKv, kChunkBytesKv, params.v, full, block * kBlockN, kv_head,
                      tile.batch);
  }
};

// Where the O of a tile goes.
struct TileOutput {
  int head = -1, batch, first_row;  // head below 0: no tile
};

// The producer warp's one thread: all tiles of this block.
struct Producer {
  const Loader& loader;
  ProducerTiles tiles;
  RingPosition<kStagesQ> q_ring;
  RingPosition<kStagesK> k_ring;
  RingPosition<kStagesV> v_ring;
  Tile tile;
  int kv_head;
  TileOutput last, before_last;  // tiles whose O is still to be stored

  __device__ __forceinline__ explicit Producer(const Loader& loader) : loader(loader), tiles{loader.params, loader.smem} {}

  __device__ __forceinline__ bool more() const { return tiles.index < loader.params.items; }

  // Until the consumers have left the next buffer of Q. They leave O of the tile before the last in it (kStoreThroughQ).
  __device__ __forceinline__ void empty_q_buffer() {
    if constexpr (kGrid != Grid::kFlat) loader.wait_for_q_buffer(q_ring);
    if constexpr (kStoreThroughQ) {
      if (before_last.head >= 0 && (!kRaggedQ || before_last.first_row >= 0)) {
#pragma unroll
        for (int chunk = 0; chunk < kChunks; ++chunk) {
          ptx::store_box(loader.params.o_tiles, loader.smem + Layout::kQ + q_ring.stage * kTileBytesQ + chunk * kChunkBytesQ,
                         chunk * kChunkColumns, before_last.first_row, before_last.head, before_last.batch);
        }
        ptx::wait_for_stored_boxes();
      }
      before_last = last;
    }
  }

  // The first scores' operands of the current tile.
  __device__ __forceinline__ void begin_tile() {
    tile = tile_of(tiles.index, loader.params);
    kv_head = divide(tile.head, loader.params.by_q_heads_per_kv_head);
    loader.load_k(k_ring, tile, kv_head, tile.end_block - 1);
    k_ring.advance();
    empty_q_buffer();
    loader.load_q(q_ring, tile);
    q_ring.advance();
    last = {tile.head, tile.batch, tile.first_row};
  }

  __device__ __forceinline__ void end_tile() {
    for (int block = tile.end_block - 2; block >= tile.first_block; --block) {
      loader.load_k(k_ring, tile, kv_head, block);
      k_ring.advance();
      loader.load_v(v_ring, tile, kv_head, block + 1);
      v_ring.advance();
    }
    loader.load_v(v_ring, tile, kv_head, tile.first_block);
    v_ring.advance();
  }

  // Nobody has to know the barriers yet, so the first loads need not wait for the other warps.
  __device__ __forceinline__ void begin() {
    tiles.first();
    if (more() && !nothing_to_do(tiles.index, loader.params)) begin_tile();
  }

  __device__ __forceinline__ void run() {
    if (more() && nothing_to_do(tiles.index, loader.params)) return;
    while (more()) {
      tiles.draw_next();
      end_tile();
      tiles.announce_next();
      tiles.next();
      if (more()) begin_tile();
    }
    if constexpr (kStoreThroughQ) empty_q_buffer();  // of the tile before the last: the last is stored by the consumers
    tiles.finish();
  }
};

// Without a producer warp (kProducerWarps = 0) thread 0 of every warpgroup loads the blocks of its own group: as many as
// the rings hold at the start, then, into each stage that is released, the block that is due there. The stages divide
// evenly among the groups, so that a group waits only for its own four warps.
struct Feeder {
  const Loader& loader;
  int head, kv_head, batch, first_block;

  __device__ __forceinline__ void fill(const Tile& tile, int kv_group) {
    head = tile.head;
    kv_head = divide(tile.head, loader.params.by_q_heads_per_kv_head);
    batch = tile.batch;
    first_block = tile.first_block;
    if (threadIdx.x % 128 == 0) {
      RingPosition<kStagesK> k_ring;
      RingPosition<kStagesV> v_ring;
      k_ring.advance(kv_group);
      v_ring.advance(kv_group);
      constexpr int kFill = (kStagesK > kStagesV ? kStagesK : kStagesV) / kKvGroups;
#pragma unroll
      for (int i = 0; i < kFill; ++i) {
        const int block = tile.end_block - 1 - kv_group - i * kKvGroups;
        if (i * kKvGroups < kStagesK && block >= first_block) loader.load_k(k_ring, tile, kv_head, block);
        if (i == 0 && kv_group == 0) loader.load_q(RingPosition<kStagesQ>{}, tile);
        if (i * kKvGroups < kStagesV && block >= first_block) loader.load_v(v_ring, tile, kv_head, block);
        k_ring.advance(kKvGroups);
        v_ring.advance(kKvGroups);
      }
    }
    __syncwarp();
  }

  // The stage at the given position has been released by its block: the fill's wait is for that very phase.
  __device__ __forceinline__ void feed_k(RingPosition<kStagesK> released, int block) {
    if (threadIdx.x % 128 == 0 && block - kStagesK >= first_block) {
      released.phase ^= 1;
      loader.load_k(released, Tile{head, batch}, kv_head, block - kStagesK);
    }
    __syncwarp();
  }
  __device__ __forceinline__ void feed_v(RingPosition<kStagesV> released, int block) {
    if (threadIdx.x % 128 == 0 && block - kStagesV >= first_block) {
      released.phase ^= 1;
      loader.load_v(released, Tile{head, batch}, kv_head, block - kStagesV);
    }
    __syncwarp();
  }
};
