"""One run per device: who trains holds its devices' locks, who comes later waits in a queue.

The devices are the GPUs that the driver names, or this machine's CPU, which is one device however
many processes share it. A run takes a GPU for each of its processes, all or none. A lock is the
system's own on a file, so that a process that dies, however it dies, leaves its devices free.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from core.errors import TrainingError

CPU = "cpu"
DRIVER = Path("/proc/driver/nvidia/gpus")
FOLDER = "devices"  # of the locks, below data_dir
LOOK_EVERY_S = 1.0


def find_devices(driver: Path = DRIVER) -> tuple[str, ...]:
    """Return the names of the devices that trainings may use: gpu-0, gpu-1, …, or cpu."""
    count = len(list(driver.iterdir())) if driver.is_dir() else 0
    return tuple(f"gpu-{number}" for number in range(count)) or (CPU,)


def wanted(processes: int, devices: Sequence[str]) -> int:
    """Return how many of the devices so many processes need: one each, all together of the CPU.

    Raises: TrainingError when there are too few.
    """
    if CPU in devices:
        return 1
    if processes > len(devices):
        raise TrainingError(
            f"{processes} processes are asked for, and this machine has {len(devices)} GPUs: set "
            f"launchers.local.processes to at most {len(devices)}"
        )
    return processes


def visible(devices: Sequence[str]) -> dict[str, str]:
    """Return the variables by which CUDA shows a process these GPUs only, in the driver's order."""
    numbers = [device.removeprefix("gpu-") for device in devices if device != CPU]
    if not numbers:
        return {}
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(numbers)}


@contextmanager
def held_devices(
    data_dir: Path,
    devices: Sequence[str],
    *,
    count: int = 1,
    my_turn: Callable[[], bool],
    waiting: Callable[[], None],
) -> Generator[tuple[str, ...]]:
    """Give so many devices of one's own until the end, waiting for them to be free.

    What is free is not kept while others are waited for: two runs cannot hold up each other.
    `my_turn` tells whether nobody who came earlier waits. `waiting` is called at every look in
    vain, and may raise to give up.
    """
    folder = data_dir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        if my_turn():
            with ExitStack() as locks:
                held = _free_ones(folder, devices, count, locks)
                if len(held) == count:
                    yield held
                    return
        waiting()
        time.sleep(LOOK_EVERY_S)


def is_enough_free(data_dir: Path, devices: Sequence[str], count: int = 1) -> bool:
    """Return whether a run that began now would have so many devices at once."""
    free = 0
    for device in devices:
        path = data_dir / FOLDER / device
        if not path.is_file():
            free += 1
            continue
        with path.open("r") as lock:
            free += not _taken(lock.fileno())
    return free >= count


def _free_ones(
    folder: Path, devices: Sequence[str], count: int, locks: ExitStack
) -> tuple[str, ...]:
    """Lock devices that are free, at most `count`; `locks` lets go of them."""
    held: list[str] = []
    for device in devices:
        if len(held) == count:
            break
        lock = (folder / device).open("w")
        if _taken(lock.fileno()):
            lock.close()
            continue
        locks.enter_context(lock)
        held.append(device)
    return tuple(held)


def _taken(descriptor: int) -> bool:
    """Return whether somebody else holds the lock; if not, it is ours from now on."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
