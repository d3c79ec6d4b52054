#!/usr/bin/env python3
"""bench/attune_api.py against libattune.so on a fake GPU: the layouts of its structs are those of attune.h."""

import ctypes
import os
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "bench"))
import attune_api

library_path, fake_path = sys.argv[1:]
NO_COMPILER = "/nonexistent/libnvrtc.so"


def expect_error(text, call, *arguments):
    try:
        call(*arguments)
    except attune_api.AttuneError as error:
        assert text in str(error), error
    else:
        raise AssertionError(f"no error with {text!r}")


with tempfile.TemporaryDirectory() as folder:
    os.environ.update(ATTUNE_CACHE_DIR=folder, ATTUNE_NVRTC=NO_COMPILER)
    expect_error("ATTUNE_DATABASE", attune_api.Library, library_path, folder + "/missing.db")
    logged = []
    library = attune_api.Library(library_path, cubins=folder, log=lambda level, text: logged.append(text))
    assert any("H100" in text for text in logged), logged
    assert library.version()
    shape = attune_api.shape_of(1, 32, 8, 2048, 2048, 128, causal=True)
    # Reaches the compiler: the shape arrived whole.
    expect_error(NO_COMPILER, library.prepare, shape)
    expect_error("head_dim is 7", library.prepare, attune_api.shape_of(1, 32, 8, 2048, 2048, 7, causal=True))
    expect_error("kv_heads 5", library.prepare, attune_api.shape_of(1, 32, 5, 2048, 2048, 128, causal=True))
    library.close()
print("ok")
