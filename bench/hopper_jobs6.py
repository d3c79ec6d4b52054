"""Jobs of the sixth round, three axes as edits of the template: K and V multicast in clusters of two, keys from left to right, row
tiles in pairs of a long and a short one. hopper_jobs6.py JOBS.json, then hopper_gpu.py JOBS.json OUT.jsonl, and
hopper_sustained.py JOBS.json "power [4,32,4096]" 0.6 0 1 2 3 4 5 6 7 8. (Commit 4f91389 has the jobs of a last round shared by CTAs as well.)"""
import json, os, sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hopper_dev import DYNAMIC, QREG, SNAKE, T3

# Each CTA of a cluster loads half of every block into both. A stage is free when the consumers of both have left it.
MULTICAST = [
    ("// ---- register reallocation", """__device__ __forceinline__ u32 cluster_rank() { u32 r; asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(r)); return r; }
__device__ __forceinline__ void cluster_sync() { asm volatile("barrier.cluster.arrive.release;\\nbarrier.cluster.wait.acquire;" ::: "memory"); }
__device__ __forceinline__ void arrive_in_cluster(u32 barrier, u32 cta) {
  asm volatile("{\\n.reg .b32 remote;\\nmapa.shared::cluster.u32 remote, %0, %1;\\nmbarrier.arrive.shared::cluster.b64 _, [remote];\\n}" ::"r"(barrier), "r"(cta) : "memory");
}
template <bool kEvictFirst>
__device__ __forceinline__ void multicast_box(u32 destination, const attune::HopperTensorMap& map, u32 barrier, int column, int row, int head, int batch) {
  if constexpr (!kEvictFirst) {
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%2, %3, %4, %5}], [%6], %7;"
      ::"r"(destination), "l"(&map), "r"(column), "r"(row), "r"(head), "r"(batch), "r"(barrier), "h"(static_cast<u16>(3)) : "memory");
  } else {
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster.L2::cache_hint [%0], [%1, {%2, %3, %4, %5}], [%6], %7, %8;"
      ::"r"(destination), "l"(&map), "r"(column), "r"(row), "r"(head), "r"(batch), "r"(barrier), "h"(static_cast<u16>(3)), "l"(kPolicyEvictFirst) : "memory");
  }
}
// ---- register reallocation"""),
    ("KEmpty + 8 * i, 4 * kRowGroups);", "KEmpty + 8 * i, 8 * kRowGroups);"),
    ("VEmpty + 8 * i, 4 * kRowGroups);", "VEmpty + 8 * i, 8 * kRowGroups);"),
    ("// ---- tiles ----", """__device__ __forceinline__ void release_in_cluster(u32 barrier) {
  __syncwarp();
  if (threadIdx.x % 32 < 2) ptx::arrive_in_cluster(barrier, threadIdx.x % 32);
}
template <bool kEvictFirst>
__device__ __forceinline__ void copy_half(u32 destination, u32 chunk_bytes, const attune::HopperTensorMap& map, u32 barrier, int row, int head, int batch) {
  const u32 rank = ptx::cluster_rank();
#pragma unroll
  for (int chunk = 0; chunk < kChunks; ++chunk) {
    ptx::multicast_box<kEvictFirst>(
        destination + chunk * chunk_bytes + rank * (chunk_bytes / 2), map, barrier, chunk * kChunkColumns, row + rank * (kBlockN / 2), head, batch);
  }
}
// ---- tiles ----"""),
    ("release(smem + Layout::kKEmpty", "release_in_cluster(smem + Layout::kKEmpty"),
    ("release(smem + Layout::kVEmpty", "release_in_cluster(smem + Layout::kVEmpty"),
    ("copy_tile<kEvictFirstK>", "copy_half<kEvictFirstK>"),
    ("copy_tile<kEvictFirstV>", "copy_half<kEvictFirstV>"),
    ("    if constexpr (kProducerWarps > 0) producer.begin();\n", ""),
    ("  __syncthreads();\n\n  if (kProducerWarps > 0 && warp", "  ptx::cluster_sync();\n\n  if (kProducerWarps > 0 && warp"),
    ("producer.run();  //", "{ producer.begin(); producer.run(); }  //"),
    ("    consumer.run();\n  }\n", "    consumer.run();\n  }\n  ptx::cluster_sync();\n"),
    ("void __launch_bounds__", "void __cluster_dims__(2, 1, 1) __launch_bounds__"),
]
FROM_LEFT = [
    ("block * kBlockN, kv_head", "(tile.first_block + tile.end_block - 1 - block) * kBlockN, kv_head"),
    ("int first_column = block * kBlockN", "int first_column = (mirror - block) * kBlockN"),
    ("  int position[2];  //", "  int mirror;\n  int position[2];  //"),
    ("    take_q();\n    next_scores<kPending", "    take_q();\n    mirror = tile.first_block + tile.end_block - 1;\n    next_scores<kPending"),
    ("""    if constexpr (kCausal) {
      const int end = max(tile.unmasked, tile.first_block);
#pragma unroll 1
      for (; block >= end; block -= kKvGroups) masked(block);
    }
#pragma unroll 1
    for (; block >= tile.first_block; block -= kKvGroups) unmasked(block);""",
     """    const int end = max(tile.first_block + tile.end_block - tile.unmasked, tile.first_block);
#pragma unroll 1
    for (; block >= end; block -= kKvGroups) unmasked(block);
#pragma unroll 1
    for (; block >= tile.first_block; block -= kKvGroups) masked(block);"""),
]
PAIRED = [
    ("  const int index = item / kCtaSplit;", "  const int half = item & 1;\n  const int index = item >> 1;"),
    ("params.section_heads * params.row_blocks;", "params.section_heads * (params.row_blocks / 2);"),
    ("(kLongestFirst ? row_index + 1", "(half == 0 ? row_index + 1"),
    ("return round * blocks + (round % 2 ? blocks - 1 - block : block);", "return 2 * (round / 2 * blocks + block) + round % 2;"),
]

jobs = []


def check(head_dim, config, lengths, heads=9, causal=0):
    cases = [dict(b=1, hq=heads, hk=heads, sq=q, sk=k) for q, k in lengths]
    jobs.append(dict(kind="check", shape=dict(head_dim=head_dim, causal=causal, lse=1, ragged=1), config=config, cases=cases))


EVEN = [(2048, 1024), (4096, 2048), (2048, 1000)]
check(128, dict(QREG, **SNAKE, section_heads=1, cluster=2, producer_registers=40, consumer_registers=232, edits=MULTICAST), EVEN, heads=12)
SQUARE = [(512, 512), (2048, 2048), (1000, 1000), (300, 900)]
check(128, dict(QREG, **SNAKE, edits=FROM_LEFT), SQUARE, causal=1)
check(128, dict(QREG, **SNAKE, paired=1, edits=PAIRED), [(512, 512), (2048, 2048), (1024, 1024)], causal=1)


def bench(name, shape, configs, rounds):
    jobs.append(dict(kind="bench", name=name, shape=shape, configs=configs, rounds=rounds))


for batch, seq, rounds in ((4, 4096, 15), (8, 2048, 15), (4, 2048, 21), (2, 1024, 31)):
    shape = dict(batch=batch, q_heads=32, kv_heads=32, seq=seq, head_dim=128, causal=0)
    base = dict(QREG, section_heads=1, evict_first_q=1, evict_first_v=1)
    configs = []
    for sync in ("kNone", "kGemm"):
        for grid in (DYNAMIC, SNAKE):
            configs.append(dict(base, **grid, sync=sync))
        configs.append(dict(base, **SNAKE, sync=sync, cluster=2, producer_registers=40, consumer_registers=232, edits=MULTICAST))
    bench(f"dense [{batch},32,{seq}]", shape, configs, rounds)

# What a kernel costs where power binds: run by bench/hopper_sustained.py.
base = dict(QREG, section_heads=1, evict_first_q=1, evict_first_v=1, sync="kNone")
SMEM = dict(section_heads=1, evict_first_q=1, evict_first_v=1, stages_k=2, stages_v=2, **DYNAMIC)
bench("power [4,32,4096]", dict(batch=4, q_heads=32, kv_heads=32, seq=4096, head_dim=128, causal=0),
      [dict(base, **DYNAMIC), dict(base, **SNAKE), dict(base, **DYNAMIC, pinned=0),
       dict(base, **SNAKE, cluster=2, producer_registers=40, consumer_registers=232, edits=MULTICAST),
       dict(SMEM, block_n=160, sync="kNone"), dict(SMEM, block_n=176, sync="kNone"), dict(SMEM, block_n=176, sync="kGemm"),
       dict(SMEM, block_n=128, sync="kNone", pinned=1), dict(base, **DYNAMIC, block_n=112)], 9)

for name, q_heads, kv_heads, seq, head_dim, base in (
        ("Llama-3.2-3B@2048", 24, 8, 2048, 128, QREG), ("Llama-3.2-3B@4096", 24, 8, 4096, 128, QREG), ("Qwen3-0.6B@4096", 16, 8, 4096, 128, QREG),
        ("Llama-3.2-1B@4096", 32, 8, 4096, 64, dict(T3, stages_q=2)), ("Phi-3-mini@2048", 32, 32, 2048, 96, dict(QREG, swizzle=64)),
        ("rnj-1@1024", 32, 8, 1024, 128, QREG)):
    shape = dict(batch=1, q_heads=q_heads, kv_heads=kv_heads, seq=seq, head_dim=head_dim, causal=1)
    configs = []
    for sync in ("kGemm", "kExp"):
        for grid in (SNAKE, DYNAMIC):
            configs += [dict(base, **grid, sync=sync), dict(base, **grid, sync=sync, note="from left", edits=FROM_LEFT)]
        if seq // (64 * base.get("row_groups", 2)) % 2 == 0 and seq % (64 * base.get("row_groups", 2)) == 0:
            configs.append(dict(base, **SNAKE, sync=sync, paired=1, edits=PAIRED))
    bench(name, shape, configs, 15)
json.dump(jobs, open(sys.argv[1], "w"))
