"""The loop as it stands now: each stage with what it does, since when, and what is next and why.

The newest rows of each stage come in, one line for each goes out; a person on call reads them from
top to bottom. Nothing here counts interactions. Knows nothing of how a stage works.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from litestar import Request, get
from litestar.response import Template
from sqlalchemy import func
from sqlmodel import Session, col, select

from core.errors import RatchetError
from feedback.events import SOURCES
from feedback.log.spool_status import spool_statuses
from feedback.positions import read_positions
from feedback.tables import (
    Adapter,
    AdapterReplica,
    Application,
    DatasetVersion,
    EngineReplica,
    Interaction,
    ReviewItem,
    Rollout,
    Run,
    VerdictRecord,
)
from loop.console.kept import Kept
from loop.console.sessions import Sessions
from loop.console.shown import page, short
from loop.stages import ACTIVE_STATES
from loop.wiring import Parts
from retrain.runs.progress import read_progress

PLAN_EVERY_S = 30.0  # asking the policy reads a whole dataset's members
LAG_EVERY_S = 5.0  # counting what waits reads the spools' files
BEHIND_RECORDS = 10_000  # our choice: some seconds of ingest's work (docs/experiments.md)

State = Literal["busy", "idle", "good", "bad"]
Owned = TypeVar("Owned", DatasetVersion, Run, Adapter, Rollout)


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of the loop: what it is doing, since when, what is next and why."""

    name: str
    state: State
    doing: str
    since: datetime | None = None
    next: str = ""
    link: str = ""
    where: str = ""  # what the link leads to


@dataclass(frozen=True)
class Looks:
    """What is dear to find out, kept for a while."""

    plan: Kept[str]
    lag: Kept[int | None]


def overview_routes(parts: Parts, sessions: Sessions) -> list[Any]:
    """Return the page of the loop."""
    looks = Looks(
        Kept(lambda application: _plan(parts, application), PLAN_EVERY_S),
        Kept(lambda _: _lag(parts), LAG_EVERY_S),
    )

    @get("/overview", sync_to_thread=True)
    def show_overview(request: Request[Any, Any, Any]) -> Template:
        visitor = sessions.caller(request)
        with parts.store.session() as session:
            told = list(stages(session, visitor.application, looks))
        return page(request, visitor, "overview.html", "overview", stages=told)

    return [show_overview]


def stages(session: Session, application: str, looks: Looks) -> Iterator[Stage]:
    """Yield the stages of an application's loop, in the loop's order."""
    owner = session.get(Application, application)
    yield _serving(session, owner)
    yield _log(session, application, looks.lag.known(""))
    yield _review(session, application)
    dataset = _newest(session, DatasetVersion, DatasetVersion.created_at, application)
    yield _dataset(dataset)
    yield _policy(dataset, looks.plan.value(application) if dataset else "")
    run = _newest(session, Run, Run.started_at, application)
    yield _run(run)
    adapter = _newest(session, Adapter, Adapter.created_at, application)
    yield _gate(adapter)
    yield _rollout(session, application)


def _newest(session: Session, table: type[Owned], when: datetime, application: str) -> Owned | None:
    """Return the application's newest row by the column `when`."""
    mine = select(table).where(table.application == application)
    return session.exec(mine.order_by(col(when).desc()).limit(1)).first()


def _serving(session: Session, owner: Application | None) -> Stage:
    live = owner.live_adapter if owner else None
    engines = session.exec(select(EngineReplica)).all()
    up = sum(engine.state == "up" for engine in engines)
    ready = session.exec(
        select(func.count()).where(AdapterReplica.adapter == live, AdapterReplica.state == "ready")
    ).one()
    doing = f"{live or 'the base model'} answers; {up} of {len(engines)} engines are up"
    if live:
        doing += f", {ready} have the adapter"
    bad = up < len(engines) or not engines
    nothing = "no engine has reported: start `ratchet up`"
    link = f"/adapters/{live}" if live else ""
    since = owner.updated_at if owner else None
    told = doing if engines else f"{live or 'the base model'} is live; {nothing}"
    return Stage("Serve", "bad" if bad else "good", told, since, "", link, live or "")


def _log(session: Session, application: str, lag: int | None) -> Stage:
    last = session.exec(
        select(func.max(Interaction.started_at)).where(Interaction.application == application)
    ).one()
    position = sum(read_positions(session).values())
    doing = f"ingest has applied the log up to position {position:,}"
    if lag is not None:
        doing += f"; {lag:,} records wait"
    behind = lag is not None and lag > BEHIND_RECORDS
    then = "the last interaction came at the time beside" if last else "no interaction yet"
    return Stage("Log", "bad" if behind else "good", doing, last, then, "/metrics", "live metrics")


def _review(session: Session, application: str) -> Stage:
    counts: dict[str, int] = dict(
        session.exec(
            select(ReviewItem.state, func.count())
            .where(ReviewItem.application == application)
            .group_by(ReviewItem.state)
        ).all()
    )
    waiting, done = counts.get("open", 0), counts.get("done", 0)
    doing = f"{waiting:,} items wait for a person, {done:,} are decided"
    return Stage("Review", "busy" if waiting else "idle", doing, None, "", "/review", "the queue")


def _dataset(dataset: DatasetVersion | None) -> Stage:
    if dataset is None:
        return Stage("Curate", "idle", "no dataset yet", None, "made by `ratchet curate`")
    doing = (
        f"{dataset.id}: {dataset.train_rows:,} training examples, {dataset.new_rows:,} of them new"
    )
    return Stage(
        *("Curate", "good", doing, dataset.created_at, ""),
        *(f"/datasets/{dataset.id}", dataset.id),
    )


def _policy(dataset: DatasetVersion | None, plan: str) -> Stage:
    if dataset is None:
        return Stage("Policy", "idle", "nothing to learn from yet")
    return Stage("Policy", "idle", "looks at the newest dataset", None, plan, "/runs", "runs")


def _run(run: Run | None) -> Stage:
    if run is None:
        return Stage("Train", "idle", "no run yet", None, "begun by the policy or `ratchet turn`")
    link = (f"/runs/{run.id}", f"run {short(run.id)}")
    if run.status in {"queued", "running"}:
        told = read_progress(Path(run.folder))
        doing = f"{run.status}: {run.mode}, {run.recipe}"
        if told is not None and told.total_steps:
            doing += f", {told.phase} step {told.step} of {told.total_steps}"
        return Stage("Train", "busy", doing, run.started_at, run.reason, *link)
    state: State = "bad" if run.status == "failed" else "idle"
    doing = f"the last run {run.status}" + (f": {run.error}" if run.error else "")
    return Stage("Train", state, doing, run.finished_at or run.started_at, run.reason, *link)


def _gate(adapter: Adapter | None) -> Stage:
    if adapter is None:
        return Stage("Gate", "idle", "no adapter yet")
    decision = adapter.gate.get("decision")
    link = (f"/adapters/{adapter.name}", adapter.name)
    if decision is None:
        return Stage("Gate", "idle", f"{adapter.name} waits for it", adapter.created_at, "", *link)
    passed = decision == "pass" or adapter.override_by is not None
    doing = f"{adapter.name}: {decision}"
    if adapter.override_by:
        doing += f", overridden by {adapter.override_by}"
    why = "; ".join(map(str, adapter.gate.get("reasons", ())))
    return Stage("Gate", "good" if passed else "bad", doing, adapter.created_at, why, *link)


def _rollout(session: Session, application: str) -> Stage:
    rollout = _newest(session, Rollout, Rollout.created_at, application)
    if rollout is None:
        return Stage("Canary", "idle", "no rollout yet")
    verdict = session.exec(
        select(VerdictRecord)
        .where(VerdictRecord.rollout_id == rollout.id)
        .order_by(col(VerdictRecord.id).desc())
        .limit(1)
    ).first()
    active = rollout.state in ACTIVE_STATES
    doing = f"{rollout.canary_adapter} is {rollout.state.replace('_', ' ')}"
    if active:
        doing += f" at {rollout.share:.0%}"
    why = rollout.reason
    if active and verdict is not None:
        why = f"{verdict.decision.replace('_', ' ')}: {verdict.reason}"
    state: State = "busy" if active else ("bad" if rollout.state == "rolled_back" else "idle")
    if rollout.state == "paused":
        state = "bad"
    return Stage(
        *("Canary", state, doing, rollout.step_since, why),
        *(f"/rollouts/{rollout.id}", f"rollout {short(rollout.id)}"),
    )


def _plan(parts: Parts, application: str) -> str:
    """Return the policy's word on the newest dataset."""
    from loop.turn import plan_training  # 0.3 s that a start need not wait for

    with parts.store.session() as session:
        dataset = _newest(session, DatasetVersion, DatasetVersion.created_at, application)
    if dataset is None:
        return ""
    try:
        plan = plan_training(parts, application, dataset)
    except RatchetError as error:
        return f"cannot be asked: {error.message}"
    return f"trains: {plan.reason}" if plan.train else plan.reason


def _lag(parts: Parts) -> int | None:
    """Return how many records of this machine's spools wait, or None where a cluster has them."""
    if parts.settings.log.kafka.servers:
        return None
    with parts.store.session() as session:
        positions = read_positions(session)
    limit = parts.settings.log.max_bytes
    statuses = spool_statuses(parts.settings.spool_dir, SOURCES, positions, limit)
    return sum(status.waiting for status in statuses)
