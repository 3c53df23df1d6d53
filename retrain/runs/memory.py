"""How much memory a training may take here: of the machine, of its container, or of a GPU.

The system's own files go in, a `Room` comes out. A GPU is asked by a process of its own, or by the
job, which has loaded torch anyway: this module does not load it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from core.errors import TrainingError
from retrain.runs.devices import find_devices

PROC_CGROUP = Path("/proc/self/cgroup")
CGROUPS = Path("/sys/fs/cgroup")
NO_LIMIT = 1 << 60  # version 1 says so with a number near 2^63
LOOK_TIMEOUT_S = 120.0  # importing torch on a cold disk
MODULE = "retrain.runs.gpu_look"


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes that a training may take: now, and if nothing else of ours ran."""

    free: float
    whole: float
    what: str  # of whom
    cpu: bool = True
    bfloat16: bool = False  # whether `auto` is that here
    flops: float | None = None  # operations a second, where it was measured along


def machine_room(proc: Path = PROC_CGROUP, groups: Path = CGROUPS) -> Room:
    """Return what this machine has for processes like this one."""
    memory = psutil.virtual_memory()
    room = Room(float(memory.available), float(memory.total), "this machine")
    for limit, free in _limits(proc, groups):
        if min(limit, free) < room.free or limit < room.whole:
            room = Room(min(free, room.free), min(limit, room.whole), "this container (cgroup)")
    return room


def gpu_room() -> Room | None:
    """Return what the freest GPU has, None without one; takes the seconds that torch takes.

    Raises: TrainingError when the driver names a GPU that torch cannot use.
    """
    if find_devices() == ("cpu",):
        return None
    looked = subprocess.run(
        [sys.executable, "-m", MODULE], capture_output=True, text=True, timeout=LOOK_TIMEOUT_S
    )
    if looked.returncode:
        last = looked.stderr.strip().splitlines()[-1:]
        raise TrainingError(
            f"the driver names {', '.join(find_devices())}, and torch cannot tell its memory "
            f"({''.join(last)}): mend the driver, or hide the GPU"
        )
    return room_of_answer(looked.stdout)


def room_of_answer(answer: str) -> Room | None:
    """Return what `gpu_look` told in its last line; None when torch sees no GPU."""
    told: dict[str, Any] | None = json.loads(answer.strip().splitlines()[-1])
    if told is None:
        return None
    return Room(told["free"], told["whole"], "the GPU", False, told["bfloat16"], told["flops"])


def room_of_job() -> Room:
    """Return what the process has that trains; it has loaded torch."""
    torch: Any = sys.modules["torch"]
    if not torch.cuda.is_available():
        return machine_room()
    free, whole = torch.cuda.mem_get_info()
    return Room(free, whole, "the GPU", cpu=False, bfloat16=torch.cuda.is_bf16_supported())


def _limits(proc: Path, groups: Path) -> Iterator[tuple[float, float]]:
    """Yield the limit of each group that this process is in, and what is free below it."""
    for line in proc.read_text().splitlines() if proc.is_file() else ():
        _, kinds, path = line.split(":", 2)
        if kinds == "":
            names = ("memory.max", "memory.current", "inactive_file")
            yield from _upwards(groups, path, names)
        elif "memory" in kinds.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            yield from _upwards(groups / "memory", path, names)


def _upwards(root: Path, path: str, names: tuple[str, str, str]) -> Iterator[tuple[float, float]]:
    """Yield from the group up to the root; a container may see its own group as the root."""
    limit_file, used_file, cached = names
    parts = [part for part in path.split("/") if part]
    for depth in range(len(parts), -1, -1):
        folder = root.joinpath(*parts[:depth])
        if not (folder / limit_file).is_file():
            continue
        said = (folder / limit_file).read_text().strip()
        if said == "max" or int(said) >= NO_LIMIT:
            continue
        used = int((folder / used_file).read_text())
        # files that were read and not used since are given back before anybody is killed
        yield float(said), max(0.0, int(said) - used + _stat(folder / "memory.stat", cached))


def _stat(path: Path, name: str) -> int:
    lines = path.read_text().splitlines() if path.is_file() else []
    return next((int(line.split()[1]) for line in lines if line.split()[:1] == [name]), 0)
