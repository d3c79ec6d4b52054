#!/usr/bin/env python3
"""Fails unless a library gives a program the functions that attune.h declares and nothing else.

check_exports.py HEADER NM LIBRARY, where LIBRARY is libattune.so or libattune.a
"""

import re
import subprocess
import sys

header, nm, library = sys.argv[1:]
table = [] if library.endswith(".a") else ["--dynamic"]
declared = sorted(re.findall(r"ATTUNE_API [^;(]*?(attune_\w+)\(", open(header).read()))
command = [nm, *table, "--extern-only", "--defined-only", "--format=posix", library]
lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
exported = sorted(line.split()[0] for line in lines if not line.endswith(":"))  # an archive's members are headings
print(f"declared {len(declared)}, exported {len(exported)}")
if declared != exported:
    sys.exit(f"not exported: {sorted(set(declared) - set(exported))}; exported besides: "
             f"{sorted(set(exported) - set(declared))}")
