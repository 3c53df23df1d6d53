"""Matrix products of a training on CPU, by the library that multiplies fastest here.

`times(x, weight)` is `x @ weight.T`, as `nn.Linear` has it. PyTorch hands float32 to MKL, which
leaves AVX-512 alone on processors that are not Intel's; oneDNN, which every build of PyTorch for
CPU carries too, uses it. The result differs by the order of additions only, and the choice
depends on the processor alone, so a run that is resumed on the same kind of machine goes on as
it would have. Knows nothing of models. Imports torch.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

CPUINFO = Path("/proc/cpuinfo")


def times(x_N_K: Tensor, weight_M_K: Tensor) -> Tensor:
    """Return `x @ weight.T`, [N, M]; either may be a view that is transposed."""
    if x_N_K.dtype is torch.float32 and x_N_K.device.type == "cpu" and prefers_onednn():
        product: Any = torch.ops.mkldnn._linear_pointwise  # pyright: ignore[reportPrivateUsage]
        return product(x_N_K, weight_M_K, None, "none", [], "")
    return functional.linear(x_N_K, weight_M_K)


@cache
def prefers_onednn() -> bool:
    """Whether float32 products are oneDNN's here: AVX-512 on a processor that MKL does not favour.

    Source: measured, docs/experiments.md: 260 against 115 GFLOPS a core on AMD Zen 5.
    """
    known = hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return known and torch.backends.mkldnn.is_available() and neglected_by_mkl(_cpuinfo())


def neglected_by_mkl(cpuinfo: str) -> bool:
    """Whether the processor that Linux describes so has AVX-512 and is not Intel's."""
    return "avx512f" in _flags(cpuinfo) and "GenuineIntel" not in cpuinfo


def _flags(cpuinfo: str) -> set[str]:
    lines = [line for line in cpuinfo.splitlines() if line.startswith("flags")]
    return set(lines[0].partition(":")[2].split()) if lines else set()


def _cpuinfo() -> str:
    return CPUINFO.read_text() if CPUINFO.is_file() else ""
