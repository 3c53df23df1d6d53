"""How much memory a process and all its children hold, sampled while they run.

PSS counts a page that several processes share once, in parts; RSS counts it in each. The peak of
the sum over the tree is what a machine must have. Linux only.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

EVERY_S = 0.25


@dataclass(slots=True)
class Peak:
    """The largest sums over the tree so far."""

    pss_gb: float = 0.0
    rss_gb: float = 0.0
    samples: int = 0


@contextmanager
def watched(pid: int) -> Generator[Peak]:
    """Yield the peak, which grows while the block runs."""
    peak, done = Peak(), threading.Event()

    def watch() -> None:
        while not done.wait(EVERY_S):
            pss, rss = tree_memory(pid)
            peak.pss_gb, peak.rss_gb = max(peak.pss_gb, pss / 1e9), max(peak.rss_gb, rss / 1e9)
            peak.samples += 1

    thread = threading.Thread(target=watch, name="memory")
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def tree_memory(pid: int) -> tuple[int, int]:
    """Return PSS and RSS, in bytes, of a process and its children; 0 when it has ended."""
    pss = rss = 0
    try:
        parent = psutil.Process(pid)
        tree = [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0, 0
    for process in tree:
        try:
            held = process.memory_full_info()
        except (psutil.NoSuchProcess, psutil.AccessDenied):  # it ended meanwhile
            continue
        pss, rss = pss + held.pss, rss + held.rss
    return pss, rss
