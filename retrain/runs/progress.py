"""How a run tells where it is: frozen values, one JSON line each from the job to the runner.

The job writes them to its standard output and to `progress.jsonl` in the run's folder, which
outlives both processes. Knows nothing of what is trained.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import TextIOBase
from pathlib import Path
from typing import IO, Literal

import msgspec

from retrain.watching.health import Finding

Phase = Literal["queue", "start", "import", "load", "tokenize", "train", "evaluate", "done"]

FILE = "progress.jsonl"


@dataclass(frozen=True, slots=True)
class TrainProgress:
    """Where a run is. Steps count optimiser steps in `train`, examples in `evaluate`, and in
    `queue` the runs that come first.
    """

    phase: Phase
    step: int = 0
    total_steps: int = 0
    loss: float | None = None
    validation_loss: float | None = None
    tokens_per_s: float | None = None
    eta_s: float | None = None  # until the end of this phase
    resumed_from: int | None = None  # the step of the checkpoint that training went on from
    learning_rate: float | None = None
    grad_norm: float | None = None  # before clipping
    more: dict[str, float] | None = None  # what else the trainer measured: rewards, accuracies
    finding: Finding | None = None  # something that is wrong, told once

    def line(self) -> str:
        """Return the one JSON line for this value, without its newline."""
        return msgspec.json.encode(self).decode()


def parse_line(line: str) -> TrainProgress | None:
    """Return the value of one line, or None when it is something else."""
    try:
        return msgspec.json.decode(line, type=TrainProgress)
    except msgspec.DecodeError:  # also a ValidationError
        return None


def read_progress(folder: Path) -> TrainProgress | None:
    """Return what a run told last, or None when it told nothing yet."""
    file = folder / FILE
    lines = file.read_text().splitlines() if file.is_file() else []
    return next((told for line in reversed(lines) if (told := parse_line(line))), None)


def read_all(folder: Path) -> list[TrainProgress]:
    """Return all that a run told, in order, of all its attempts."""
    file = folder / FILE
    lines = file.read_text().splitlines() if file.is_file() else []
    return [told for line in lines if (told := parse_line(line)) is not None]


def read_losses(folder: Path) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return the steps and training losses that a run told of, in order; empty if it told none."""
    points = [(each.step, each.loss) for each in read_all(folder) if each.loss is not None]
    return tuple(step for step, _ in points), tuple(loss for _, loss in points)


@dataclass
class Reporter:
    """Writes progress, and keeps how long each phase took (`seconds`)."""

    output: TextIOBase
    folder: Path
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    begun: bool = False  # whether this attempt has written a line
    # who else hears: the trackers
    listeners: list[Callable[[TrainProgress], None]] = field(
        default_factory=list[Callable[[TrainProgress], None]]
    )

    def tell(self, progress: TrainProgress) -> None:
        """Write the line to the runner and to the folder.

        Raises: BrokenPipeError when the runner is gone; the job then ends, to be resumed.
        """
        line = progress.line() + "\n"
        with (self.folder / FILE).open("a+b") as file:
            file.write(self._ending(file) + line.encode())
        self.output.write(line)
        self.output.flush()
        for listener in self.listeners:
            listener(progress)

    def _ending(self, file: IO[bytes]) -> bytes:
        """Return what ends a line that an attempt before left half written on a full disk."""
        size = 0 if self.begun else file.seek(0, os.SEEK_END)
        self.begun = True
        if not size:
            return b""
        file.seek(size - 1)
        return b"" if file.read(1) == b"\n" else b"\n"

    @contextmanager
    def phase(self, name: Phase) -> Generator[None]:
        """Announce a phase and add its duration to `seconds`."""
        self.tell(TrainProgress(name))
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started


@dataclass
class SilentReporter(Reporter):
    """That of the processes for which the first one speaks."""

    def tell(self, progress: TrainProgress) -> None:
        """Tell nobody."""
