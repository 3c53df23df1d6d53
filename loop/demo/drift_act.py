"""The act in which customers turn to a topic that nobody asked about before.

    a healthy week → the turn → drift is found → the policy retrains → gate → canary → promoted

The service does all of it by itself (`retrain.automatic`): windows, checks, training and rollout
are its scheduler's and its conductor's. This act sends customers, watches the store, and measures.
A live adapter goes in, a `Drift` of `result.py` comes out.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlmodel import Session, col, select

from core.clock import as_utc, utc_now
from core.errors import StateError
from feedback.drift_tables import DriftReport, Reference
from feedback.tables import Adapter, Interaction, Rollout, Run
from loop.background import read_memory
from loop.demo.desk import TURN_FILE, load_desk
from loop.demo.play import Play, expose, measure, outcome, track, until
from loop.demo.result import Drift, HeldoutShare, Retraining
from loop.demo.stage import APPLICATION
from loop.turn import tell_gate
from monitoring.drift.reading import read_texts
from retrain.runs.progress import TrainProgress, read_all

# Less than half: more of traffic in new subjects is a major domain shift, and trained in full.
TURN_SHARE = 0.45
# Some 150 answers of the new adapter take a minute on two cores; what takes so long is a fault.
HEALTHY_S = 600.0
DETECTION_S = 900.0  # three windows at most: two minutes
TRAINING_S = 900.0
START_S = 180.0  # of what the scheduler does at its next look, with a curation


def customers_turn(play: Play, live: Adapter, known_before: float) -> Drift:
    """Play the act; `known_before` is the live adapter's held-out share on what was asked so far.

    Raises: StateError when a step of the service does not come.
    """
    _healthy_days(play, live)
    turned_at = utc_now()
    report, run = _detection(play, live, turned_at)
    before = measure(play, live.name, "new topic before", "turn")
    adapter = _training(play, run)
    rollout = _rollout(play, adapter)
    served = adapter.name if outcome(rollout) == "promoted" else live.name  # what people have now
    after = measure(play, served, "new topic after", "turn")
    known = measure(play, served, "known topics after the turn")
    play.train_by_itself(False)
    return Drift(
        detected_after_interactions=_asked_of_the_turn(play, turned_at, report.window_end),
        reason=report.reason,
        words=_words(report),
        examples=_examples(play, report),
        report_file=str(_page(report).relative_to(play.folder.resolve())),
        retraining=Retraining(run.mode, run.id, adapter.name, run.reason),
        gate=adapter.gate["decision"],
        decision=outcome(rollout),
        decided_by=rollout.decided_by,
        heldout=HeldoutShare(before["good_share"], after["good_share"], before["asked"]),
        known=HeldoutShare(known_before, known["good_share"], known["asked"]),
        track=track(play, rollout),
    )


def _healthy_days(play: Play, live: Adapter) -> None:
    """Let customers ask as before until there is a healthy week, and a window like it."""
    play.narrator.chapter("Automatic retraining is switched on; customers ask what they always ask")
    play.train_by_itself(True)
    with play.clock.phase("healthy week"), play.coming("calm"):
        until(play, lambda session: _healthy_week(session, live), "a healthy week", HEALTHY_S)
        play.narrator.say(
            f"the first healthy week of {live.name} is kept: drift is held against it"
        )
        report = until(play, lambda session: _newest(session, live), "a window", HEALTHY_S)
    play.narrator.tell(f"drift: {report.severity}, {report.reason}")
    play.show("/drift", report.severity)


def _detection(play: Play, live: Adapter, turned_at: datetime) -> tuple[DriftReport, Run]:
    """Let customers turn to the new topic until drift is found and a training has begun."""
    play.turn_share = TURN_SHARE
    play.narrator.chapter(f"Customers turn: {TURN_SHARE:.0%} of their questions are of a new topic")
    with play.coming("turn"):
        with play.clock.phase("drift is detected"):
            report = until(
                play,
                lambda session: _newest(session, live, since=turned_at, severity="act"),
                "drift",
                DETECTION_S,
            )
        _tell(play, report)
        with play.clock.phase("retraining is planned"):
            run = until(play, lambda session: _answer(session, play, report), "a run", START_S)
    play.narrator.tell(f"run {run.id}, {run.mode}: {run.reason}")
    play.show("/runs", run.id)
    return report, run


def _tell(play: Play, report: DriftReport) -> None:
    """Say what the report found, and where it is shown."""
    play.narrator.tell(f"drift: {report.severity}, {report.reason}")
    for cluster in report.numbers["clusters"]:
        words = ", ".join(cluster["words"])
        play.narrator.tell(f"a new subject, {cluster['share']:.0%} of the window: {words}")
    for prompt in _examples(play, report):
        play.narrator.tell(f"  “{prompt}”")
    play.show(f"/drift/{report.id}", "act")


def _training(play: Play, run: Run) -> Adapter:
    """Show the service's own training until its adapter has met the gate."""
    play.narrator.chapter("The service trains by itself: the live adapter learns the new topic")
    with play.clock.phase("train and gate by policy"), play.narrator.training() as told:
        heard: list[TrainProgress] = []

        def look(session: Session) -> Adapter | None:
            now = read_all(Path(run.folder))
            for each in now[len(heard) :]:
                told(each)
            heard[:] = now
            return _adapter(session, run)

        adapter = until(play, look, "the adapter", TRAINING_S)
    tell_gate(adapter, play.narrator)
    return adapter


def _rollout(play: Play, adapter: Adapter) -> Rollout:
    """Let customers go on until they have decided on the new adapter."""
    play.narrator.chapter(f"Canary: {adapter.name} was exposed by the service and must earn it")
    rollout = until(play, lambda session: _exposed(session, play, adapter), "a rollout", START_S)
    play.show(f"/rollouts/{rollout.id}", adapter.name)
    with play.clock.phase("canary of the retrained adapter"):
        ended = expose(play, rollout, "canary-turn")
    play.show("/overview", adapter.name)
    return ended


def _healthy_week(session: Session, live: Adapter) -> Reference | None:
    return session.exec(
        select(Reference).where(Reference.adapter == live.name, Reference.kind == "healthy_week")
    ).first()


def _newest(
    session: Session, live: Adapter, *, since: datetime | None = None, severity: str | None = None
) -> DriftReport | None:
    """Return the newest report on the live adapter that was held against its healthy week."""
    query = select(DriftReport).where(DriftReport.adapter == live.name)
    if since is not None:
        query = query.where(col(DriftReport.window_end) > since)
    if severity is not None:
        query = query.where(DriftReport.severity == severity)
    found = session.exec(query.order_by(col(DriftReport.made_at).desc())).all()
    return next((one for one in found if one.numbers["reference"] == "healthy_week"), None)


def _answer(session: Session, play: Play, report: DriftReport) -> Run | None:
    """Return the run that answers the report. Raises: StateError when none could begin."""
    answered = session.get_one(DriftReport, report.id)
    if answered.run_id is not None:
        return session.get_one(Run, answered.run_id)
    _require_no_error(play)
    return None


def _adapter(session: Session, run: Run) -> Adapter | None:
    """Return what the run made. Raises: StateError when it failed."""
    now = session.get_one(Run, run.id)
    if now.status in {"failed", "cancelled"}:
        raise StateError(f"run {run.id} {now.status}: {now.error}")
    return session.exec(select(Adapter).where(Adapter.run_id == run.id)).first()


def _exposed(session: Session, play: Play, adapter: Adapter) -> Rollout | None:
    if adapter.gate["decision"] != "pass":
        raise StateError(f"the gate stopped {adapter.name}: {'; '.join(adapter.gate['reasons'])}")
    _require_no_error(play)
    return session.exec(select(Rollout).where(Rollout.canary_adapter == adapter.name)).first()


def _require_no_error(play: Play) -> None:
    if error := read_memory(play.parts.settings, APPLICATION).error:
        raise StateError(f"the service could not train by itself: {error}")


def _asked_of_the_turn(play: Play, turned_at: datetime, end: datetime) -> int:
    """Return how many questions of the new topic were answered from the turn to `end`."""
    questions = {phrasing for fact in load_desk(TURN_FILE).facts for phrasing in fact.phrasings}
    with play.parts.store.session() as session:
        rows = session.exec(
            select(Interaction.messages).where(
                Interaction.application == APPLICATION,
                col(Interaction.started_at) >= turned_at,
                col(Interaction.started_at) <= as_utc(end),
            )
        )
        return sum(messages[-1]["content"] in questions for messages in rows)


def _clusters(report: DriftReport) -> Sequence[dict[str, Any]]:
    return report.numbers["clusters"]


def _words(report: DriftReport) -> tuple[str, ...]:
    """Return what the largest new subject is named by; of none, nothing."""
    return tuple(_clusters(report)[0]["words"]) if _clusters(report) else ()


def _examples(play: Play, report: DriftReport) -> tuple[str, ...]:
    """Return the prompts that the report shows of its largest new subject."""
    if not _clusters(report):
        return ()
    ids = _clusters(report)[0]["examples"]
    with play.parts.store.session() as session:
        texts = read_texts(session, ids)
    return tuple(texts[one].prompt for one in ids if one in texts)


def _page(report: DriftReport) -> Path:
    return Path(report.folder) / "report.html"
