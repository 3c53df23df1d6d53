"""How each stage of the loop stands: what it does, since when, what comes next, and why.

The newest rows of each stage come in, with what was found out outside the store; one line for each
stage goes out, in the loop's order. Counts no interactions. Knows nothing of how a stage works.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, TypeVar

from sqlalchemy import func
from sqlmodel import Session, col, select

from core.clock import as_utc, utc_now
from core.settings import Settings
from feedback.drift_tables import DriftReport, FeatureWindow
from feedback.job_tables import JobState
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
from loop.console.shown import ago, short
from loop.stages import ACTIVE_STATES
from retrain.runs.progress import read_progress

BEHIND_RECORDS = 10_000  # our choice: some seconds of ingest's work (docs/experiments.md)

State = Literal["busy", "idle", "good", "bad"]
Owned = TypeVar("Owned", DatasetVersion, Run, Adapter, Rollout)


@dataclass(frozen=True, slots=True)
class Told:
    """The policy's word, and how many answers wait to be curated."""

    words: str
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class Outside:
    """What the store does not hold; None: not found out yet, or not known."""

    settings: Settings
    plan: Told | None = None
    lag: int | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of the loop: what it is doing, since when, what is next and why."""

    name: str
    state: State
    doing: str
    since: datetime | None = None
    next: str = ""
    why: str = ""
    link: str = ""
    where: str = ""  # what the link leads to


def stages(session: Session, application: str, outside: Outside) -> Iterator[Stage]:
    """Yield the stages of an application's loop, in the loop's order."""
    owner = session.get(Application, application)
    dataset = _newest(session, DatasetVersion, DatasetVersion.created_at, application)
    run = _newest(session, Run, Run.started_at, application)
    adapter = _newest(session, Adapter, Adapter.created_at, application)
    rollout = _newest(session, Rollout, Rollout.created_at, application)
    yield _serving(session, owner, rollout)
    yield _log(session, application, outside.lag)
    yield _drift(session, application, outside.settings)
    yield _review(session, application)
    yield _dataset(dataset, outside.plan)
    yield _policy(session, dataset, outside)
    yield _run(run)
    yield _gate(adapter, rollout)
    yield _rollout(session, rollout)


def _newest(session: Session, table: type[Owned], when: datetime, application: str) -> Owned | None:
    """Return the application's newest row by the column when."""
    mine = select(table).where(table.application == application)
    return session.exec(mine.order_by(col(when).desc()).limit(1)).first()


def _serving(session: Session, owner: Application | None, rollout: Rollout | None) -> Stage:
    live = owner.live_adapter if owner else None
    engines = session.exec(select(EngineReplica)).all()
    up = sum(engine.state == "up" for engine in engines)
    name, since = live or "the base model", owner.updated_at if owner else None
    link = (f"/adapters/{live}", live) if live else ("", "")
    if not engines:
        told = f"{name} is live; no engine has reported"
        return Stage("Serve", "bad", told, since, "start ratchet up", "", *link)
    ready = session.exec(
        select(func.count()).where(AdapterReplica.adapter == live, AdapterReplica.state == "ready")
    ).one()
    doing = f"{name} answers; {up} of {len(engines)} engines are up"
    doing += f", {ready} have the adapter" if live else ""
    then, why = "it stays", "no other adapter is on its way"
    if rollout is not None and rollout.state in ACTIVE_STATES:
        then = f"{rollout.canary_adapter} takes its place, or goes"
        why = f"it has {rollout.share:.0%} of subjects now"
    if up < len(engines):
        then, why = "the engines that are down come back by themselves, or need a restart", ""
    return Stage("Serve", "good" if up == len(engines) else "bad", doing, since, then, why, *link)


def _log(session: Session, application: str, lag: int | None) -> Stage:
    last = session.exec(
        select(func.max(Interaction.started_at)).where(Interaction.application == application)
    ).one()
    position = sum(read_positions(session).values())
    doing = f"ingest has applied the log up to position {position:,}"
    doing += "" if lag is None else f"; {lag:,} records wait"
    behind = lag is not None and lag > BEHIND_RECORDS
    then = "ingest catches up" if behind else "what comes is applied at once"
    why = f"more than {BEHIND_RECORDS:,} records wait" if behind else ""
    why = why if last else "no interaction came yet"
    link = ("/metrics", "live metrics")
    return Stage("Log", "bad" if behind else "good", doing, last, then, why, *link)


def _drift(session: Session, application: str, settings: Settings) -> Stage:
    window = session.exec(
        select(FeatureWindow.end)
        .where(FeatureWindow.application == application)
        .order_by(col(FeatureWindow.end).desc())
        .limit(1)
    ).first()
    rules = settings.monitoring
    then = f"a window closes at {rules.window_interactions:,} new interactions"
    if window is not None:
        latest = as_utc(window) + timedelta(hours=rules.window_hours)
        then += f", or {ago(latest)}" if latest > utc_now() else ", or when some have come"
    report = session.exec(
        select(DriftReport)
        .where(DriftReport.application == application)
        .order_by(col(DriftReport.made_at).desc())
        .limit(1)
    ).first()
    link = ("/drift", "drift reports")
    if report is None:
        return Stage("Detect", "idle", "nothing was compared yet", window, then, "", *link)
    state: State = "bad" if report.severity == "act" else "good"
    doing = f"the last window says {report.severity}: {report.reason}"
    if report.severity == "act" and report.run_id:
        state, doing = "busy", f"{doing}; run {short(report.run_id)} answers it"
    link = (f"/drift/{report.id}", "the report")
    return Stage("Detect", state, doing, report.made_at, then, "", *link)


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
    then = "the next dataset takes what reviewers decide"
    link = ("/review", "the queue")
    return Stage("Review", "busy" if waiting else "idle", doing, None, then, "", *link)


def _dataset(dataset: DatasetVersion | None, plan: Told | None) -> Stage:
    waiting = f"{plan.waiting:,} answers with approval wait to be curated" if plan else ""
    then = "a new version when the policy trains, or by ratchet curate"
    if dataset is None:
        return Stage("Curate", "idle", "no dataset yet", None, then, waiting)
    doing = (
        f"{dataset.id}: {dataset.train_rows:,} training examples, {dataset.new_rows:,} of them new"
    )
    link = (f"/datasets/{dataset.id}", dataset.id)
    return Stage("Curate", "good", doing, dataset.created_at, then, waiting, *link)


def _policy(session: Session, dataset: DatasetVersion | None, outside: Outside) -> Stage:
    job = session.get(JobState, "plan_retraining")
    if not outside.settings.retrain.automatic:
        then = "trains by ratchet turn alone: retrain.automatic is off"
    elif job is not None and job.next_at is not None:
        then = f"is asked again {ago(job.next_at)}"
    else:
        then = "is asked again by the scheduler"
    since = job.last_finished_at if job else None
    if dataset is None:
        return Stage("Policy", "idle", "nothing to learn from yet", since, then)
    said = outside.plan.words if outside.plan else "is being asked"
    state: State = "busy" if said.startswith("trains") else "idle"
    return Stage(
        "Policy", state, f"of {dataset.id} it says: {said}", since, then, "", "/runs", "runs"
    )


def _run(run: Run | None) -> Stage:
    if run is None:
        return Stage("Train", "idle", "no run yet", None, "begins when the policy says so")
    link = (f"/runs/{run.id}", f"run {short(run.id)}")
    if run.status in {"queued", "running"}:
        told = read_progress(Path(run.folder))
        doing = f"{run.status}: {run.mode}, {run.recipe}"
        if told is not None and told.total_steps:
            doing += f", {told.phase} step {told.step} of {told.total_steps}"
        then = "the gate, when it has ended"
        return Stage("Train", "busy", doing, run.started_at, then, run.reason, *link)
    state: State = "bad" if run.status == "failed" else "idle"
    doing = f"the last run {run.status}" + (f": {run.error}" if run.error else "")
    then = "begins when the policy says so"
    why = f"the last began for {run.reason}" if run.reason else ""
    return Stage("Train", state, doing, run.finished_at or run.started_at, then, why, *link)


def _gate(adapter: Adapter | None, rollout: Rollout | None) -> Stage:
    if adapter is None:
        return Stage("Gate", "idle", "no adapter yet")
    decision = adapter.gate.get("decision")
    link = (f"/adapters/{adapter.name}", adapter.name)
    if decision is None:
        then = "it is held against the live adapter"
        return Stage(
            *("Gate", "idle", f"{adapter.name} waits for it", adapter.created_at, then, "", *link)
        )
    passed = decision == "pass" or adapter.override_by is not None
    doing = f"{adapter.name}: {decision}"
    doing += f", overridden by {adapter.override_by}" if adapter.override_by else ""
    why = "; ".join(map(str, adapter.gate.get("reasons", ())))
    if not passed:
        then = "it goes no further, unless somebody overrides the gate"
    elif rollout is not None and rollout.canary_adapter == adapter.name:
        then = "its rollout has begun"
    else:
        then = f"ratchet canary start {adapter.name}"
    return Stage("Gate", "good" if passed else "bad", doing, adapter.created_at, then, why, *link)


def _rollout(session: Session, rollout: Rollout | None) -> Stage:
    if rollout is None:
        return Stage("Canary", "idle", "no rollout yet", None, "begins after the gate")
    verdict = session.exec(
        select(VerdictRecord)
        .where(VerdictRecord.rollout_id == rollout.id)
        .order_by(col(VerdictRecord.id).desc())
        .limit(1)
    ).first()
    active = rollout.state in ACTIVE_STATES
    doing = f"{rollout.canary_adapter} is {rollout.state.replace('_', ' ')}"
    doing += f" at {rollout.share:.0%}" if active else ""
    then, why = "", rollout.reason
    if active and verdict is not None:
        why = f"{verdict.decision.replace('_', ' ')}: {verdict.reason}"
        then = str((verdict.numbers.get("forecast") or {}).get("says", ""))
    state: State = "busy" if active else ("bad" if rollout.state == "rolled_back" else "idle")
    if rollout.state == "paused":
        state, then = "bad", "somebody resumes it, promotes it or rolls it back"
    link = (f"/rollouts/{rollout.id}", f"rollout {short(rollout.id)}")
    return Stage("Canary", state, doing, rollout.step_since, then, why, *link)
