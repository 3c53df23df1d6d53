"""What keeps pages live: one look at the store for all of them, and a stream to each.

While somebody has a page open, one query each `live_every_s` tells whether anything changed that
pages show; each stream then sends one word, and the page asks for its parts anew. A stream ends
with its session, and when the console stops. Knows nothing of what a page shows.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog
from litestar import Request, get
from litestar.response import ServerSentEvent
from litestar.response.sse import ServerSentEventMessage
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, col

from feedback.alert_tables import IncidentNote
from feedback.console_tables import MetricHour
from feedback.drift_tables import DriftReport, FeatureWindow
from feedback.job_tables import JobState
from feedback.store import Store
from feedback.tables import (
    Adapter,
    Application,
    DatasetVersion,
    EngineReplica,
    LogOffset,
    ReviewItem,
    Rollout,
    Run,
    VerdictRecord,
)
from loop.console.sessions import Sessions
from retrain.runs.progress import FILE

QUIET_S = 15.0  # then a comment goes out, so that proxies do not close an idle stream
RETRY_MS = 3_000  # after which a browser comes back
TOPICS: Mapping[str, tuple[str, ...]] = {  # of a page: what it shows
    "overview": (
        *("log", "engines", "applications", "review", "datasets", "runs", "adapters"),
        *("rollouts", "verdicts", "incidents", "drift", "jobs"),
    ),
    "metrics": ("hours", "engines", "windows"),
    "rollouts": ("rollouts", "verdicts"),
    "runs": ("runs",),
    "incidents": ("incidents",),
}

Pulse = Mapping[str, str]

_log = structlog.get_logger(__name__)


def read_pulse(session: Session) -> Pulse:
    """Return a word for each topic that changes when its rows do, by one query."""
    marks: dict[str, Any] = {
        "log": select(func.sum(col(LogOffset.position))),
        "engines": select(func.count()).where(col(EngineReplica.state) == "up"),
        "applications": select(func.max(col(Application.updated_at))),
        "review": select(func.count()).where(col(ReviewItem.state) == "open"),
        "datasets": select(func.count()).select_from(DatasetVersion),
        "adapters": select(func.count()).where(col(Adapter.status) != "gone"),
        "rollouts": select(func.max(col(Rollout.step_since))),
        "verdicts": select(func.max(col(VerdictRecord.id))),
        "incidents": select(func.max(col(IncidentNote.id))),  # all that happens to one is a note
        "drift": select(func.max(col(DriftReport.made_at))),
        "windows": select(func.max(col(FeatureWindow.id))),
        "jobs": select(func.count()).where(col(JobState.ok).is_(False)),
        "finished": select(func.max(col(Run.finished_at))),
        "begun": select(func.max(col(Run.started_at))),
        "hours": select(func.max(col(MetricHour.rolled_at))),
    }
    query = select(*(mark.scalar_subquery().label(name) for name, mark in marks.items()))
    row = session.connection().execute(query).one()
    pulse = {name: str(getattr(row, name)) for name in marks}
    pulse["runs"] = f"{pulse['begun']} {pulse['finished']} {_progress(session)}"
    return pulse


def _progress(session: Session) -> str:
    """Return when the runs that go on last told something."""
    query = select(col(Run.folder)).where(col(Run.status).in_(["queued", "running"]))
    files = (Path(folder) / FILE for (folder,) in session.connection().execute(query))
    return " ".join(str(file.stat().st_mtime_ns) for file in files if file.is_file())


class Live:
    """The one look, and the streams that wait for it."""

    def __init__(self, store: Store, sessions: Sessions, every_s: float) -> None:
        self._store = store
        self._sessions = sessions
        self._every_s = every_s
        self._watching = 0
        self._pulse: Pulse = {}
        self._looked = asyncio.Event()  # replaced at each look
        self.looks = 0
        self.is_ending: Callable[[], bool] = lambda: False  # the server says when it stops

    @property
    def watching(self) -> int:
        """How many streams are open."""
        return self._watching

    async def run(self) -> None:
        """Look again and again while anybody watches."""
        while True:
            await asyncio.sleep(self._every_s)
            if self._watching:
                await self._look()
            self._wake()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Look while inside."""
        task = asyncio.create_task(self.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def stream(
        self, topics: tuple[str, ...], session: Mapping[str, Any]
    ) -> AsyncGenerator[ServerSentEventMessage]:
        """Yield a word whenever one of the topics changed, until the session ends."""
        self._watching += 1
        try:
            if self._watching == 1 or not self._pulse:
                await self._look()  # what happened while nobody watched is no news
            yield ServerSentEventMessage(event="live", data="", retry=RETRY_MS)
            seen = self._of(topics)
            quiet_s = 0.0
            while not self.is_ending():
                await self._looked.wait()
                if self._sessions.holder(session) is None:
                    yield ServerSentEventMessage(event="ended", data="")
                    return
                now, quiet_s = self._of(topics), quiet_s + self._every_s
                if now != seen:
                    seen, quiet_s = now, 0.0
                    yield ServerSentEventMessage(event="changed", data="")
                elif quiet_s >= QUIET_S:
                    quiet_s = 0.0
                    yield ServerSentEventMessage(comment="still here", data=None)
        finally:
            self._watching -= 1

    def _of(self, topics: tuple[str, ...]) -> tuple[str | None, ...]:
        return tuple(self._pulse.get(topic) for topic in topics)

    async def _look(self) -> None:
        self.looks += 1
        try:
            self._pulse = await asyncio.to_thread(self._read)
        except SQLAlchemyError as error:  # the pages say it, too; the next look may find it back
            _log.warning("console_live_failed", error=str(error.__cause__ or error))

    def _read(self) -> Pulse:
        with self._store.session() as session:
            return read_pulse(session)

    def _wake(self) -> None:
        looked, self._looked = self._looked, asyncio.Event()
        looked.set()


def live_routes(live: Live, sessions: Sessions) -> list[Any]:
    """Return the streams."""

    @get("/live/{name:str}")
    async def follow(request: Request[Any, Any, Any], name: str) -> ServerSentEvent:
        sessions.caller(request)
        topics = TOPICS.get(name, ())
        stream = live.stream(topics, dict(request.session))
        # no proxy may keep it back until it is whole
        return ServerSentEvent(stream, headers={"x-accel-buffering": "no"})

    return [follow]
