"""Rollouts with their evidence over time, and what a person may do to one: each with a reason.

Rollout and VerdictRecord rows come in, pages and moves by the conductor go out. What a verdict
means is monitoring's business: here its numbers are only drawn, by whatever names they have.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Sequence
from typing import Any

import structlog
from litestar import Request, get, post
from litestar.response import Redirect, Template
from sqlmodel import Session, col, select

from core.clock import as_utc
from core.errors import NotFoundError, RequestError
from core.settings import CanarySettings
from feedback.tables import Rollout, VerdictRecord
from loop.conductor import Conductor
from loop.console import charts
from loop.console.sessions import Sessions
from loop.console.shown import page
from loop.console.visitors import Visitor
from loop.stages import ACTIVE_STATES
from loop.wiring import Parts

SHOWN = 100  # rollouts in the list, the newest
MAX_RECORDS = 120  # verdicts in a drawing: more points than a phone has pixels for
MAX_LOG10 = 8.0  # evidence beyond one to 100 million is not worth the height
MAX_REASON_CHARS = 500
ACTS = {  # what may be done in which states, and its button
    "promote": (frozenset({"canary", "paused"}), "Promote"),
    "pause": (frozenset({"canary", "watch"}), "Pause"),
    "resume": (frozenset({"paused"}), "Go on"),
    "roll_back": (ACTIVE_STATES, "Roll back"),
}

AnyRequest = Request[Any, Any, Any]

_log = structlog.get_logger(__name__)


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
    last = records[-1] if records else None
    rules = rollout.settings
    return page(
        *(request, visitor, "rollout.html", "rollouts"),
        rollout=rollout,
        last=last,
        rails=_rails(last),
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


def draw(rollout: Rollout, records: Sequence[VerdictRecord]) -> list[charts.Chart]:
    """Return the drawings of a rollout's verdicts."""
    if not records:
        return []
    times = [as_utc(row.created_at).timestamp() for row in records]
    pairs = itertools.pairwise(records)
    moved = [
        as_utc(b.created_at).timestamp() for a, b in pairs if (a.state, a.step) != (b.state, b.step)
    ]
    axis = charts.Axis(times, changes=moved)
    rules = rollout.settings

    def line(label: str, tone: str, *path: str, dashed: bool = False) -> charts.Line:
        return charts.Line(label, [pick(row.numbers, path) for row in records], tone, dashed)

    promote, back = _needed(rules, "alpha_promote"), _needed(rules, "alpha_roll_back")
    return [
        charts.lines(
            "Evidence from ratings, e-value",
            axis,
            [
                line("canary is better", "t1", "evidence", "better", "log10"),
                line("canary is worse", "t2", "evidence", "worse", "log10", dashed=True),
            ],
            _power,
            marks=_marks({"promote": promote, "roll back": back}),
            limits=(-2.0, None),
        ),
        charts.band(
            "Difference in good ratings, canary - baseline: what is not ruled out",
            axis,
            line("at least", "t1", "difference", "low"),
            line("at most", "t1", "difference", "high"),
            charts.percent,
            border=charts.Mark("promote above", -float(rules.get("margin", 0.0))),
        ),
        charts.lines(
            "Good ratings, by arm",
            axis,
            [
                line("canary", "t1", "arms", "canary", "good_share"),
                line("baseline", "t4", "arms", "baseline", "good_share"),
            ],
            charts.percent,
            limits=(0.0, 1.0),
        ),
        charts.lines(
            "Guardrails: evidence of harm, e-value",
            axis,
            [
                charts.Line(name.replace("_", " "), values, tone)
                for (name, values), tone in zip(_harms(records).items(), charts.TONES, strict=False)
            ],
            _power,
            marks=_marks({"harmed": _needed(rules, "alpha_guardrail")}),
            limits=(-2.0, None),
        ),
        charts.lines(
            "Subjects in the canary arm",
            axis,
            [charts.Line("share", [row.share for row in records])],
            charts.percent,
            limits=(0.0, 1.0),
        ),
    ]


def pick(numbers: Any, path: Sequence[str]) -> float | None:
    """Return the number at a path, within what can be drawn, or None where there is none."""
    for name in path:
        numbers = numbers.get(name) if isinstance(numbers, dict) else None
    if not isinstance(numbers, int | float) or math.isnan(numbers):
        return None
    return max(-MAX_LOG10, min(MAX_LOG10, float(numbers)))


def _harms(records: Sequence[VerdictRecord]) -> dict[str, list[float | None]]:
    """Return the evidence of each guardrail over time; those nearest to harm come first."""
    names = {name for row in records for name in row.numbers.get("guardrails", {})}
    found = {
        name: [pick(row.numbers, ("guardrails", name, "harm", "log10")) for row in records]
        for name in names
    }
    known = {name: values for name, values in found.items() if any(v is not None for v in values)}
    nearest = sorted(known, key=lambda n: -max(v for v in known[n] if v is not None))
    return {name: known[name] for name in nearest[: len(charts.TONES)]}


def _rails(last: VerdictRecord | None) -> list[dict[str, Any]]:
    """Return the guardrails of the last verdict, as a table shows them."""
    rails = {} if last is None else last.numbers.get("guardrails", {})
    return [
        {
            "name": name.replace("_", " "),
            "tolerance": rail.get("tolerance"),
            "state": _rail_state(rail),
            "harm": _told(rail.get("harm")),
            "safe": _told(rail.get("safe")),
        }
        for name, rail in rails.items()
    ]


def _rail_state(rail: dict[str, Any]) -> str:
    for side, word in (("harm", "harmed"), ("safe", "safe")):
        proof = rail.get(side) or {}
        if proof and proof["value"] >= proof["needed"]:
            return word
    return "open"


def _told(proof: dict[str, Any] | None) -> str:
    return f"{proof['value']:.3g} of {proof['needed']:.3g}" if proof else "-"


def _needed(rules: dict[str, Any], name: str) -> float:
    """Return the e-value at which a decision is taken, as log10. Source: Ville; DESIGN 3."""
    return -math.log10(float(rules.get(name, 0.05)))


def _marks(needed: dict[str, float]) -> tuple[charts.Mark, ...]:
    """Return the thresholds, equal ones as one."""
    levels = sorted(set(needed.values()))
    return tuple(
        charts.Mark(", ".join(name for name, value in needed.items() if value == level), level)
        for level in levels
    )


def _power(value: float) -> str:
    return f"{10.0**value:.3g}"
