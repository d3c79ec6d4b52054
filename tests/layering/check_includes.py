#!/usr/bin/env python3
"""Enforces that includes point one way (DESIGN: compiler and cache are leaves, cli is on top), and that x.cc includes
x.h before anything else, which shows that the header compiles alone.

check_includes.py ROOT     one line for each include that may not be; exit code 1 if there is any
check_includes.py --self   shows that planted wrong includes are found
"""

import pathlib
import re
import sys
import tempfile

# Folder -> folders whose headers it may include, beside its own and base.
ALLOWED = {
    "base": set(),
    "compiler": set(),
    "cache": set(),
    "templates": {"compiler"},
    "autotuner": {"compiler", "cache", "templates"},
    "dashboard": {"cache", "templates"},
    "runtime": {"compiler", "cache", "templates"},
    "serve": {"compiler", "cache", "templates", "dashboard", "autotuner"},
    "cli": {"compiler", "cache", "templates", "dashboard", "autotuner", "runtime", "serve"},
}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"/]+)/')
FIRST_INCLUDE = re.compile(r"^#include\s+(.*)$", re.MULTILINE)
SOURCES = {".h", ".cc", ".cuh", ".cu"}


def wrong_includes(root):
    for folder, allowed in ALLOWED.items():
        for file in sorted((root / folder).rglob("*")):
            if file.suffix not in SOURCES:
                continue
            for number, line in enumerate(file.read_text().splitlines(), 1):
                found = INCLUDE.match(line)
                target = found.group(1) if found else None
                if target in ALLOWED and target not in allowed | {folder, "base"}:
                    yield f"{file.relative_to(root)}:{number}: {folder} may not include {target}: {line.strip()}"


def late_headers(root):
    for folder in ALLOWED:
        for file in sorted((root / folder).rglob("*.cc")):
            header = file.with_suffix(".h").relative_to(root)
            if not (root / header).exists():
                continue
            first = FIRST_INCLUDE.search(file.read_text())
            if first is None or first.group(1) != f'"{header}"':
                yield f"{file.relative_to(root)}: its first include is not \"{header}\""


def self_test():
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        for folder in ALLOWED:
            (root / folder).mkdir()
        (root / "runtime/a.cc").write_text('#include "cache/trial.h"\n#include "autotuner/tune.h"\n')
        (root / "templates/a.h").write_text('#include "compiler/x.h"\n#include "nlohmann/json.hpp"\n')
        found = list(wrong_includes(root))
        assert len(found) == 1 and found[0].startswith("runtime/a.cc:2:"), found
        (root / "cache/a.h").touch()
        (root / "cache/a.cc").write_text('#include <string>\n#include "cache/a.h"\n')
        (root / "cache/b.h").touch()
        (root / "cache/b.cc").write_text('// Says something.\n#include "cache/b.h"\n#include <string>\n')
        found = list(late_headers(root))
        assert len(found) == 1 and found[0].startswith("cache/a.cc:"), found


def main():
    if sys.argv[1:] == ["--self"]:
        self_test()
        return 0
    root = pathlib.Path(sys.argv[1])
    found = [*wrong_includes(root), *late_headers(root)]
    print("\n".join(found) or "every include points the right way")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
