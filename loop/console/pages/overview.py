"""The loop as it stands now: what needs somebody, then each stage, from top to bottom.

The newest rows of each stage come in by `loop.console.standing`; a person on call reads the page in
a minute. What is dear to find out is kept for a while, and asked for beside a page. Nothing here
counts interactions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from litestar import Request, get
from litestar.response import Template
from sqlmodel import Session, col, select

from core.errors import RatchetError
from feedback.alert_tables import Incident
from feedback.events import SOURCES
from feedback.job_tables import JobState
from feedback.log.spool_status import spool_statuses
from feedback.positions import read_positions
from feedback.tables import Rollout
from loop.console.kept import Kept
from loop.console.sessions import Sessions
from loop.console.shown import page
from loop.console.standing import Outside, Told, stages
from loop.console.visitors import Visitor
from loop.wiring import Parts

PLAN_EVERY_S = 30.0  # asking the policy counts a whole dataset's members
LAG_EVERY_S = 5.0  # counting what waits reads the spools' files
FIRST_WAIT_S = 0.05  # for each, of who comes first: a page must not take 0.2 s. Our choice
MAX_CALLS = 5  # incidents; more are on their own page


@dataclass(frozen=True, slots=True)
class Call:
    """Something that waits for a person, and where to look."""

    words: str
    link: str


def overview_routes(parts: Parts, sessions: Sessions) -> list[Any]:
    """Return the page of the loop."""
    plans = Kept(lambda application: _plan(parts, application), PLAN_EVERY_S)
    lags = Kept(lambda _: _lag(parts), LAG_EVERY_S)

    @get("/overview", sync_to_thread=True)
    def show_overview(request: Request[Any, Any, Any]) -> Template:
        visitor = sessions.caller(request)
        application = visitor.application
        lags.known("")  # so that both are found out at once
        plan, lag = plans.known(application, FIRST_WAIT_S), lags.known("", FIRST_WAIT_S)
        outside = Outside(parts.settings, plan, lag)
        with parts.store.session() as session:
            context = {
                "calls": calls(session, visitor),
                "stages": list(stages(session, application, outside)),
            }
        return page(request, visitor, "overview.html", "overview", **context)

    return [show_overview]


def calls(session: Session, visitor: Visitor) -> list[Call]:
    """Return what waits for somebody: incidents, a paused rollout, jobs that failed."""
    seen = [visitor.application, ""] if visitor.is_person else [visitor.application]
    firing = session.exec(
        select(Incident)
        .where(Incident.state == "firing", col(Incident.application).in_(seen))
        .order_by(col(Incident.opened_at).desc())
        .limit(MAX_CALLS)
    ).all()
    paused = session.exec(
        select(Rollout).where(Rollout.application == visitor.application, Rollout.state == "paused")
    ).all()
    failed = session.exec(
        select(JobState).where(col(JobState.ok).is_(False)).order_by(JobState.name)
    ).all()
    return [
        *(Call(f"{one.severity}: {one.summary}", f"/incidents/{one.id}") for one in firing),
        *(
            Call(f"{one.canary_adapter} is paused, and waits for a decision", f"/rollouts/{one.id}")
            for one in paused
        ),
        *(
            Call(f"the job {one.name.replace('_', ' ')} fails: {one.message}", "/jobs")
            for one in failed
        ),
    ]


def _plan(parts: Parts, application: str) -> Told:
    """Return the policy's word on what there is now."""
    from loop.planning import Wish, look  # 0.3 s that a start need not wait for

    try:
        outlook = look(parts, application, Wish())
    except RatchetError as error:
        return Told(f"cannot be asked: {error.message}")
    said = outlook.plan.reason
    return Told(f"trains: {said}" if outlook.plan.train else said, outlook.waiting)


def _lag(parts: Parts) -> int | None:
    """Return how many records of this machine's spools wait, or None where a cluster has them."""
    if parts.settings.log.kafka.servers:
        return None
    with parts.store.session() as session:
        positions = read_positions(session)
    limit = parts.settings.log.max_bytes
    statuses = spool_statuses(parts.settings.spool_dir, SOURCES, positions, limit)
    return sum(status.waiting for status in statuses)
