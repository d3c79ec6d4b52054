#!/usr/bin/env python3
"""attn_implementation="attune" on the fake GPU, with stand-ins for torch and transformers: which masks it asks for and
what it serves. transformers_test.py PACKAGE_FOLDER FAKE_GPU
"""

import os
import sys
import tempfile
import types
import unittest
import warnings

sys.dont_write_bytecode = True
package, fake_gpu = [os.path.abspath(one) for one in sys.argv[1:3]]
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [package, os.path.join(HERE, "fake_torch"), os.path.join(HERE, "fake_transformers")]
os.environ["ATTUNE_CUDA_DRIVER"] = fake_gpu
for variable in ("ATTUNE_DB", "ATTUNE_FALLBACK"):
    os.environ.pop(variable, None)

import torch
import transformers
from transformers import masking_utils
from transformers.integrations import sdpa_attention

import attune
import attune.transformers

HEAD_DIM = 72  # only the portable template serves it, whose argument the fake GPU expects
MASK = "the mask of sdpa"


class Case(unittest.TestCase):

    def setUp(self):
        torch.reset()
        sdpa_attention.calls.clear()
        masking_utils.asked.clear()
        warnings.simplefilter("ignore")
        attune.set_fallback("raise")


class Masks(Case):

    def masks(self, **arguments):
        """What is made for (attune, attune_causal)."""
        arguments = {"q_length": 64, "kv_length": 64, "batch_size": 1, **arguments}
        return tuple(masking_utils.AttentionMaskInterface.functions[name](**arguments)
                     for name in ("attune", "attune_causal"))

    def test_transformers_decides_where_it_can_look_at_the_inputs(self):
        self.assertEqual(self.masks(attention_mask="ones"), (MASK, MASK))
        self.assertEqual(masking_utils.asked[0], {"q_length": 64, "kv_length": 64, "batch_size": 1, "attention_mask": "ones"})

    def test_a_prompt_needs_none_where_it_cannot(self):
        for state in ("compiling", "capturing"):
            setattr(torch.state, state, True)
            self.assertEqual(self.masks(), (None, None))
            self.assertEqual(self.masks(allow_is_causal_skip=False, allow_is_bidirectional_skip=True), (None, None))
            self.assertEqual(self.masks(local_size=128), (None, None))
            setattr(torch.state, state, False)

    def test_padding_and_packing_are_only_left_out_where_that_is_promised(self):
        torch.state.capturing = True
        self.assertEqual(self.masks(attention_mask="ones"), (MASK, None))
        self.assertEqual(self.masks(allow_is_causal_skip=False), (MASK, None))

    def test_other_masks_are_never_left_out(self):
        torch.state.capturing = True
        for needed in ({"local_size": 64}, {"local_size": 8}, {"kv_length": 128}, {"q_length": 1}, {"q_length": None},
                       {"use_vmap": True, "allow_is_causal_skip": False}):
            self.assertEqual(self.masks(**needed), (MASK, MASK), needed)

    def test_what_is_exported_is_for_inputs_of_any_kind(self):
        torch.state.compiling = torch.state.exporting = True
        self.assertEqual(self.masks(), (MASK, MASK))


class Forward(Case):

    def forward(self, query, key, value, mask=None, name="attune", **keywords):
        function = transformers.AttentionInterface.functions[name]
        return function(types.SimpleNamespace(is_causal=True), query, key, value, mask, **keywords)

    def tensors(self, length=64, value_dim=HEAD_DIM):
        """As a model has them: [batch, length, heads, head_dim], seen as [batch, heads, length, head_dim]."""
        query, key = (torch.Tensor(1, length, heads, HEAD_DIM).transpose(1, 2) for heads in (8, 2))
        return query, key, torch.Tensor(1, length, 2, value_dim).transpose(1, 2)

    def test_serves_a_prompt(self):
        for name in ("attune", "attune_causal"):
            out, weights = self.forward(*self.tensors(), name=name)
            self.assertEqual((out.shape, weights), ((1, 64, 8, HEAD_DIM), None))
        self.assertEqual(sdpa_attention.calls + torch.sdpa_calls, [])

    def test_writes_the_order_that_a_model_goes_on_with(self):
        _, key, value = self.tensors()
        out, _ = self.forward(torch.Tensor(1, 8, 64, HEAD_DIM), key, value)
        self.assertEqual((out.shape, out.stride()), ((1, 64, 8, HEAD_DIM), (64 * 8 * HEAD_DIM, 8 * HEAD_DIM, HEAD_DIM, 1)))
        self.assertEqual(torch.allocations, ["empty_like"], "the result alone, and no copy of it")

    def test_under_autocast_the_result_is_of_the_type_computed_in(self):
        torch.state.autocast = torch.bfloat16
        query, key, value = (tensor.to(torch.float32) for tensor in (torch.Tensor(1, 8, 64, HEAD_DIM), *self.tensors()[1:]))
        out, _ = self.forward(query, key, value)
        self.assertEqual((out.shape, out.dtype), ((1, 64, 8, HEAD_DIM), torch.bfloat16))

    def test_values_of_another_head_dim_are_answered_by_torch(self):
        _, key, value = self.tensors(value_dim=64)
        query = torch.Tensor(1, 8, 64, HEAD_DIM)
        with self.assertRaisesRegex(attune.Unsupported, "head_dim|differ in dimension 3"):
            self.forward(query, key, value)
        attune.set_fallback("sdpa")
        torch.sdpa_result = torch.Tensor(1, 8, 64, 64)
        self.addCleanup(setattr, torch, "sdpa_result", "sdpa")
        out, _ = self.forward(query, key, value)
        self.assertEqual(out.shape, (1, 64, 8, 64))

    def test_a_mask_is_for_sdpa(self):
        with self.assertRaisesRegex(attune.Unsupported, "attention mask"):
            self.forward(*self.tensors(), mask="padding")
        attune.set_fallback("sdpa")
        self.assertEqual(self.forward(*self.tensors(), mask="padding", scaling=0.5)[0], "sdpa")
        self.assertEqual(sdpa_attention.calls[0][3:], ("padding", {"dropout": 0.0, "scaling": 0.5, "is_causal": None}))

    def test_a_step_of_decoding_is_for_sdpa(self):
        query, key, value = self.tensors()
        self.assertEqual(self.forward(torch.Tensor(1, 8, 1, HEAD_DIM), key, value)[0], "sdpa")

    def test_what_sdpa_would_compute_wrongly_is_never_answered(self):
        attune.set_fallback("sdpa")
        for name in ("softcap", "s_aux", "position_bias"):
            with self.assertRaisesRegex(attune.Unsupported, f"{name}.*'eager'"):
                self.forward(*self.tensors(), **{name: 30.0})


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ATTUNE_CACHE_DIR"] = folder
        unittest.main(argv=sys.argv[:1] + sys.argv[3:])
