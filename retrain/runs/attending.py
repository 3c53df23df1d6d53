"""Is somebody there who waits for this run? A lock on a file in its folder says so.

Held by the process that queues, launches and registers the run; the system drops it when that
process ends, however it ends.
"""

from __future__ import annotations

import fcntl
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from core.errors import StateError

FILE = "runner.lock"


@contextmanager
def attended(folder: Path) -> Generator[None]:
    """Hold the run's lock until the end.

    Raises: StateError when another process holds it.
    """
    with (folder / FILE).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StateError(
                f"run {folder.name} is being worked on by another process: wait for its end"
            ) from None
        yield


def is_attended(folder: Path) -> bool:
    """Return whether a process waits for this run."""
    path = folder / FILE
    if not path.is_file():
        return False
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
