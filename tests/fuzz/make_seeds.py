#!/usr/bin/env python3
"""Writes the fuzz targets' first inputs, cut from files of the real formats, to OUT/TARGET/.

make_seeds.py SOURCE OUT
"""

import gzip
import hashlib
import json
import pathlib
import sys

MOST_LINES = 3  # of a pack or recording: small inputs are fuzzed best
MOST_ENTRIES = 4  # of another tuner's file


def compact(value):
    return json.dumps(value, separators=(",", ":"))


def pack_seeds(source):
    for file in sorted((source / "packs").glob("*.pack.jsonl")):
        header, *records = file.read_text().splitlines()[:-1]
        for first in (0, len(records) // 2):
            few = records[first:first + MOST_LINES]
            lines = "\n".join([compact({**json.loads(header), "records": len(few)}), *few]) + "\n"
            yield f"{file.stem}-{first}", lines
        digest = hashlib.sha256(lines.encode()).hexdigest()
        yield f"{file.stem}-sealed", f'{lines}{{"end":{len(few)},"sha256":"{digest}"}}\n'
        # As who signs writes it, by nobody: the base point of the curve is the key of the secret scalar 1.
        key = "ed25519:WGZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmY="
        end = {"end": len(few), "sha256": digest, "signatures": [{"key": key, "signature": "A" * 86 + "=="}]}
        yield f"{file.stem}-signed", lines + compact(end) + "\n"
    trial = {**json.loads(records[0]), "shape": {}}
    yield "export", f'{{"format":"attune-trials","version":1}}\n{compact(trial)}\n{{"end":true,"trials":1}}\n'


def recording_seeds(source):
    for file in sorted((source / "recordings").glob("*-d64.jsonl.gz")):
        with gzip.open(file, "rt") as lines:
            header = json.loads(next(lines))
            few = [next(lines) for _ in range(MOST_LINES)]
        text = compact({**header, "trials": len(few)}) + "\n" + "".join(few) + compact({"end": len(few)}) + "\n"
        yield file.stem, text
        yield f"{file.stem}-packed", gzip.compress(text.encode(), mtime=0)


def config_seeds(source):
    for file in sorted((source / "recordings").glob("*.jsonl.gz")):
        with gzip.open(file, "rt") as lines:
            header = json.loads(next(lines))
            config = json.loads(next(lines))["config"]
        yield f"shape-{file.stem}", compact(header["common"]["shape"])
        yield f"device-{file.stem}", compact(header["common"]["device"])
        for target in range(6):
            yield f"config-{target}-{file.stem}", chr(target) + compact(config)
    helion = {"block_sizes": [1, 128, 64], "num_warps": 8, "num_stages": 3, "loop_orders": [[1, 0]],
              "l2_groupings": [4], "pid_type": "persistent_blocked", "range_unroll_factors": [0, 2],
              "load_eviction_policies": ["", "first", "last"], "maxnreg": 128, "range_warp_specializes": [None]}
    for target in range(6):
        yield f"helion-{target}", chr(target) + compact(helion)
    yield "workload", compact({"model_batch": 1, "model_sequence_lengths": [512], "model_causal": True,
                               "models": [{"name": "m", "layers": 2, "q_heads": 14, "kv_heads": 2, "head_dim": 64}],
                               "dense": [{"batch": 2, "q_heads": 32, "seq": 1024, "head_dim": 128}],
                               "shapes": [{"q_heads": 32, "q_len": 1, "kv_len": 8192, "head_dim": 128,
                                           "dtype": "fp16", "layout": "bshd", "lse": True, "weight": 2.5}]})


def llm_reply_seeds(source):
    for file in sorted((source / "tests/autotuner/fixtures/llm").glob("*.jsonl")):
        answers = [json.loads(line) for line in file.read_text().splitlines()]
        texts = [answer["text"] for answer in answers if isinstance(answer.get("text"), str)]
        for number, text in enumerate(texts[:6]):
            yield f"{file.stem}-{number}", text
            yield f"{file.stem}-{number}-http", compact(
                {"choices": [{"message": {"role": "assistant", "content": text}}],
                 "usage": {"prompt_tokens": 900, "completion_tokens": 300}})
    yield "prose", 'Try these:\n```json\n{"proposals":[{"base":1,"set":{"block_n":64}}],"notes":"n"}\n```\n'
    yield "refusal", compact({"error": {"message": "max_tokens is not supported", "type": "invalid_request_error"}})


def foreign_space_seeds(source):
    folder = source / "tests/autotuner/fixtures/kernel_tuner"
    cache = json.loads((folder / "cache.json").read_text())
    cache["cache"] = dict(list(cache["cache"].items())[:MOST_ENTRIES])
    yield "cache", json.dumps(cache)
    yield "cache-open", json.dumps(cache)[:-2]
    results = json.loads((folder / "t4.json").read_text())
    results["results"] = results["results"][:MOST_ENTRIES]
    yield "t4", json.dumps(results)


def http_body_seeds(source):
    shape = {"batch": 1, "q_heads": 32, "kv_heads": 8, "q_len": 2048, "kv_len": 2048, "head_dim": 64, "dtype": "bf16",
             "mask": "bottom-right", "layout": "bhsd", "lse": False}
    yield "tune", compact({"kind": "tune", "shape": shape, "strategy": "pattern", "max_trials": 20, "seed": 1})
    yield "sweep", compact({"kind": "sweep", "workload": [shape], "max_seconds": 60})
    yield "target", "/v1/jobs/7/events?after=3&limit=10"
    yield "host", "127.0.0.1:8750"
    yield "tokens", "# name token\nteam 0123456789abcdef0123456789abcdef\n"


SEEDS = {"http_bodies": http_body_seeds, "pack": pack_seeds, "recording": recording_seeds, "config": config_seeds, "llm_reply": llm_reply_seeds,
         "foreign_space": foreign_space_seeds}


def main():
    source, out = map(pathlib.Path, sys.argv[1:])
    for target, seeds in SEEDS.items():
        folder = out / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in seeds(source):
            (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


if __name__ == "__main__":
    main()
