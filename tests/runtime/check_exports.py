#!/usr/bin/env python3
"""Fails unless a shared library exports the functions that attune.h declares and nothing else."""

import re
import subprocess
import sys

library, header, nm = sys.argv[1:]
declared = set(re.findall(r"ATTUNE_API [^;(]*?(attune_\w+)\(", open(header).read()))
lines = subprocess.run([nm, "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout
exported = {line.split()[-1] for line in lines.splitlines()}
print(f"declared {len(declared)}, exported {len(exported)}")
if declared != exported:
    sys.exit(f"not exported: {sorted(declared - exported)}; exported besides: {sorted(exported - declared)}")
