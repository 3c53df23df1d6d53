"""A training as a process of this machine, or as several that share the work.

A run's folder goes in; `python -m retrain.runs.job` trains it, its standard output is the progress.
A crash there is only an error here. Where `job.json` asks for several, torch's own launcher starts
so many (one per GPU; on CPU they talk by gloo), and the first of them speaks for all. They see only
the GPUs that the run holds.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from core.errors import TrainingError
from retrain.launchers.following import Stopped, Tell
from retrain.parallel.starting import module_arguments
from retrain.runs.devices import visible
from retrain.runs.full_disk import full_disk_words
from retrain.runs.job import EXIT_FULL, EXIT_TOLD
from retrain.runs.progress import parse_line
from retrain.runs.ranks import forget_words, last_words
from retrain.runs.spec import LOG_FILE, parallel_of

SOURCE_ROOT = Path(__file__).resolve().parents[2]
# for the process to end by itself; torch's launcher gives those that it started 30 s of their own
STOP_TIMEOUT_S = 40.0
LOOK_EVERY_S = 0.2  # at whether it shall be stopped
TOLD_LINES = 15  # of the job's log, when it dies without saying why


@dataclass(frozen=True)
class LocalLauncher:
    """Runs jobs here."""

    devices: tuple[str, ...] = ()  # that the run holds; none: it may use what it finds
    name: str = "local"

    def run(self, folder: Path, tell: Tell, stopped: Stopped) -> None:
        """Run the job of `folder` to its end; when `stopped` says so, end it.

        Raises: TrainingError with what the job said last.
        """
        forget_words(folder)
        with (folder / LOG_FILE).open("a") as log_file:
            process = subprocess.Popen(
                [sys.executable, *module_arguments(parallel_of(folder)), str(folder)],
                stdout=subprocess.PIPE,
                stderr=log_file,
                text=True,
                env=visible(self.devices) | os.environ | {"PYTHONPATH": _python_path()},
            )
            try:
                with _ended_when(stopped, process) as was_stopped:
                    _follow(process.stdout, tell)
                    code = process.wait()
            finally:
                _stop(process)
        if was_stopped.is_set():
            raise TrainingError(f"run {folder.name} was cancelled; its checkpoints are kept")
        if code != 0:
            raise TrainingError(f"run {folder.name} failed: {_last_words(folder / LOG_FILE, code)}")


@contextmanager
def _ended_when(stopped: Stopped, process: subprocess.Popen[str]) -> Generator[threading.Event]:
    """Send the process its end when `stopped` says so; the event tells whether that was done."""
    was_stopped, over = threading.Event(), threading.Event()

    def look() -> None:
        while not over.wait(LOOK_EVERY_S):
            if stopped():
                was_stopped.set()
                process.terminate()
                return

    thread = threading.Thread(target=look, name="run-canceller")
    thread.start()
    try:
        yield was_stopped
    finally:
        over.set()
        thread.join()


def _python_path() -> str:
    """Return a search path on which the job finds this very package."""
    inherited = os.environ.get("PYTHONPATH")  # passed on, not a setting of ours
    return os.pathsep.join([str(SOURCE_ROOT), *([inherited] if inherited else [])])


def _follow(output: IO[str] | None, tell: Tell) -> None:
    for line in output or ():
        told = parse_line(line)
        if told is not None:
            tell(told)


def _stop(process: subprocess.Popen[str]) -> None:
    """End the process if it has not ended; its checkpoints stay."""
    if process.stdout is not None:
        process.stdout.close()
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_words(path: Path, code: int) -> str:
    told = last_words(path.parent)
    if (
        code > 0 and code not in (EXIT_TOLD, EXIT_FULL) and told is not None
    ):  # torch's launcher only says: 1
        return f"rank {told.rank}: {told.words}"
    if code == EXIT_FULL:
        return told.words if told else full_disk_words(path.parent)
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
    if code == EXIT_TOLD and lines:
        return lines[-1]
    ended = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    hint = " (was memory short?)" if code == -signal.SIGKILL else ""
    last = "\n".join(lines[-TOLD_LINES:])
    return (
        f"{ended}{hint}; `ratchet resume {path.parent.name}` goes on from its newest "
        f"checkpoint. Last lines of {path}:\n{last}"
    )
