"""bench/hopper_dev.py and hopper_gpu.py speak to the Hopper kernel without the C++ host side: do they still know its parameter
and its prelude? A field that one side lacks is an illegal access on the GPU, far from its cause.

hopper_tools_test.py PRINT_HOPPER_GEMM"""
import ctypes
import pathlib
import re
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))
import hopper_dev
import hopper_gpu

SIZES = {"HopperTensorMap": 128, "void*": 8, "float*": 8, "unsigned int*": 8, "long long": 8, "int": 4, "float": 4, "HopperDivisor": 8}


def kernel_fields():
    """(name, bytes) of each member of HopperParams, in order."""
    text = (ROOT / "templates" / "hopper_params.cuh").read_text()
    body = re.sub(r"//.*", "", text[text.index("struct HopperParams {"):]).split("{", 1)[1].split("};", 1)[0]
    fields = []
    for member in filter(None, (m.strip() for m in body.split(";"))):
        kind = next(k for k in sorted(SIZES, key=len, reverse=True) if member.startswith(k + " "))
        fields += [(name.strip(), SIZES[kind]) for name in member[len(kind):].split(",")]
    return fields


class HopperTools(unittest.TestCase):
    def test_parameter_has_the_kernels_members(self):
        groups = {"maps": ["q", "k", "v", "o_tiles"]}
        expected, members = [], kernel_fields()
        for name, kind in hopper_gpu.Params._fields_:
            expected.append((name, ctypes.sizeof(kind)))
        actual = [("maps", sum(n for name, n in members if name in groups["maps"]))]
        actual += [(name, n) for name, n in members if name not in groups["maps"] and not name.startswith("by_")]
        actual.append(("divisors", sum(n for name, n in members if name.startswith("by_"))))
        self.assertEqual(actual, expected)

    def test_products_are_those_of_the_template(self):
        for dtype, head_dim, block_n in (("bf16", 128, 128), ("fp16", 80, 48), ("bf16", 256, 32)):
            rendered = subprocess.run([PRINTER, dtype, str(head_dim), str(block_n)], check=True, capture_output=True, text=True).stdout
            shape = dict(head_dim=head_dim, causal=0, fp16=int(dtype == "fp16"))
            self.assertEqual(hopper_dev.gemm(shape, hopper_dev.full(dict(block_n=block_n))), rendered)

    @unittest.skipUnless(hopper_dev.nvrtc(), "no libnvrtc where the tools look for it")
    def test_prelude_compiles(self):
        for config in (dict(block_n=64), dict(grid="kDynamic", stages_k=3, stages_v=3, q_registers=1, pinned=1)):
            shape = dict(head_dim=64, causal=1)
            cubin, info = hopper_dev.compile_config(shape, hopper_dev.full(config))
            self.assertIsNone(info["bad"], info["log"])
            self.assertTrue(cubin)


if __name__ == "__main__":
    PRINTER = sys.argv.pop(1)
    unittest.main()
