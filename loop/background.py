"""RETRAIN in a process of its own: `python -m loop.background PARENT APPLICATION [RUN]`.

Curates, asks the policy, trains as it says, and begins the canary if the gate passes; with a RUN it
goes on with that one. Started by `loop.retrain_job`. One at a time for an application; ends with
the process PARENT, leaving checkpoints. What it found is remembered in the folder `retraining`.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from core.errors import RatchetError, StateError, TrainingError
from core.files import write_atomic
from core.logs import configure_logs
from core.settings import Settings, load_settings
from feedback.tables import Adapter
from loop import turn
from loop.narration import Narrator
from loop.planning import Wish, look
from loop.wiring import Parts, open_parts
from retrain.runs.runner import resume_run

MODULE = "loop.background"
SCHEDULER = "scheduler"  # `created_by` of what it trains
STOPPED = "stopped with the service: it goes on when that is up again"
LOOK_EVERY_S = 1.0  # at whether the process that started this one is there


@dataclass(frozen=True, slots=True)
class Memory:
    """What the last try saw: so many answers waited beside that dataset version; its error."""

    dataset: str | None = None
    waiting: int = 0
    error: str | None = None


def main() -> int:
    """Do what the arguments say; return 0, or 1 after an error of ours, which is told."""
    parent, application, *run_ids = sys.argv[1:]
    settings = load_settings()
    configure_logs(log_format=settings.log_format, level=settings.log_level)
    signal.signal(signal.SIGTERM, _stop)
    try:
        _end_with(int(parent))
        with only_one(settings, application), open_parts(settings, "retrain") as parts:
            work(parts, application, Narrator(Console()), *run_ids)
    except RatchetError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return 1
    return 0


def work(parts: Parts, application: str, narrator: Narrator, run_id: str | None = None) -> None:
    """Train if the policy says so, or go on with a run; then begin the canary if the gate passes.

    Raises: what a stage raises; it is remembered.
    """
    error: str | None = None
    try:
        adapter = (
            _resumed(parts, run_id, narrator) if run_id else _trained(parts, application, narrator)
        )
        if adapter is not None:
            _hand_on(parts, adapter, narrator)
    except RatchetError as raised:
        error = raised.message
        raise
    finally:
        if error != STOPPED:  # which has seen nothing to its end
            _remember(parts, application, error)


def _trained(parts: Parts, application: str, narrator: Narrator) -> Adapter | None:
    dataset = turn.curate(parts, application, narrator)
    plan = turn.plan_training(parts, application, dataset)
    narrator.tell(plan.reason)
    if not plan.train:
        return None
    return turn.retrain(parts, application, dataset, plan, narrator, created_by=SCHEDULER)


def _resumed(parts: Parts, run_id: str, narrator: Narrator) -> Adapter:
    with narrator.training() as progress:
        return resume_run(parts.store, parts.settings, run_id, progress=progress)


def _hand_on(parts: Parts, adapter: Adapter, narrator: Narrator) -> None:
    """Begin the canary of an adapter that passed; one that did not is left to people."""
    turn.tell_gate(adapter, narrator)
    if adapter.gate["decision"] == "pass":
        rollout = turn.start_canary(parts, adapter.name)
        narrator.tell(f"rollout {rollout.id} of {adapter.name} has begun")


def _remember(parts: Parts, application: str, error: str | None) -> None:
    seen = look(parts, application, Wish())
    memory = Memory(seen.dataset, seen.waiting, error)
    write_atomic(_place(parts.settings, application, "json"), msgspec.json.encode(memory))


def read_memory(settings: Settings, application: str) -> Memory:
    """Return what the last try saw; of none, an empty one."""
    path = _place(settings, application, "json")
    return msgspec.json.decode(path.read_bytes(), type=Memory) if path.is_file() else Memory()


@contextmanager
def only_one(settings: Settings, application: str) -> Generator[None]:
    """Be the one such process of the application. The kernel frees it when this process dies.

    Raises: StateError when there is another one.
    """
    with _place(settings, application, "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StateError(f"{application} is being trained already: wait for its end") from None
        yield


def is_at_work(settings: Settings, application: str) -> bool:
    """Return whether such a process works on the application."""
    try:
        with only_one(settings, application):
            return False
    except StateError:
        return True


def _place(settings: Settings, application: str, ending: str) -> Path:
    folder = settings.data_dir / "retraining"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{application}.{ending}"


def _stop(_number: int, _frame: Any) -> None:
    raise TrainingError(STOPPED)


def _end_with(parent: int) -> None:
    """Ask this process to stop when its parent is gone: a training must not outlive its service."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_EVERY_S)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


if __name__ == "__main__":
    raise SystemExit(main())
