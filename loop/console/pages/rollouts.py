"""Rollouts with their evidence over time, and what a person may do to one: each with a reason.

Rollout, VerdictRecord and AuditEntry rows come in, pages and moves by the conductor go out. How the
evidence is shown is `loop.console.evidence`'s business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from litestar import Request, get, post
from litestar.response import Redirect, Template
from sqlmodel import Session, col, select

from core.clock import as_utc
from core.errors import NotFoundError, RequestError
from core.settings import CanarySettings
from feedback.console_tables import AuditEntry
from feedback.tables import Rollout, VerdictRecord
from loop.conductor import Conductor
from loop.console.evidence import draw, forecast, mismatch, rails
from loop.console.sessions import Sessions
from loop.console.shown import page
from loop.console.visitors import Visitor
from loop.stages import ACTIVE_STATES
from loop.wiring import Parts

SHOWN = 100  # rollouts in the list, the newest
MAX_RECORDS = 120  # verdicts in a drawing: more points than a phone has pixels for
MAX_REASON_CHARS = 500
ACTS = {  # what may be done in which states, and its button
    "promote": (frozenset({"canary", "paused"}), "Promote"),
    "pause": (frozenset({"canary", "watch"}), "Pause"),
    "resume": (frozenset({"paused"}), "Go on"),
    "roll_back": (ACTIVE_STATES, "Roll back"),
}


AnyRequest = Request[Any, Any, Any]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Passed:
    """Something that happened to a rollout, by whom and why."""

    at: datetime
    what: str
    who: str
    why: str = ""


def rollout_routes(parts: Parts, sessions: Sessions) -> list[Any]:
    """Return the pages of rollouts."""

    @get("/rollouts", sync_to_thread=True)
    def show_rollouts(request: AnyRequest) -> Template:
        visitor = sessions.caller(request)
        with parts.store.session() as session:
            rows = session.exec(
                select(Rollout)
                .where(Rollout.application == visitor.application)
                .order_by(col(Rollout.created_at).desc())
                .limit(SHOWN)
            ).all()
        return page(request, visitor, "rollouts.html", "rollouts", rollouts=rows)

    @get("/rollouts/{rollout_id:str}", sync_to_thread=True)
    def show_rollout(request: AnyRequest, rollout_id: str) -> Template:
        visitor = sessions.caller(request)
        return _shown(request, parts, visitor, rollout_id)

    return [show_rollouts, show_rollout]


def rollout_acts(parts: Parts, sessions: Sessions) -> list[Any]:
    """Return what changes rollouts."""

    @post("/rollouts/{rollout_id:str}/{act:str}", status_code=303)
    async def move(request: AnyRequest, rollout_id: str, act: str) -> Redirect:
        visitor = sessions.caller(request)
        reason = str((await request.form()).get("reason", "")).strip()
        await asyncio.to_thread(_move, parts, visitor, rollout_id, act, reason)
        return Redirect(f"/rollouts/{rollout_id}", status_code=303)

    return [move]


def _shown(request: AnyRequest, parts: Parts, visitor: Visitor, rollout_id: str) -> Template:
    with parts.store.session() as session:
        rollout = _own(session, visitor, rollout_id)
        records = read_records(session, rollout_id)
        history = [*places(rollout, records), *acts_on(session, rollout_id)]
    history.sort(key=lambda row: row.at)
    last = records[-1] if records else None
    rules = rollout.settings
    return page(
        *(request, visitor, "rollout.html", "rollouts"),
        rollout=rollout,
        last=last,
        rails=rails(last),
        forecast=forecast(last),
        mismatch=mismatch(last),
        history=history,
        charts=draw(rollout, records),
        acts=[(act, words) for act, words in _possible(rollout) if visitor.may("operate")],
        shares=rules.get("shares", ()),
        is_active=rollout.state in ACTIVE_STATES,
    )


def _possible(rollout: Rollout) -> list[tuple[str, str]]:
    """Return what may be done to it now, as far as this conductor knows it."""
    return [
        (act, words)
        for act, (states, words) in ACTS.items()
        if rollout.state in states and hasattr(Conductor, act)
    ]


def _move(parts: Parts, visitor: Visitor, rollout_id: str, act: str, reason: str) -> None:
    """Carry out what a person decided.

    Raises: NotFoundError, RequestError without a reason, StateError when its state forbids it.
    """
    if act not in ACTS or not hasattr(Conductor, act):
        raise NotFoundError(f"nothing called {act!r} can be done to a rollout")
    if not reason or len(reason) > MAX_REASON_CHARS:
        raise RequestError(
            f"say why, in at most {MAX_REASON_CHARS} characters: it is kept with the decision",
            field="reason",
        )
    with parts.store.session() as session:
        rollout = _own(session, visitor, rollout_id)
        rules = CanarySettings.model_validate(rollout.settings)
    conductor = Conductor(parts.store, parts.log, rules)
    getattr(conductor, act)(rollout_id, operator=visitor.actor, reason=reason)
    _log.info("rollout_moved_by_hand", rollout=rollout_id, act=act, by=visitor.actor)


def _own(session: Session, visitor: Visitor, rollout_id: str) -> Rollout:
    rollout = session.get(Rollout, rollout_id)
    if rollout is None or rollout.application != visitor.application:
        raise NotFoundError(f"no rollout {rollout_id!r} of {visitor.application}")
    return rollout


def read_records(session: Session, rollout_id: str) -> list[VerdictRecord]:
    """Return the verdicts in order of time, thinned out evenly; the last one is among them."""
    ids = session.exec(
        select(VerdictRecord.id)
        .where(VerdictRecord.rollout_id == rollout_id)
        .order_by(col(VerdictRecord.created_at), col(VerdictRecord.id))
    ).all()
    stride = 1 + len(ids) // MAX_RECORDS
    kept = [id_ for place, id_ in enumerate(reversed(ids)) if place % stride == 0]
    rows = session.exec(select(VerdictRecord).where(col(VerdictRecord.id).in_(kept))).all()
    return sorted(rows, key=lambda row: (as_utc(row.created_at), row.id))


def places(rollout: Rollout, records: Sequence[VerdictRecord]) -> list[Passed]:
    """Return when the rollout came to each of its places, and what was last said there."""
    found = [Passed(as_utc(rollout.created_at), "began in shadow", "conductor")]
    began = [
        after
        for before, after in zip([None, *records], records, strict=False)
        if before is None or (before.state, before.step) != (after.state, after.step)
    ]
    for row in began:
        step = f", step {row.step + 1}" if row.state == "canary" else ""
        words = f"{row.state}{step}: {row.share:.0%} of subjects"
        found.append(Passed(as_utc(row.created_at), words, "conductor"))
    if rollout.state not in ACTIVE_STATES:
        at = as_utc(rollout.finished_at or rollout.step_since)
        found.append(
            Passed(at, rollout.state.replace("_", " "), rollout.decided_by, rollout.reason)
        )
    return found


def acts_on(session: Session, rollout_id: str) -> list[Passed]:
    """Return what people did to a rollout."""
    rows = session.exec(
        select(AuditEntry).where(AuditEntry.kind == "rollout", AuditEntry.subject == rollout_id)
    )
    return [
        Passed(as_utc(row.at), row.action.replace("_", " "), row.actor, row.reason) for row in rows
    ]
