"""Loading many modules: what is loaded is never garbage, so Python need not look through it.

Its collector does so again and again while heavy libraries are imported, and later: a third of a
tiny training's time (`docs/experiments.md`). Knows nothing of what is loaded.
"""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def nothing_is_garbage() -> Generator[None]:
    """Collect nothing meanwhile, and never look through what was made meanwhile."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
