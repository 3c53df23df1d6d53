"""LoRA by groups gives what vLLM's own CPU path gives, and leaves base tokens alone."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

from serving.launcher import SOURCE_ROOT

COMPARISON = """
import torch
from vllm.lora.layers import LoRAMapping
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU
from serving.cpu_lora import GroupedLora
from vllm.platforms.cpu import CpuPlatform

assert CpuPlatform.get_punica_wrapper() == "serving.cpu_lora.GroupedLora"
torch.manual_seed(0)
SLOTS, RANK, INPUTS, WIDTHS = 3, 4, 10, (6, 2, 2)
A = tuple(torch.randn(SLOTS, 1, RANK, INPUTS) for _ in WIDTHS)
B = tuple(torch.randn(SLOTS, 1, width, RANK) for width in WIDTHS)


def outputs(tokens, wrapper_class, scale):
    wrapper = wrapper_class(max_num_batched_tokens=32, max_batches=8, device="cpu")
    mapping = LoRAMapping(tokens, tokens, is_prefill=True)
    wrapper.update_metadata(mapping, [7, 8, 9], SLOTS, 100)
    y = Y[: len(tokens)].clone()
    wrapper.add_lora_linear(y, X[: len(tokens)], A, B, scale, WIDTHS)
    return y


X, Y = torch.randn(8, INPUTS), torch.randn(8, sum(WIDTHS))
for scale in (1.0, 0.5):
    for tokens in [(7, 7, 7), (9,), (7, 8, 8, 7, 9), (8, 7)]:
        ours, theirs = (outputs(tokens, kind, scale) for kind in (GroupedLora, PunicaWrapperCPU))
        assert torch.allclose(ours, theirs, atol=1e-5), tokens
mixed = outputs((0, 8, 0, 9, 0), GroupedLora, 1.0)
base = [0, 2, 4]
assert torch.equal(mixed[base], Y[base]), "base tokens were changed"
assert torch.allclose(mixed[1], outputs((7, 8), GroupedLora, 1.0)[1])
assert torch.equal(outputs((0, 0), GroupedLora, 1.0), Y[:2])
print("same")
"""


@pytest.mark.stack
@pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")
def test_grouped_lora_equals_vllms_own() -> None:
    """Same numbers for every mix of adapters; tokens of the base model come out untouched."""
    done = subprocess.run(
        [sys.executable, "-c", COMPARISON], cwd=SOURCE_ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip().endswith("same")
