#!/usr/bin/env python3
"""The package with PyTorch and transformers on a GPU. Skips, with a line that says so, where there is none.

    PYTHONPATH=build/dev/python python3 tests/python/torch_gpu_test.py
"""

import os
import tempfile
import threading
import unittest
import unittest.mock
import warnings

try:
    import torch
    import torch.nn.functional as F
except ImportError:
    torch = None

if torch is not None and torch.cuda.is_available():
    import attune
    SKIP = None
else:
    SKIP = "no GPU here: " + ("no PyTorch" if torch is None else "PyTorch sees none")


def make(*sizes, dtype=None, layout="bhsd"):
    dtype = dtype or torch.bfloat16
    if layout == "bhsd":
        return torch.randn(*sizes, device="cuda", dtype=dtype)
    batch, heads, length, head_dim = sizes
    return torch.randn(batch, length, heads, head_dim, device="cuda", dtype=dtype).transpose(1, 2)


def reference(q, k, v, causal=False, scale=None):
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    return F.scaled_dot_product_attention(q.float(), k.float(), v.float(), is_causal=causal, scale=scale)


def error(out, expected):
    return float(torch.linalg.vector_norm(out.float() - expected) / torch.linalg.vector_norm(expected))


@unittest.skipIf(SKIP, SKIP)
class GpuCase(unittest.TestCase):

    def setUp(self):
        torch.manual_seed(0)
        self.former = attune.set_fallback("raise")

    def tearDown(self):
        attune.set_fallback(self.former)

    def close_to(self, out, expected):
        self.assertLess(error(out, expected), 5e-3)


class Attention(GpuCase):

    def test_is_what_sdpa_computes(self):
        for heads, kv_heads, q_len, kv_len, head_dim, causal, layout, dtype in [
            (8, 8, 256, 256, 128, True, "bhsd", torch.bfloat16), (14, 2, 512, 512, 64, True, "bshd", torch.bfloat16),
            (8, 8, 130, 257, 80, False, "bhsd", torch.bfloat16), (4, 1, 192, 192, 96, True, "bshd", torch.float16),
            (8, 2, 64, 320, 128, True, "bhsd", torch.bfloat16)
        ]:
            with self.subTest(heads=heads, q_len=q_len, head_dim=head_dim, layout=layout):
                q = make(2, heads, q_len, head_dim, dtype=dtype, layout=layout)
                k, v = (make(2, kv_heads, kv_len, head_dim, dtype=dtype, layout=layout) for _ in range(2))
                out = attune.attention(q, k, v, is_causal=causal, enable_gqa=True)
                self.assertEqual(out.stride(), torch.empty_like(q).stride())
                self.close_to(out, reference(q, k, v, causal))

    def test_the_result_lies_as_empty_like_has_it(self):
        fused = torch.randn(2, 256, 3, 8, 64, device="cuda", dtype=torch.bfloat16)
        layouts = {
            "parts of one projection": tuple(fused[:, :, i].transpose(1, 2) for i in range(3)),
            "length first": tuple(torch.randn(256, 2, 8, 64, device="cuda", dtype=torch.bfloat16).permute(1, 2, 0, 3)
                                  for _ in range(3)),
            "of one head": tuple(make(2, 1, 256, 64) for _ in range(3)),
        }
        for name, (q, k, v) in layouts.items():
            for turn in range(3):  # the first is allocated by another way than the later ones
                with self.subTest(name, turn=turn):
                    out = attune.attention(q, k, v)
                    expected = torch.empty_like(q)
                    self.assertEqual((out.shape, out.stride(), out.dtype, out.device, out.requires_grad),
                                     (q.shape, expected.stride(), q.dtype, q.device, False))
                    self.close_to(out, reference(q, k, v))

    def test_writes_into_a_given_result(self):
        q, k, v = make(2, 8, 256, 64), make(2, 2, 256, 64), make(2, 2, 256, 64)
        for layout in ("bhsd", "bshd"):
            out = make(2, 8, 256, 64, layout=layout)
            self.assertIs(attune.attention(q, k, v, is_causal=True, enable_gqa=True, out=out), out)
            self.close_to(out, reference(q, k, v, causal=True))
        out.zero_()
        attune.attention(q, k, v, attn_mask=torch.zeros(256, 256, device="cuda", dtype=torch.bfloat16), enable_gqa=True,
                         fallback="sdpa", out=out)
        self.close_to(out, reference(q, k, v))

    def test_results_do_not_share_memory(self):
        q, k, v = make(1, 4, 128, 64), make(1, 4, 128, 64), make(1, 4, 128, 64)
        outs = [attune.attention(q * (i + 1), k, v) for i in range(6)]
        for i, out in enumerate(outs):
            self.close_to(out, reference(q * (i + 1), k, v))
        outs[0].record_stream(torch.cuda.Stream())  # the caching allocator's own memory

    def test_modes_of_the_dispatcher_see_the_call(self):
        from torch.utils._python_dispatch import TorchDispatchMode
        seen = []

        class Mode(TorchDispatchMode):

            def __torch_dispatch__(self, function, types, args=(), kwargs=None):
                seen.append(str(function))
                return function(*args, **(kwargs or {}))

        q, k, v = make(1, 4, 128, 64), make(1, 4, 128, 64), make(1, 4, 128, 64)
        with Mode():
            out = attune.attention(q, k, v)
        self.assertIn("attune.attention.default", seen)
        self.close_to(out, reference(q, k, v))

    def test_gradients_elsewhere_and_inference_tensors(self):
        q, k, v = make(1, 4, 128, 64), make(1, 4, 128, 64), make(1, 4, 128, 64)
        with torch.inference_mode():
            out = attune.attention(q, k, v)
            self.assertTrue(out.is_inference())
        out = attune.attention(q, k, v)  # gradients are on, and none is asked for
        self.assertFalse(out.is_inference() or out.requires_grad)
        self.close_to(out, reference(q, k, v))

    def test_scale_and_bottom_right(self):
        q, k, v = make(1, 4, 128, 64), make(1, 4, 384, 64), make(1, 4, 384, 64)
        self.close_to(attune.attention(q, k, v, scale=0.3), reference(q, k, v, scale=0.3))
        scores = q.float() @ k.float().transpose(-1, -2) / 8
        hidden = torch.ones(128, 384, dtype=torch.bool, device="cuda").triu(384 - 128 + 1)
        expected = torch.softmax(scores.masked_fill(hidden, float("-inf")), -1) @ v.float()
        self.close_to(attune.attention(q, k, v, causal="bottom-right"), expected)
        attune.set_fallback("sdpa")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answered = attune.attention(q, k, v, causal="bottom-right", dropout_p=1e-9)
        self.close_to(answered, expected)

    def test_falls_back_or_raises_by_choice(self):
        q, k, v = make(1, 4, 64, 64), make(1, 4, 64, 64), make(1, 4, 64, 64)
        mask = torch.ones(64, 64, dtype=torch.bool, device="cuda").tril()
        cases = [dict(attn_mask=mask), dict(dropout_p=0.5)]
        for case in cases:
            with self.subTest(**case), self.assertRaises(attune.Unsupported):
                attune.attention(q, k, v, **case)
        with self.assertWarnsRegex(attune.FallbackWarning, "attn_mask"):
            out = attune.attention(q, k, v, attn_mask=mask, fallback="sdpa")
        self.close_to(out, reference(q, k, v, causal=True))

    def test_what_the_kernel_does_not_take(self):
        q, k, v = make(1, 4, 64, 64), make(1, 4, 64, 64), make(1, 4, 64, 64)
        shifted = torch.randn(4 * 64 * 64 + 1, device="cuda", dtype=torch.bfloat16)[1:].view(1, 4, 64, 64)
        cases = {
            "not on a GPU": (q.cpu(), k, v),
            "key is not on a GPU": (q, k.cpu(), v),
            "differ in dtype": (q, k.half(), v),
            "neither bfloat16": (q.float(), k.float(), v.float()),
            "not contiguous in head_dim": (q.transpose(2, 3), k, v),
            "multiple of 16 bytes": (shifted, k, v),
            "empty": (q[:, :, :0], k, v),
            "head_dim is 7": tuple(t[..., :7].contiguous() for t in (q, k, v)),
            "share": (q, k[:, :3], v[:, :3]),
            "enable_gqa": (q, k[:, :2], v[:, :2]),
            "query has 3 dimensions": (q[0], k[0], v[0]),
        }
        for text, tensors in cases.items():
            with self.subTest(text), self.assertRaisesRegex(attune.Unsupported, text):
                attune.attention(*tensors)
        attune.set_fallback("sdpa")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.close_to(attune.attention(q, k, v, scale=0.25)[:], reference(q, k, v, scale=0.25))
            self.close_to(attune.attention(shifted, k, v), reference(shifted, k, v))
            self.assertEqual(attune.attention(q[:, :, :0], k, v).shape, (1, 4, 0, 64))
            self.assertEqual(attune.attention(q.cpu(), k.cpu(), v.cpu()).device.type, "cpu")

    def test_gradients_fall_back(self):
        q, k, v = (make(1, 4, 64, 64).requires_grad_() for _ in range(3))
        with self.assertRaisesRegex(attune.Unsupported, "gradient"):
            attune.attention(q, k, v)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            attune.attention(q, k, v, fallback="sdpa").sum().backward()
        self.assertIsNotNone(q.grad)
        with torch.no_grad():
            self.close_to(attune.attention(q.detach(), k.detach(), v.detach()), reference(q, k, v))
        with self.assertRaisesRegex(NotImplementedError, "no backward"):
            torch.ops.attune.attention(q, k, v).sum().backward()


class Surroundings(GpuCase):
    """What else of PyTorch is around a call."""

    def tensors(self, **keywords):
        return [make(1, 4, 128, 64, **keywords) for _ in range(3)]

    def test_a_trace_computes_for_other_inputs(self):
        with torch.no_grad():
            traced = torch.jit.trace(lambda q, k, v: attune.attention(q, k, v, is_causal=True), self.tensors())
            q, k, v = self.tensors()
            self.close_to(traced(q, k, v), reference(q, k, v, causal=True))

    def test_autocast(self):
        q, k, v = self.tensors(dtype=torch.float32)
        compiled = torch.compile(lambda q, k, v: attune.attention(q, k, v), fullgraph=True)
        for dtype in (torch.bfloat16, torch.float16):
            with torch.no_grad(), torch.autocast("cuda", dtype):
                for call in (attune.attention, compiled):
                    out = call(q, k, v)
                    self.assertEqual(out.dtype, F.scaled_dot_product_attention(q, k, v).dtype)
                    self.close_to(out, reference(q, k, v))

    def test_transforms_are_answered_by_torch(self):
        q, k, v = self.tensors()
        stacked = torch.stack([q, 2 * q])
        with self.assertRaisesRegex(attune.Unsupported, "torch.func"):
            torch.vmap(lambda q: attune.attention(q, k, v))(stacked)
        attune.set_fallback("sdpa")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            out = torch.vmap(lambda q: attune.attention(q, k, v))(stacked)
            gradient = torch.func.grad(lambda q: attune.attention(q, k, v).float().sum())(q)
        for i in range(2):
            self.close_to(out[i], reference(stacked[i], k, v))
        self.assertEqual(gradient.shape, q.shape)

    def test_forward_mode_gradients_are_not_lost(self):
        import torch.autograd.forward_ad as forward_ad
        q, k, v = self.tensors()
        with forward_ad.dual_level(), self.assertRaisesRegex(attune.Unsupported, "forward-mode"):
            attune.attention(forward_ad.make_dual(q, torch.ones_like(q)), k, v)

    def test_a_forked_child_is_told(self):
        tensors = self.tensors()
        attune.attention(*tensors)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                attune.attention(*tensors)
                text = "served"
            except Exception as failure:
                text = f"{type(failure).__name__}: {failure}"
            os.write(writing, text.encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as told:
            self.assertRegex(told.read(), "AttuneError: .*forked")
        self.assertEqual(os.waitpid(child, 0)[1], 0)

    def test_nested_tensors_are_named(self):
        for layout in (torch.strided, torch.jagged):
            parts = [torch.randn(n, 4, 64, device="cuda", dtype=torch.bfloat16) for n in (16, 32)]
            nested = torch.nested.nested_tensor(parts, layout=layout).transpose(1, 2)
            with self.assertRaisesRegex(attune.Unsupported, "nested"):
                attune.attention(nested, nested, nested)


@unittest.skipIf(SKIP is None and torch.cuda.device_count() < 2, "one GPU here")
class TwoGpus(GpuCase):

    def tensors(self, device):
        return [make(1, 8, 256, 64).to(f"cuda:{device}") for _ in range(3)]

    def test_each_call_runs_where_its_tensors_are(self):
        for current in (0, 1):
            with torch.cuda.device(current):
                for device in (0, 1):
                    q, k, v = self.tensors(device)
                    for _ in range(2):  # the second allocates by the shorter way
                        out = attune.attention(q, k, v, is_causal=True)
                        self.assertEqual(out.device, q.device)
                        self.close_to(out, reference(q, k, v, causal=True))
                self.assertEqual(torch.cuda.current_device(), current)

    def test_threads_of_their_own_gpus(self):
        failures = []

        def work(device):
            try:
                torch.cuda.set_device(device)
                stream = torch.cuda.Stream()
                with torch.cuda.stream(stream):
                    q, k, v = self.tensors(device)
                    expected = reference(q, k, v)
                    for _ in range(200):
                        out = attune.attention(q, k, v)
                    stream.synchronize()
                    self.close_to(out, expected)
            except BaseException as failure:
                failures.append(failure)

        threads = [threading.Thread(target=work, args=(device,)) for device in (0, 1, 0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])

    def test_tensors_of_two_gpus_are_refused(self):
        q, k, v = self.tensors(0)
        with self.assertRaisesRegex(attune.Unsupported, "query is on GPU 0 and key on GPU 1"):
            attune.attention(q, k.to("cuda:1"), v)


class Streams(GpuCase):

    def test_uses_the_current_stream(self):
        q, k, v = make(1, 8, 512, 128), make(1, 8, 512, 128), make(1, 8, 512, 128)
        attune.attention(q, k, v)
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            torch.cuda._sleep(50_000_000)
            q.mul_(2)
            out = attune.attention(q, k, v)
        side.synchronize()
        self.close_to(out, reference(q, k, v))

    def test_a_thread_that_never_used_cuda(self):
        q, k, v = make(1, 8, 256, 64), make(1, 8, 256, 64), make(1, 8, 256, 64)
        attune.attention(q, k, v)
        answers = []
        thread = threading.Thread(target=lambda: answers.append(attune.attention(q, k, v)))
        thread.start()
        thread.join()
        torch.cuda.synchronize()
        self.close_to(answers[0], reference(q, k, v))

    def test_cuda_graph(self):
        q, k, v = make(1, 8, 384, 64), make(1, 2, 384, 64), make(1, 2, 384, 64)
        graph = torch.cuda.CUDAGraph()
        with self.assertRaisesRegex(attune.Unsupported, "NOT_PREPARED"), torch.cuda.graph(graph):
            attune.attention(q, k, v, is_causal=True, enable_gqa=True)
        attune.lookup(q_heads=8, kv_heads=2, q_len=384, head_dim=64, causal=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = attune.attention(q, k, v, is_causal=True, enable_gqa=True)
        for seed in range(3):
            torch.manual_seed(seed)
            q.normal_()
            graph.replay()
            torch.cuda.synchronize()
            self.close_to(out, reference(q, k, v, causal=True))

    def test_two_graphs_of_one_stream_one_after_another(self):
        q, k, v = make(1, 32, 2048, 128), make(1, 8, 2048, 128), make(1, 8, 2048, 128)
        attune.attention(q, k, v, is_causal=True, enable_gqa=True)
        graphs = []
        for _ in range(2):
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                out = attune.attention(q, k, v, is_causal=True, enable_gqa=True)
            graphs.append((graph, out))
        expected = reference(q, k, v, causal=True)
        for _ in range(20):
            for graph, _ in graphs:
                graph.replay()
        torch.cuda.synchronize()
        for _, out in graphs:
            self.close_to(out, expected)


class Compiled(GpuCase):

    def test_torch_compile(self):
        q, k, v = make(1, 8, 256, 64), make(1, 2, 256, 64), make(1, 2, 256, 64)

        def block(q, k, v):
            return attune.attention(q * 2, k, v, is_causal=True, enable_gqa=True).transpose(1, 2).flatten(2) + 1

        expected = reference(q * 2, k, v, causal=True).transpose(1, 2).flatten(2) + 1
        for mode in (None, "reduce-overhead"):
            with self.subTest(mode), torch.inference_mode():
                compiled = torch.compile(block, mode=mode, fullgraph=True)
                for _ in range(3):
                    out = compiled(q, k, v).clone()
                self.close_to(out, expected)

    def test_operator_is_well_formed(self):
        q, k, v = make(1, 4, 128, 64), make(1, 4, 128, 64), make(1, 4, 128, 64)
        torch.library.opcheck(torch.ops.attune.attention.default, (q, k, v, "top-left"),
                              test_utils=("test_schema", "test_faketensor"))


class Lookup(GpuCase):

    def test_says_what_serves_a_shape(self):
        answer = attune.lookup(q_heads=32, kv_heads=8, q_len=2048, head_dim=128, causal=True)
        self.assertIn(answer.provenance, ("exact", "near", "default"))
        self.assertIsInstance(answer.config, dict)
        with self.assertRaisesRegex(attune.AttuneError, "head_dim is 7"):
            attune.lookup(q_heads=1, q_len=64, head_dim=7)

    def test_reload_keeps_graphs_alive(self):
        q, k, v = make(1, 4, 128, 64), make(1, 4, 128, 64), make(1, 4, 128, 64)
        attune.attention(q, k, v)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = attune.attention(q, k, v)
        attune.reload()
        attune.attention(q, k, v)
        out.zero_()
        graph.replay()
        torch.cuda.synchronize()
        self.close_to(out, reference(q, k, v))


class Transformers(GpuCase):

    def model(self, family="Llama", **sizes):
        import transformers
        import attune.transformers
        config = getattr(transformers, f"{family}Config")(
            hidden_size=512, intermediate_size=1024, num_hidden_layers=2, num_attention_heads=8, num_key_value_heads=2,
            vocab_size=1000, max_position_embeddings=2048, **sizes)
        config._attn_implementation = "attune"
        with torch.device("cuda"):
            return getattr(transformers, f"{family}ForCausalLM")(config).to(torch.bfloat16).eval()

    def test_prefill_is_that_of_sdpa(self):
        # Phi's rotary embedding of a part of head_dim leaves the heads outermost in memory: only there a copy is spared.
        for model, spares in ((self.model(), False), (self.model("Phi", partial_rotary_factor=0.5), True)):
            tokens = torch.randint(1000, (2, 384), device="cuda")
            with torch.inference_mode():
                with unittest.mock.patch("attune.transformers.attention", wraps=attune.attention) as called:
                    ours = model(tokens, use_cache=False).logits
                self.assertEqual(["out" in one.kwargs for one in called.call_args_list], [spares, spares])
                model.set_attn_implementation("sdpa")
                theirs = model(tokens, use_cache=False).logits
            self.assertLess(error(ours, theirs.float()), 2e-2)

    def served_as_a_whole(self, name, use_cache, run):
        """`run(model, tokens)` gives a function of no arguments that computes the logits of what `tokens` holds then."""
        model = self.model()
        model.set_attn_implementation(name)
        tokens = torch.randint(1000, (1, 256), device="cuda")
        with torch.inference_mode():
            model(tokens, use_cache=use_cache)
            again = run(lambda: model(tokens, use_cache=use_cache).logits)
            tokens.random_(1000)
            ours = again().clone()
            model.set_attn_implementation("sdpa")
            self.assertLess(error(ours, model(tokens, use_cache=False).logits.float()), 2e-2)

    def test_a_captured_model_needs_no_mask(self):
        def captured(compute):
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                logits = compute()
            return lambda: (graph.replay(), logits)[1]

        self.served_as_a_whole("attune", True, captured)
        self.served_as_a_whole("attune_causal", False, captured)
        with self.assertRaisesRegex(attune.Unsupported, "attention mask"):
            self.served_as_a_whole("attune", False, captured)  # position_ids could be of packed sequences

    def test_a_compiled_model_needs_no_mask(self):
        for name, use_cache in (("attune", True), ("attune_causal", False)):
            torch.compiler.reset()
            self.served_as_a_whole(name, use_cache, torch.compile)

    def test_values_of_another_head_dim_are_answered_by_torch(self):
        import transformers
        import attune.transformers
        config = transformers.DeepseekV3Config(
            hidden_size=256, intermediate_size=256, moe_intermediate_size=64, num_hidden_layers=1, num_attention_heads=4,
            num_key_value_heads=4, n_routed_experts=4, n_group=1, topk_group=1, num_experts_per_tok=2, q_lora_rank=64,
            kv_lora_rank=32, qk_rope_head_dim=32, qk_nope_head_dim=64, v_head_dim=64, vocab_size=1000,
            first_k_dense_replace=1)
        config._attn_implementation = "attune"
        with torch.device("cuda"):
            model = transformers.DeepseekV3ForCausalLM(config).to(torch.bfloat16).eval()
        tokens = torch.randint(1000, (1, 128), device="cuda")
        attune.set_fallback("sdpa")
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ours = model(tokens, use_cache=False).logits
            model.set_attn_implementation("sdpa")
            self.close_to(ours, model(tokens, use_cache=False).logits.float())

    def test_generates_and_takes_padding(self):
        model = self.model()
        attune.set_fallback("sdpa")
        tokens = torch.randint(1000, (2, 100), device="cuda")
        mask = torch.ones_like(tokens)
        mask[0, :30] = 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", attune.FallbackWarning)
            for attention_mask in (torch.ones_like(tokens), mask):
                out = model.generate(tokens, attention_mask=attention_mask, max_new_tokens=8, do_sample=False)
                self.assertEqual(out.shape, (2, 108))
        attune.set_fallback("raise")
        with torch.inference_mode(), self.assertRaisesRegex(attune.Unsupported, "attention mask"):
            model(tokens, attention_mask=mask)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("ATTUNE_CACHE_DIR", folder)
        unittest.main()
