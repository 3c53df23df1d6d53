"""Tells as one JSON line what the freest GPU has: bytes, and operations a second that it reaches.

    python -m retrain.runs.gpu_look

A process of its own, since torch takes seconds and memory that the runner does not have to spare.
Without a GPU it prints null.
"""

from __future__ import annotations

import json
import time
from typing import Any

import torch

SIDE, TIMES = 4096, 20  # large enough that launching costs nothing
REACHED = 0.4  # of a product's rate, in a whole step. PaLM: 0.46 (Chowdhery 2022, arXiv 2204.02311)


def main() -> None:
    """Print the line."""
    print(json.dumps(_look() if torch.cuda.is_available() else None))


def _look() -> dict[str, Any]:
    rooms = [torch.cuda.mem_get_info(number) for number in range(torch.cuda.device_count())]
    free, whole = max(rooms)
    bfloat16 = torch.cuda.is_bf16_supported()
    matrix = torch.ones(SIDE, SIDE, device="cuda", dtype=torch.bfloat16 if bfloat16 else None)
    torch.mm(matrix, matrix)
    torch.cuda.synchronize()
    began = time.monotonic()
    for _ in range(TIMES):
        torch.mm(matrix, matrix)
    torch.cuda.synchronize()
    rate = TIMES * 2 * SIDE**3 / (time.monotonic() - began)
    return {"free": free, "whole": whole, "bfloat16": bfloat16, "flops": REACHED * rate}


if __name__ == "__main__":
    main()
