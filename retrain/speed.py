"""How many operations a second a training reaches on this machine's processors: measured here.

Small products are timed with numpy for a tenth of a second, each by one thread, so that a busy
machine does not disturb the quickest of them; what a whole step reaches of that is a share that was
measured once. `ratchet estimate` and the look before a run share it. Does not load torch.
"""

from __future__ import annotations

import os
import time
from functools import cache

import numpy as np

SIDE = 64  # OpenBLAS shares out products of more than 64 * 64 * 64 among threads
BLOCK = 20  # products that are timed together: some 0.2 ms, far below a time slice
LOOK_S = 0.1
# Of that rate, by tokens and operations a weight: above 1, since a training's products are larger
# and a shared prompt is computed once. Measured: docs/experiments.md, "Before a run"
REACHED = 1.4


@cache
def cpu_flops() -> float:
    """Return the operations a second of a training here, if nothing else keeps the machine busy."""
    matrix = np.ones((SIDE, SIDE), np.float32)
    result = np.empty_like(matrix)
    began = now = time.perf_counter()
    quickest = LOOK_S
    while now - began < LOOK_S:
        before = now
        for _ in range(BLOCK):
            np.matmul(matrix, matrix, out=result)
        now = time.perf_counter()
        quickest = min(quickest, now - before)
    return REACHED * len(os.sched_getaffinity(0)) * BLOCK * 2 * SIDE**3 / quickest
