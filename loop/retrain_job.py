"""DETECT → RETRAIN without people: the scheduler's look at every application.

Where something new came in and the policy would train, a process of its own (`loop.background`) is
started that curates, asks the policy again, trains, and begins the canary if the gate passes; a
training that was stopped with the service goes on. Returns at once. Off unless `retrain.automatic`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import structlog
from sqlmodel import Session, col, select

from core.errors import RatchetError
from feedback.tables import Run
from loop.background import MODULE, SCHEDULER, STOPPED, Memory, is_at_work, read_memory
from loop.planning import Outlook, Wish, look, plan_on
from loop.wiring import Parts
from retrain.runs.attending import is_attended
from retrain.runs.runner import REQUEST_FILE, read_request

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Fresh:
    """What came in since somebody looked last, of what waits to be curated."""

    count: int
    is_enough: bool


def plan_retraining(parts: Parts) -> str:
    """Begin what is due for each application; return what that was, in a line."""
    if not parts.settings.retrain.automatic:
        return "off: retrain.automatic is false"
    told = [f"{name}: {_told(parts, name)}" for name in sorted(parts.settings.applications)]
    return "; ".join(told) or "no application is set"


def _told(parts: Parts, application: str) -> str:
    """Return what was begun for one application; its error must not stop the others."""
    try:
        return _begin_what_is_due(parts, application)
    except RatchetError as error:  # the job's edge, once for each application
        log.error("retraining_not_planned", application=application, exc_info=error)
        return f"error: {error.message}"


def _begin_what_is_due(parts: Parts, application: str) -> str:
    kept = parts.settings.applications[application]
    if kept.adapter or not kept.canary:
        return "takes no canaries"
    if is_at_work(parts.settings, application):
        return "a training is at work"
    with parts.store.session() as session:
        stopped = _stopped_run(session, application)
    if stopped is not None:
        _start(parts, application, stopped)
        return f"run {stopped} goes on"
    outlook, memory = look(parts, application, Wish()), read_memory(parts.settings, application)
    fresh = _fresh(parts, outlook, memory)
    if not fresh.is_enough:
        return f"too little new ({outlook.waiting} answers){_last_word(memory)}"
    plan = plan_on(parts, application, outlook.dataset, Wish(), waiting=fresh.count)
    if not plan.train:
        return plan.reason
    _start(parts, application)
    return f"begins, if curation agrees: {plan.reason}{_last_word(memory)}"


def _fresh(parts: Parts, outlook: Outlook, memory: Memory) -> _Fresh:
    """Return how much of what waits nobody has curated yet.

    Curation leaves out most of what comes in: what it saw once does not count again. A first
    dataset version needs as much as curation asks for, and after a vain try a tenth more.
    """
    seen = memory.waiting if memory.dataset == outlook.dataset else 0
    count = max(outlook.waiting - seen, 0)
    if outlook.dataset is not None:
        return _Fresh(count, True)
    more = parts.settings.retrain.growth_trigger * outlook.waiting if seen else 0.0
    least = parts.settings.curation.min_examples
    return _Fresh(outlook.waiting, outlook.waiting >= least and count >= more)


def _last_word(memory: Memory) -> str:
    return f" (the last try said: {memory.error})" if memory.error else ""


def _stopped_run(session: Session, application: str) -> str | None:
    """Return the newest run if the scheduler began it and it broke off with the service."""
    newest = select(Run).where(Run.application == application).order_by(col(Run.id).desc())
    run = session.exec(newest).first()
    if run is None or not (Path(run.folder) / REQUEST_FILE).is_file():
        return None
    broken_off = run.status in {"queued", "running"} and not is_attended(Path(run.folder))
    stopped = run.status == "failed" and run.error == STOPPED
    ours = read_request(Path(run.folder)).created_by == SCHEDULER
    return run.id if ours and (broken_off or stopped) else None


def _start(parts: Parts, application: str, *run_id: str) -> None:
    """Start the process that trains; a thread waits for its end, so that none is left over."""
    path = parts.settings.data_dir / "logs" / f"retrain-{application}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as output:
        child = subprocess.Popen(
            (sys.executable, "-m", MODULE, str(os.getpid()), application, *run_id),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches the service only, and this by its end
        )
    threading.Thread(target=child.wait, name=f"retrain-{application}", daemon=True).start()
    log.info("training_process_started", application=application, process=child.pid)
