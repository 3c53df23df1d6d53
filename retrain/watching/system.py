"""What a training takes of its machine: processor, memory, GPU; sampled while it runs.

A thread looks every few seconds and adds a line to `system.jsonl` in the run's folder, which also
a killed run leaves behind. Costs under a millisecond a look. Knows nothing of what is trained.
"""

from __future__ import annotations

import resource
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import psutil

FILE = "system.jsonl"
EVERY_S = 5.0
LONGEST_GAP_S = 120.0  # between two looks of one attempt; a longer one is a pause. Our choice
STATUS = Path("/proc/self/status")  # of Linux
MAX_RSS_BYTES = 1 if sys.platform == "darwin" else 1024  # the unit of ru_maxrss


@dataclass(frozen=True, slots=True)
class Sample:
    """One look. Shares are 0 to 1; None where there is no GPU, or its driver does not tell."""

    at_s: float  # since the epoch
    cpu_share: float  # of one processor's time: 2.0 is two busy ones
    rss_bytes: int  # of this process, now
    peak_rss_bytes: int  # ever
    memory_share: float  # of the machine's memory, by all processes
    gpu_bytes: int | None = None  # allocated by torch, at most so far
    gpu_memory_share: float | None = None
    gpu_share: float | None = None  # of its time

    def numbers(self) -> dict[str, float]:
        """Return what trackers keep."""
        values = {
            "system/cpu": self.cpu_share,
            "system/rss_gb": self.rss_bytes / 1e9,
            "system/memory_share": self.memory_share,
            "system/gpu_gb": None if self.gpu_bytes is None else self.gpu_bytes / 1e9,
            "system/gpu_share": self.gpu_share,
        }
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Use:
    """What a whole run took; the mean or peak over its samples."""

    seconds: float  # while somebody looked, over all attempts
    cpu_share: float  # mean
    peak_rss_bytes: int
    memory_share: float  # highest
    gpu_bytes: int | None  # highest
    gpu_memory_share: float | None  # highest
    gpu_share: float | None  # mean


class Sampler:
    """Looks at this process."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE
        self._process = psutil.Process()
        self._process.cpu_percent()  # the first call only starts its clock
        self.last: Sample | None = None

    def look(self) -> Sample:
        """Return what is now, and keep it in the folder."""
        self.last = Sample(
            at_s=time.time(),
            cpu_share=self._process.cpu_percent() / 100,
            rss_bytes=self._process.memory_info().rss,
            peak_rss_bytes=peak_rss_bytes(),
            memory_share=psutil.virtual_memory().percent / 100,
            **_gpu(),
        )
        with self._file.open("ab") as file:
            file.write(msgspec.json.encode(self.last) + b"\n")
        return self.last


def peak_bytes() -> int:
    """Return the most that this process has held of the memory that is short: the GPU's, or RAM."""
    allocated: int | None = _gpu().get("gpu_bytes")
    if allocated is not None:
        return allocated
    return peak_rss_bytes()


def peak_rss_bytes() -> int:
    """Return the most memory that this program has held.

    Linux hands `ru_maxrss` on to the next program of a process: one that a large process started
    would begin with the other's peak. `VmHWM` begins anew. Source: getrusage(2), proc(5).
    """
    if STATUS.is_file():
        (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024  # said in kB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAX_RSS_BYTES


@contextmanager
def sampled(folder: Path, *, every_s: float = EVERY_S) -> Generator[Sampler]:
    """Look at this process until the end of the block, and once at its end."""
    sampler, over = Sampler(folder), threading.Event()
    sampler.look()

    def keep_looking() -> None:
        while not over.wait(every_s):
            sampler.look()

    thread = threading.Thread(target=keep_looking, name="system-sampler", daemon=True)
    thread.start()
    try:
        yield sampler
    finally:
        over.set()
        thread.join()
        sampler.look()


def read_use(folder: Path) -> Use | None:
    """Return what the run of this folder took, over all its attempts; None if nobody looked."""
    path = folder / FILE
    samples = [_parse(line) for line in path.read_bytes().splitlines()] if path.is_file() else []
    whole = [sample for sample in samples if sample is not None]
    if not whole:
        return None
    gaps = [after.at_s - before.at_s for before, after in pairwise(whole)]
    gpu = [sample.gpu_share for sample in whole if sample.gpu_share is not None]
    return Use(
        seconds=sum(gap for gap in gaps if gap <= LONGEST_GAP_S),
        cpu_share=sum(sample.cpu_share for sample in whole) / len(whole),
        peak_rss_bytes=max(sample.peak_rss_bytes for sample in whole),
        memory_share=max(sample.memory_share for sample in whole),
        gpu_bytes=max((s.gpu_bytes for s in whole if s.gpu_bytes is not None), default=None),
        gpu_memory_share=max(
            (s.gpu_memory_share for s in whole if s.gpu_memory_share is not None), default=None
        ),
        gpu_share=sum(gpu) / len(gpu) if gpu else None,
    )


def _parse(line: bytes) -> Sample | None:
    """Return the sample of a line; None for one that a killed process left half written."""
    try:
        return msgspec.json.decode(line, type=Sample)
    except msgspec.DecodeError:
        return None


def _gpu() -> dict[str, Any]:
    """Return what torch knows of its GPU, if torch is loaded: this module does not load it."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "cuda") or not torch.cuda.is_available():
        return {}
    used, total = (
        torch.cuda.max_memory_allocated(),
        torch.cuda.get_device_properties(0).total_memory,
    )
    try:
        busy: float | None = torch.cuda.utilization() / 100
    except (ModuleNotFoundError, RuntimeError):  # the driver's Python package is not there
        busy = None
    return {"gpu_bytes": used, "gpu_memory_share": used / total, "gpu_share": busy}
