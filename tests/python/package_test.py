#!/usr/bin/env python3
"""The package on the fake GPU, with a stand-in for torch: what is served, what is refused and what it says.

package_test.py PACKAGE_FOLDER FAKE_GPU BINARY MAKE_RECORDINGS [unittest arguments]
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import warnings
import weakref

sys.dont_write_bytecode = True
package, fake_gpu, binary, make_recordings = [os.path.abspath(one) for one in sys.argv[1:5]]
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [package, os.path.join(HERE, "fake_torch")]
os.environ.update(ATTUNE_CUDA_DRIVER=fake_gpu, ATTUNE_BINARY=binary)
os.environ.pop("ATTUNE_DB", None)
os.environ.pop("ATTUNE_FALLBACK", None)

import torch
from torch import _exchange

import attune
from attune import _attention, _core, _fallback, _libraries

cache = tempfile.TemporaryDirectory()  # one for all: what is compiled once serves the other tests
os.environ["ATTUNE_CACHE_DIR"] = cache.name


def tensors(*, batch=1, q_heads=8, kv_heads=8, q_len=256, kv_len=256, head_dim=128, **keywords):
    keys = [batch, kv_heads, kv_len, head_dim]
    return [torch.Tensor(batch, q_heads, q_len, head_dim, **keywords),
            torch.Tensor(*keys, **keywords), torch.Tensor(*keys, **keywords)]


class PackageCase(unittest.TestCase):

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        attune.configure()
        attune.set_fallback("sdpa")
        _fallback._told.clear()
        torch.reset()
        warnings.simplefilter("ignore")

    def tearDown(self):
        self.folder.cleanup()

    def refused(self, text, *arguments, **keywords):
        """By raising and, where the choice is so, by falling back with a warning that says the same."""
        with self.assertRaisesRegex(attune.Unsupported, text):
            attune.attention(*arguments, fallback="raise", **keywords)
        _fallback._told.clear()
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            self.assertEqual(attune.attention(*arguments, **keywords), "sdpa")
            attune.attention(*arguments, **keywords)
        self.assertEqual([w.category for w in told], [attune.FallbackWarning], "told once")
        self.assertRegex(str(told[0].message), text)
        self.assertEqual(told[0].filename, __file__)


class Attention(PackageCase):
    """The fake GPU compiles for real and loads anything; a kernel's argument has one size in it, the portable
    template's, so that shapes here are ones that only it serves (head_dim 72)."""

    def test_serves_a_call_and_gives_it_the_querys_layout(self):
        q, k, v = tensors(head_dim=72, q_heads=8, kv_heads=2)
        out = attune.attention(q, k, v, is_causal=True, enable_gqa=True, fallback="raise")
        self.assertIsInstance(out, torch.Tensor)
        self.assertEqual((out.shape, out.stride()), (q.shape, q.stride()))
        self.assertEqual(torch.sdpa_calls, [])
        self.assertEqual(torch.operator_calls, [], "no dispatcher on the way")

    def test_on_request_it_goes_no_shorter_way_through_torch(self):
        os.environ["ATTUNE_FAST_CALLS"] = "0"
        self.addCleanup(_attention._set_up)
        self.addCleanup(os.environ.pop, "ATTUNE_FAST_CALLS")  # runs before the set-up
        _attention._set_up()
        torch.allocations.clear()
        _exchange.reads.clear()
        for _ in range(3):
            attune.attention(*tensors(head_dim=72), fallback="raise")
        self.assertEqual(torch.allocations, ["empty_like"] * 3)
        self.assertEqual(_exchange.reads, [])

    def test_the_dispatcher_allocates_the_result_once_a_layout(self):
        _attention._set_up()
        swapped = [256 * 72 * 8, 72, 8 * 72, 1]
        for strides in (None, swapped):
            q, k, v = tensors(head_dim=72, strides=strides)
            torch.allocations.clear()
            outs = [attune.attention(q, k, v, fallback="raise") for _ in range(3)]
            self.assertEqual(torch.allocations, ["empty_like", "empty_strided", "empty_strided"])
            for out in outs:
                self.assertEqual((out.shape, out.stride(), out.dtype), (q.shape, q.stride(), q.dtype))
        torch.allocations.clear()
        attune.attention(*tensors(head_dim=72, dtype=torch.float16), fallback="raise")
        self.assertEqual(torch.allocations, ["empty_like"], "another dtype is another layout")

    def test_writes_into_a_given_result(self):
        q, k, v = tensors(head_dim=72)
        out = torch.Tensor(1, 256, 8, 72, address=0x7f8000000000).transpose(1, 2)
        torch.allocations.clear()
        self.assertIs(attune.attention(q, k, v, fallback="raise", out=out), out)
        self.assertEqual((torch.allocations, torch.operator_calls, torch.sdpa_calls), ([], [], []))
        self.assertEqual(torch.versions.pop(), out, "who saved it for a gradient must be told")

    def test_a_given_result_must_be_as_the_query_is(self):
        q, k, v = tensors(head_dim=72)
        for wrong in (torch.Tensor(1, 8, 255, 72), torch.Tensor(1, 8, 256, 72, dtype=torch.float16),
                      torch.Tensor(1, 8, 256, 72, device=1)):
            with self.assertRaisesRegex(ValueError, "out must have the shape, dtype and device of query"):
                attune.attention(q, k, v, out=wrong)
        torch.state.grad = True
        with self.assertRaisesRegex(ValueError, "out must not require a gradient"):
            attune.attention(q, k, v, out=torch.Tensor(1, 8, 256, 72, requires_grad=True))

    def test_a_given_result_takes_what_others_compute(self):
        q, k, v = tensors(head_dim=72)
        out = torch.Tensor(1, 8, 256, 72)
        self.assertIs(attune.attention(q, k, v, dropout_p=0.5, out=out), out)
        self.assertEqual(len(torch.sdpa_calls), 1)
        torch.state.modes = 1
        self.assertIs(attune.attention(q, k, v, out=out), out)
        torch.state.modes, torch.state.compiling = 0, True
        self.assertIs(attune.attention(q, k, v, out=out), out)
        self.assertEqual(len(torch.operator_calls), 2)
        self.assertEqual(out.copied, ["sdpa", torch.operator_results[0], torch.operator_results[1]])

    def test_the_result_is_on_the_querys_gpu_whichever_is_current(self):
        q, k, v = tensors(head_dim=72)
        attune.attention(q, k, v, fallback="raise")
        torch.state.current = 1
        self.assertEqual(attune.attention(q, k, v, fallback="raise").get_device(), 0)

    def test_the_stream_is_the_querys_gpus_whichever_is_current(self):
        torch.state.current = 1
        torch.asked_streams.clear()
        attune.attention(*tensors(head_dim=72), fallback="raise")
        self.assertEqual(torch.asked_streams, [0])

    def test_a_mode_of_the_dispatcher_sees_the_call(self):
        torch.state.modes = 1
        attune.attention(*tensors(head_dim=72), fallback="raise")
        self.assertEqual(len(torch.operator_calls), 1)

    def test_a_trace_records_the_operator(self):
        torch.state.tracing = True
        attune.attention(*tensors(head_dim=72), fallback="raise")
        self.assertEqual(len(torch.operator_calls), 1)

    def test_under_autocast_it_computes_in_the_type_that_sdpa_would(self):
        torch.state.autocast = torch.float16
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            torch.casts.clear()
            out = attune.attention(*tensors(head_dim=72, dtype=dtype), fallback="raise")
            self.assertEqual(out.dtype, torch.float16)
            self.assertEqual(torch.casts, [] if dtype == torch.float16 else [(dtype, torch.float16)] * 3)

    def test_what_the_operator_has_no_rule_for_is_named(self):
        class Sharded(torch.Tensor):
            def __torch_dispatch__(self):
                pass

        q, k, v = tensors(head_dim=72)
        self.refused("a tensor is a Sharded", q, Sharded(*k.shape), v)
        k.is_nested = k.without_memory = True
        self.refused("nested", q, k, v)
        torch.autograd.forward_ad._current_level = 0
        self.addCleanup(setattr, torch.autograd.forward_ad, "_current_level", -1)
        self.refused("forward-mode gradient", *tensors(head_dim=72))
        torch.autograd.forward_ad._current_level = -1
        torch.state.transform = ["vmap"]
        q.without_memory = True
        self.refused("transform of torch.func", q, *tensors(head_dim=72)[1:])

    def test_a_gradient_that_is_not_recorded_is_no_matter(self):
        attune.attention(*tensors(head_dim=72, requires_grad=True), fallback="raise")
        self.assertEqual(torch.operator_calls, [])

    def test_takes_transposed_tensors(self):
        swapped = [2 * 256 * 72 * 8, 72, 8 * 72, 1]
        attune.attention(*tensors(head_dim=72, batch=2, strides=swapped), fallback="raise")

    def test_under_a_compiler_it_is_the_operator(self):
        torch.state.compiling = True
        q, k, v = tensors(head_dim=72)
        attune.attention(q, k, v, is_causal=True, scale=0.5, fallback="raise")
        self.assertEqual(torch.operator_calls, [(q, k, v, "top-left", 0.5)])
        self.assertEqual(torch.ops.attune.attention.fake(q, k, v).shape, q.shape)

    def test_subclasses_go_through_the_dispatcher(self):
        class Wrapped(torch.Tensor):
            pass

        _, k, v = tensors(head_dim=72)
        attune.attention(Wrapped(*k.shape), k, v, fallback="raise")
        self.assertEqual(len(torch.operator_calls), 1)

    def test_what_the_kernels_do_not_do_is_named(self):
        q, k, v = tensors()
        self.refused("attn_mask", q, k, v, attn_mask=object())
        self.refused("dropout_p", q, k, v, dropout_p=0.1)
        torch.state.grad = True
        self.refused("gradient", *tensors(requires_grad=True))
        torch.state.grad = False
        with self.assertRaisesRegex(NotImplementedError, "no backward"):
            torch.ops.attune.attention.backward(None, None)

    def test_tensors_that_cannot_be_taken_are_named(self):
        q, k, v = tensors()
        self.refused("query is not on a GPU", *tensors(device=-1))
        self.refused("key is not on a GPU", q, tensors(device=-1)[1], v)
        self.refused("query is on GPU 0 and value on GPU 1", q, k, tensors(device=1)[2])
        self.refused("neither bfloat16 nor float16", *tensors(dtype=torch.float32))
        self.refused("query and key differ in dtype", q, tensors(dtype=torch.float16)[1], v)
        self.refused("query is not contiguous in head_dim", torch.Tensor(1, 8, 256, 128, strides=[8, 8, 8, 256]), k, v)
        self.refused("stride of 129", torch.Tensor(1, 8, 256, 128, strides=[8 * 256 * 129, 256 * 129, 129, 1]), k, v)
        self.refused("stride of 0", torch.Tensor(1, 8, 256, 128, strides=[8, 0, 128, 1]), k, v)
        self.refused("value begins at an address", q, k, torch.Tensor(1, 8, 256, 128, address=0x7f0000000002))
        self.refused("empty", *tensors(q_len=0))
        self.refused("empty", *tensors(kv_len=0))
        self.refused("empty", *tensors(batch=0))
        self.refused("head_dim is 7", *tensors(head_dim=7))
        self.refused("head_dim is 264", *tensors(head_dim=264))
        self.refused("8 query heads cannot share 3 key heads", *tensors(kv_heads=3), enable_gqa=True)
        self.refused("enable_gqa=True", *tensors(kv_heads=2))
        self.refused("batch of 1, key of 2", q, *tensors(batch=2)[1:])
        self.refused("key and value differ in dimension 2", q, k, tensors(kv_len=128)[2])
        self.refused("query has 3 dimensions", torch.Tensor(8, 256, 128), k, v)
        for scale in (0.0, -1.0, float("nan"), float("inf"), 1e-60):
            self.refused("scale", q, k, v, scale=scale)

    def test_the_same_is_said_under_a_compiler(self):
        torch.state.compiling = True
        self.refused("head_dim", *tensors(head_dim=7))
        self.refused("one GPU", *tensors(device=-1))
        self.refused("all bfloat16", *tensors(dtype=torch.float32))
        self.refused("query heads", *tensors(kv_heads=3), enable_gqa=True)
        self.refused("4 dimensions", torch.Tensor(8, 256, 128), *tensors()[1:])
        self.refused("batch", tensors()[0], *tensors(batch=2)[1:])
        self.refused("empty", *tensors(kv_heads=0))
        self.refused("empty", *tensors(q_len=0))

    def test_the_fallback_is_asked_the_same_question(self):
        q, k, v = tensors(device=-1, kv_heads=2)
        attune.attention(q, k, v, is_causal=True, scale=0.3, enable_gqa=True)
        self.assertEqual(torch.sdpa_calls, [((q, k, v, None, 0.0, True), {"scale": 0.3, "enable_gqa": True})])
        torch.sdpa_calls.clear()
        q, k, v = tensors(device=-1, q_len=64)
        attune.attention(q, k, v, causal="bottom-right")
        self.assertEqual(torch.sdpa_calls[0][0][3], ("lower right", 64, 256))
        torch.sdpa_calls.clear()
        attune.attention(*tensors(device=-1), causal="bottom-right")
        self.assertIs(torch.sdpa_calls[0][0][5], True, "square: the masks are the same")

    def test_the_fallback_is_given_aligned_tensors(self):
        q, k, v = tensors()
        k.address += 2
        attune.attention(q, k, v)
        given_q, given_k = torch.sdpa_calls[0][0][:2]
        self.assertIs(given_q, q)
        self.assertEqual((given_k.address % 16, given_k.shape), (0, k.shape))

    def test_choices_are_checked(self):
        with self.assertRaisesRegex(ValueError, "'maybe'"):
            attune.set_fallback("maybe")
        with self.assertRaisesRegex(ValueError, "'maybe'"):
            attune.attention(*tensors(device=-1), fallback="maybe")
        with self.assertRaisesRegex(ValueError, "'left'"):
            attune.attention(*tensors(), causal="left")
        self.assertEqual(attune.set_fallback("raise"), "sdpa")
        self.assertEqual(attune.get_fallback(), "raise")
        with self.assertRaises(attune.Unsupported):
            attune.attention(*tensors(device=-1))

    def test_what_is_no_tensor_is_an_error_of_its_own(self):
        q, k, _ = tensors()
        with self.assertRaises(AttributeError):
            attune.attention(q, k, None)

    def test_a_fault_of_the_gpu_is_never_hidden(self):
        q, k, v = tensors()  # head_dim 128: the Hopper template, whose argument this fake GPU does not expect
        with self.assertRaises(attune.AttuneError) as caught:
            attune.attention(q, k, v)
        self.assertEqual(caught.exception.status, "ATTUNE_CUDA")
        self.assertEqual(torch.sdpa_calls, [])


class AttentionOfOlderTorch(Attention):
    """PyTorch before 2.10, whose tensors are read through their methods."""

    def setUp(self):
        super().setUp()
        self.table = torch.Tensor.__dlpack_c_exchange_api__
        del torch.Tensor.__dlpack_c_exchange_api__
        _attention._set_up()
        _exchange.reads.clear()

    def tearDown(self):
        self.assertEqual(_exchange.reads, [])
        torch.Tensor.__dlpack_c_exchange_api__ = self.table
        _attention._set_up()
        super().tearDown()


class AttentionOfABareTorch(Attention):
    """One that lacks the functions below the documented interface."""

    def setUp(self):
        super().setUp()
        self.guards = torch._C._dynamo
        del torch._C._dynamo
        _attention._set_up()

    def tearDown(self):
        torch._C._dynamo = self.guards
        _attention._set_up()
        super().tearDown()

    def test_on_request_it_goes_no_shorter_way_through_torch(self):
        os.environ["ATTUNE_FAST_CALLS"] = "0"
        self.addCleanup(_attention._set_up)
        self.addCleanup(os.environ.pop, "ATTUNE_FAST_CALLS")  # runs before the set-up
        _attention._set_up()
        torch.allocations.clear()
        _exchange.reads.clear()
        for _ in range(3):
            attune.attention(*tensors(head_dim=72), fallback="raise")
        self.assertEqual(torch.allocations, ["empty_like"] * 3)
        self.assertEqual(_exchange.reads, [])

    def test_the_dispatcher_allocates_the_result_once_a_layout(self):
        torch.allocations.clear()
        for _ in range(2):
            attune.attention(*tensors(head_dim=72), fallback="raise")
        self.assertEqual(torch.allocations, ["empty_like", "empty_like"])


class ExchangeTable(PackageCase):

    def test_tensors_are_read_through_it(self):
        _exchange.reads.clear()
        q, k, v = tensors(head_dim=72)
        attune.attention(q, k, v, fallback="raise")
        self.assertEqual([id(one) for one in _exchange.reads[:3]], [id(q), id(k), id(v)])

    def test_a_tensor_without_memory_goes_to_the_dispatcher(self):
        q, k, v = tensors(head_dim=72)
        v.without_memory = True
        with self.assertRaises(Exception):  # the stand-in's operator has no more of it than the extension
            attune.attention(q, k, v, fallback="raise")
        self.assertEqual(len(torch.operator_calls), 1)

    def test_a_table_that_contradicts_the_attributes_is_not_used(self):
        _exchange.lanes = 2
        _attention._set_up()
        _exchange.lanes = 1
        _exchange.reads.clear()
        try:
            attune.attention(*tensors(head_dim=72), fallback="raise")
            self.assertEqual(_exchange.reads, [])
        finally:
            _attention._set_up()

    def test_another_major_version_is_not_used(self):
        table = _exchange._alive[-1]
        table.major = 2
        _attention._set_up()
        _exchange.reads.clear()
        try:
            attune.attention(*tensors(head_dim=72), fallback="raise")
            self.assertEqual(_exchange.reads, [])
        finally:
            table.major = 1
            _attention._set_up()


class Surroundings(PackageCase):

    def test_no_compiler_is_a_reason_to_fall_back(self):
        os.environ["ATTUNE_NVRTC"] = "/nonexistent/libnvrtc.so"
        try:
            self.refused("ATTUNE_COMPILE: .*nonexistent", *tensors(head_dim=24, dtype=torch.float16))
        finally:
            del os.environ["ATTUNE_NVRTC"]

    def test_a_database_that_is_none_is_a_reason_to_fall_back(self):
        attune.configure(database=os.path.join(self.folder.name, "missing.db"))
        self.refused("ATTUNE_DATABASE: .*missing.db", *tensors(head_dim=72))

    def test_what_cannot_be_opened_is_tried_again_after_some_time_only(self):
        missing = os.path.join(self.folder.name, "later.db")
        attune.configure(database=missing)
        self.refused("ATTUNE_DATABASE", *tensors(head_dim=72))
        os.environ["ATTUNE_DB"] = missing
        self.addCleanup(os.environ.pop, "ATTUNE_DB")
        library = _core.Library(queue_misses=1)  # makes it, with a shape that is wanted
        library.prepare(1, 8, 8, 256, 256, 72, 0, 0, 0)
        library.close()
        self.refused("ATTUNE_DATABASE", *tensors(head_dim=72))
        now = time.monotonic()
        self.addCleanup(setattr, _libraries, "_now", _libraries._now)
        _libraries._now = lambda: now + 31
        attune.attention(*tensors(head_dim=72), fallback="raise")

    def test_a_failure_that_is_remembered_holds_no_tensors(self):
        attune.configure(database=os.path.join(self.folder.name, "missing.db"))
        q, k, v = tensors(head_dim=72)
        held = weakref.ref(q)
        attune.attention(q, k, v)
        torch.sdpa_calls.clear()
        _exchange.reads.clear()
        del q
        self.assertIsNone(held())

    def test_a_new_choice_is_tried_at_once(self):
        attune.configure(database=os.path.join(self.folder.name, "missing.db"))
        self.refused("ATTUNE_DATABASE", *tensors(head_dim=72))
        attune.configure()
        attune.attention(*tensors(head_dim=72), fallback="raise")

    def test_a_server_that_is_down_costs_a_line_of_the_log(self):
        attune.configure(server="http://127.0.0.1:9")
        with self.assertLogs("attune", "WARNING") as told:
            attune.attention(*tensors(head_dim=72, q_len=192), fallback="raise")
        self.assertIn("127.0.0.1:9", str(told.output))

    def test_packs_and_the_wanted_list(self):
        attune.configure(packs=os.path.join(self.folder.name, "missing.pack"))
        self.refused("ATTUNE_DATABASE: .*missing.pack", *tensors(head_dim=72))
        database = os.path.join(self.folder.name, "wanted.db")
        attune.configure(queue_misses=True)
        os.environ["ATTUNE_DB"] = database
        self.addCleanup(os.environ.pop, "ATTUNE_DB")
        library = _core.Library(queue_misses=1)
        library.prepare(1, 8, 8, 256, 256, 72, 0, 0, 0)
        library.close()  # waits until it is written
        run = subprocess.run([binary, "cache", "wanted", "--db", database], capture_output=True, text=True)
        self.assertIn("d72", run.stdout, run.stderr)

    def test_many_threads_open_one_library(self):
        found = []
        threads = [threading.Thread(target=lambda: found.append(_libraries.library_of(0))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len({id(one) for one in found}), 1)

    def test_a_device_that_is_not_there(self):
        with self.assertRaisesRegex(attune.AttuneError, "no GPU 5"):
            attune.lookup(q_heads=1, q_len=64, head_dim=64, device=5)

    def test_a_forked_child_is_told(self):
        attune.lookup(q_heads=8, q_len=256, head_dim=72)
        library = _libraries.library_of(0)
        child = os.fork()
        if child == 0:
            try:
                library.prepare(1, 8, 8, 256, 256, 72, 0, 0, 0)
                code = 1
            except attune.AttuneError as error:
                code = 0 if "fork" in str(error) and not _libraries.libraries else 2
            os._exit(code)
        self.assertEqual(os.waitpid(child, 0)[1], 0)

    def test_an_interpreter_may_end_with_everything_open(self):
        program = ("import sys; sys.path[:0] = %r; import torch, attune; q = torch.Tensor(1, 8, 256, 72); "
                   "attune.attention(q, q, q, fallback='raise')" % sys.path[:2])
        wanted = {"ATTUNE_WANTED": "1", "ATTUNE_DB": os.path.join(self.folder.name, "wanted.db")}  # with its thread
        for extra in ({}, wanted):
            run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                                 env={**os.environ, **extra})
            self.assertEqual((run.returncode, run.stderr), (0, ""))

    def test_import_needs_no_torch(self):
        program = "import sys; sys.path.insert(0, %r); import attune; assert 'torch' not in sys.modules" % package
        self.assertEqual(subprocess.run([sys.executable, "-S", "-c", program]).returncode, 0)


class Library(PackageCase):

    def test_logs_and_closes(self):
        lines = []
        library = _core.Library(log=lambda level, text: lines.append((level, text)))
        self.assertTrue(any("H100" in text for _, text in lines), lines)
        library.close()
        library.close()
        with self.assertRaisesRegex(ValueError, "closed"):
            library.prepare(1, 8, 8, 256, 256, 72, 0, 0, 0)

    def test_attend_checks_its_arguments(self):
        q, k, v = tensors(head_dim=72)
        with self.assertRaisesRegex(TypeError, "7 arguments"):
            _core.attend(q, k, v)
        with self.assertRaises(TypeError):
            _core.attend(q, k, v, "mask", None, False, None)
        with self.assertRaises(TypeError):
            _core.attend(q, k, v, 0, "scale", False, None)
        with self.assertRaisesRegex(TypeError, "misses 'Tensor'"):
            _core.attend_setup({})
        with self.assertRaisesRegex(TypeError, "a dict"):
            _core.attend_setup([])
        _attention._set_up()
        self.assertIsInstance(_core.attend(q, k, v, 0, None, False, None), torch.Tensor)

    def test_forward_checks_its_arguments(self):
        library = _core.Library()
        q, k, v = tensors(head_dim=72)
        with self.assertRaisesRegex(TypeError, "8 arguments"):
            library.forward(q, k, v)
        with self.assertRaises(TypeError):
            library.forward(q, k, v, q, "mask", None, False, 0)
        with self.assertRaises(OverflowError):
            library.forward(q, k, v, q, 0, None, False, -1)
        self.assertIn("out", library.forward(q, k, v, torch.Tensor(1, 8, 255, 72), 0, None, False, 0))
        with self.assertRaisesRegex(attune.AttuneError, "mask 9"):
            library.forward(q, k, v, q, 9, None, False, 0)


class Lookup(PackageCase):

    def test_says_what_serves_a_shape(self):
        answer = attune.lookup(q_heads=32, kv_heads=8, q_len=1000, head_dim=72, causal=True)
        self.assertEqual((answer.provenance, answer.template, answer.expected_us), ("default", "portable", None))
        self.assertIn("block_sizes", answer.config)
        self.assertIn("no database", answer.reason)

    def test_refuses_nonsense(self):
        for keywords, text in (({"dtype": "fp8"}, "'fp8'"), ({"layout": "sbhd"}, "'sbhd'"), ({"causal": "x"}, "'x'")):
            with self.assertRaisesRegex(ValueError, text):
                attune.lookup(q_heads=1, q_len=64, head_dim=64, **keywords)
        with self.assertRaisesRegex(attune.AttuneError, "head_dim is 7") as caught:
            attune.lookup(q_heads=1, q_len=64, head_dim=7)
        self.assertEqual(caught.exception.status, "ATTUNE_INVALID_ARGUMENT")


class Tune(PackageCase):

    def setUp(self):
        super().setUp()
        os.environ["ATTUNE_CUDA_DRIVER"] = "/nonexistent/libcuda.so.1"

    def tearDown(self):
        os.environ["ATTUNE_CUDA_DRIVER"] = fake_gpu
        super().tearDown()

    def test_what_it_finds_is_looked_up(self):
        subprocess.run([make_recordings, self.folder.name], check=True, stdout=subprocess.DEVNULL)
        os.environ["ATTUNE_RECORDINGS"] = self.folder.name
        self.addCleanup(os.environ.pop, "ATTUNE_RECORDINGS")
        database = os.path.join(self.folder.name, "tuned.db")
        attune.configure(database=database)
        found = attune.tune(q_heads=2, q_len=128, head_dim=64, max_trials=4, require_gpu=False)
        self.assertEqual(found["trials"], 4)
        self.assertGreater(found["median_us"], 0)
        self.assertTrue(os.path.exists(database))

    def test_says_what_the_program_says(self):
        with self.assertRaisesRegex(attune.TuneError, "GPU") as caught:
            attune.tune(q_heads=8, q_len=64, head_dim=64, max_trials=1)
        self.assertEqual(caught.exception.exit_code, 3)
        with self.assertRaises(attune.TuneError) as caught:
            attune.tune(q_heads=8, q_len=64, head_dim=64, arguments=["--no-such-flag"])
        self.assertEqual(caught.exception.exit_code, 2)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[5:])
