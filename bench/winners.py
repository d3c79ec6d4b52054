#!/usr/bin/env python3
"""What the shipped kernels are: their share of the floor, resources, and what their machine code has. Needs NVRTC, no GPU.

  python3 bench/winners.py --attune build/release/bin/attune [--peers bench/results/peers_h100.json --pack packs/h100.pack.jsonl]

Times are those of --peers. The floor of a row is the longest of: its products at 800 TFLOP/s (what large matrix products
reach on an H100), its exponentials at 16 a clock and SM at 1.7 GHz on 132 SMs, its bytes at 3.0 TB/s; under a causal mask
half of the products and exponentials. Machine code is counted by the low 12 bits of the 128-bit instructions of sm_90a.
"""
import argparse
import collections
import json
import os
import struct
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
HGMMA = (0x9F0, 0xDF0)  # A from shared memory, from registers
LOCAL = (0x983, 0x387)  # LDL, STL


def floor_us(row):
    b, hq, hk, s, d = row["batch"], row["q_heads"], row["kv_heads"], row["seq"], row["head_dim"]
    visible = 0.5 if row["causal"] else 1.0
    products = 4.0 * b * hq * s * s * d * visible / 800e12
    exponentials = b * hq * s * s * visible / (16 * 132 * 1.7e9)
    traffic = 2.0 * b * s * d * (2 * hq + 2 * hk) / 3.0e12
    return 1e6 * max(products, exponentials, traffic)


def opcodes(cubin):
    """Count of each 12-bit opcode in the kernel's .text section (ELF64)."""
    offset, = struct.unpack_from("<Q", cubin, 40)
    count, names = struct.unpack_from("<HH", cubin, 60)
    sections = [struct.unpack_from("<IIQQQQIIQQ", cubin, offset + 64 * i) for i in range(count)]
    for section in sections:
        name = cubin[sections[names][4] + section[0]:].split(b"\0", 1)[0]
        if name == b".text.attention_forward":
            text = cubin[section[4]:section[4] + section[5]]
            return collections.Counter(struct.unpack_from("<Q", text, i)[0] & 0xFFF for i in range(0, len(text), 16))
    raise SystemExit("a cubin without the kernel's code")


def compiled(attune, shape, config, folder):
    path = os.path.join(folder, "kernel.cubin")
    command = [attune, "compile", "--shape", f"{shape['batch']},{shape['q_heads']},{shape['q_len']},{shape['head_dim']}", "--kv-heads",
               str(shape["kv_heads"]), "--kv-len", str(shape["kv_len"]), "--template", "hopper", "--config", json.dumps(config), "--arch", "sm_90a",
               "-o", path]
    if shape["mask"] != "none":
        command.append("--causal=" + shape["mask"])
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()}")
    with open(path, "rb") as file:
        return file.read()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attune", required=True, help="the attune binary")
    parser.add_argument("--peers", default=os.path.join(HERE, "results", "peers_h100.json"), help="times, of bench/peers.py")
    parser.add_argument("--pack", default=os.path.join(HERE, "..", "packs", "h100.pack.jsonl"), help="the records")
    options = parser.parse_args()
    with open(options.peers) as file:
        peers = json.load(file)
    with open(options.pack) as file:
        header, *records = map(json.loads, file)
    rows = {(r["batch"], r["q_heads"], r["kv_heads"], r["seq"], r["head_dim"], r["causal"]): r for r in peers["rows"]}

    print(f"# The shipped kernels\n\nRecords at {header['commit']}, times at {peers['commit']}; made by `python3 bench/winners.py --attune "
          "build/release/bin/attune`, whose --help says what the floor is.\nHGMMA: wgmmas in the machine code, with A from shared memory and from "
          "registers; local: its loads and stores of local memory. Registers are the\nlaunch's; with a producer warpgroup the consumers take 240 "
          "(160 of three) after it.\n")
    print("| row | us | TFLOP/s | floor us | share of the floor | registers | smem KiB | HGMMA | local | M, N | schedule | turns |\n" + "|---" * 12 + "|")
    with tempfile.TemporaryDirectory() as folder:
        for record in records:
            shape, config = record.get("shape"), record.get("config")
            if not config:
                continue
            row = rows[(shape["batch"], shape["q_heads"], shape["kv_heads"], shape["q_len"], shape["head_dim"], shape["mask"] != "none")]
            code = opcodes(compiled(options.attune, shape, config, folder))
            us = row["peers"]["attune"]["median_us"]
            turns = config["pipeline"].removeprefix("overlap").strip("_").removesuffix("_turns") or "none"
            print(f"| {row['name']} | {us:.1f} | {row['flops'] / us / 1e6:.0f} | {floor_us(row):.1f} | {100 * floor_us(row) / us:.0f}% | "
                  f"{record['registers']} | {record['smem_bytes'] / 1024:.0f} | {code[HGMMA[0]]} + {code[HGMMA[1]]} | {sum(code[o] for o in LOCAL)} | "
                  f"{config['block_sizes'][1]}, {config['block_sizes'][2]} | {config['pid_type']} | {turns} |", flush=True)


if __name__ == "__main__":
    main()
