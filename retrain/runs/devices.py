"""One run per device: who trains holds the device's lock, who comes later waits in a queue.

The devices are the GPUs that the driver names, or this machine's CPU. A lock is the system's own on
a file, so that a process that dies, however it dies, leaves its device free.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

DRIVER = Path("/proc/driver/nvidia/gpus")
FOLDER = "devices"  # of the locks, below data_dir
LOOK_EVERY_S = 1.0


def find_devices(driver: Path = DRIVER) -> tuple[str, ...]:
    """Return the names of the devices that trainings may use: gpu-0, gpu-1, …, or cpu."""
    count = len(list(driver.iterdir())) if driver.is_dir() else 0
    return tuple(f"gpu-{number}" for number in range(count)) or ("cpu",)


@contextmanager
def held_device(
    data_dir: Path,
    devices: Sequence[str],
    *,
    my_turn: Callable[[], bool],
    waiting: Callable[[], None],
) -> Generator[str]:
    """Give a device of one's own until the end, waiting for one to be free.

    `my_turn` tells whether nobody who came earlier waits. `waiting` is called at every look in
    vain, and may raise to give up.
    """
    folder = data_dir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        if my_turn():
            for device in devices:
                with (folder / device).open("w") as lock:
                    if _taken(lock.fileno()):
                        continue
                    yield device
                    return
        waiting()
        time.sleep(LOOK_EVERY_S)


def is_any_free(data_dir: Path, devices: Sequence[str]) -> bool:
    """Return whether a run that began now would have a device at once."""
    for device in devices:
        path = data_dir / FOLDER / device
        if not path.is_file():
            return True
        with path.open("r") as lock:
            if not _taken(lock.fileno()):
                return True
    return False


def _taken(descriptor: int) -> bool:
    """Return whether somebody else holds the lock; if not, it is ours from now on."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
