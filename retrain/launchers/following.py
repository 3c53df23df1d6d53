"""How a job that runs elsewhere is followed: by the progress that it writes into its run's folder.

A folder on shared storage and a job that can be asked and cancelled go in; progress is told until
the job has ended. What ended well is known by the result in the folder, which the runner reads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from core.errors import TrainingError
from retrain.runs import progress
from retrain.runs.progress import TrainProgress, parse_line
from retrain.runs.spec import LOG_FILE

LOG_LINES = 15  # of the job's log, when it failed

Tell = Callable[[TrainProgress], None]
Stopped = Callable[[], bool]


class RemoteJob(Protocol):
    """A job that was handed to somebody else."""

    def ended(self) -> str | None:
        """Return None while it waits or runs, an empty text when it ended well, else why not."""
        ...

    def cancel(self) -> None:
        """Ask for its end."""
        ...


class Tail:
    """The whole lines that were added to a file since the last look; there may be no file yet.

    The first look begins where the file ends now, or at its start.
    """

    def __init__(self, path: Path, *, from_start: bool = False) -> None:
        self._path = path
        self._at = path.stat().st_size if path.is_file() and not from_start else 0

    def new(self) -> Iterator[str]:
        """Yield the lines that are new, and whole."""
        if not self._path.is_file():
            return
        with self._path.open("rb") as file:
            file.seek(self._at)
            for line in file:
                if not line.endswith(b"\n"):
                    return  # half written: it comes again, whole
                self._at += len(line)
                yield line.decode(errors="replace")


def follow(folder: Path, job: RemoteJob, tell: Tell, stopped: Stopped, *, every_s: float) -> None:
    """Tell the job's progress until it has ended; cancel it when `stopped` says so.

    Raises: TrainingError when it failed or was cancelled.
    """
    tail = Tail(folder / progress.FILE)
    while True:
        why = job.ended()  # before the progress, so that nothing told before its end is missed
        for line in tail.new():
            told = parse_line(line)
            if told is not None:
                tell(told)
        if why is not None:
            break
        if stopped():
            job.cancel()
            raise TrainingError(f"run {folder.name} was cancelled; its checkpoints are kept")
        time.sleep(every_s)
    if why:
        raise TrainingError(f"run {folder.name} failed: {why}{last_words(folder)}")


def last_words(folder: Path) -> str:
    """Return the last lines of the job's log, for people; nothing if there is none."""
    path = folder / LOG_FILE
    if not path.is_file():
        return ""
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return f". Last lines of {path}:\n" + "\n".join(lines[-LOG_LINES:]) if lines else ""
