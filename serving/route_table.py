"""SERVE: what every application serves now, read from the store in the background.

Rows of Application, Rollout, Adapter and AdapterReplica come in every `route_refresh_s`; out
comes an immutable snapshot, so that no request waits for the database. When the store fails,
the last good snapshot stays and the log says so. Knows nothing of requests.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, col, select

from feedback.store import Store
from feedback.tables import Adapter, AdapterReplica, Application, Rollout
from serving.routing import ACTIVE_STATES, RolloutRoute, Route

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Routes by application, and which ready adapters belong to it."""

    routes: Mapping[str, Route]
    owned: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])

    def route(self, application: str) -> Route:
        """Return the route; an application without a row serves the base model."""
        return self.routes.get(application) or Route(application, None, None, frozenset())

    def ready_adapters(self, application: str) -> frozenset[str]:
        """Return the application's own adapters that the engine has ready."""
        return self.owned.get(application, frozenset())


class RouteTable:
    """The newest good snapshot; `current` is None until the first one."""

    def __init__(self, store: Store, engine_url: str) -> None:
        self._store = store
        self._engine_url = engine_url
        self.current: Snapshot | None = None
        self.read_at_s = -math.inf  # monotonic: when `current` was

    def refresh(self) -> None:
        """Read the tables once; a store that fails leaves the snapshot as it is."""
        try:
            with self._store.session() as session:
                self.current = read_snapshot(session, self._engine_url)
            self.read_at_s = time.monotonic()
        except SQLAlchemyError as error:
            _log.error(
                "route_refresh_failed", error=str(error), has_routes=self.current is not None
            )

    async def refresh_forever(self, every_s: float) -> None:
        """Refresh in a thread, again and again, until cancelled."""
        while True:
            await asyncio.sleep(every_s)
            await asyncio.to_thread(self.refresh)


def read_snapshot(session: Session, engine_url: str) -> Snapshot:
    """Return what the tables say now for the engine at `engine_url`."""
    ready = frozenset(
        session.exec(
            select(AdapterReplica.adapter).where(
                AdapterReplica.engine == engine_url, AdapterReplica.state == "ready"
            )
        ).all()
    )
    rollouts = _active_rollouts(session)
    routes = {
        row.name: Route(row.name, row.live_adapter, rollouts.get(row.name), ready)
        for row in session.exec(select(Application)).all()
    }
    return Snapshot(routes, _owners(session, ready))


def _active_rollouts(session: Session) -> dict[str, RolloutRoute]:
    """Return one rollout per application: the newest, should there ever be two."""
    rows = session.exec(
        select(Rollout)
        .where(col(Rollout.state).in_(ACTIVE_STATES), col(Rollout.finished_at).is_(None))
        .order_by(col(Rollout.created_at))
    ).all()
    return {
        row.application: RolloutRoute(
            id=row.id,
            baseline_adapter=row.baseline_adapter,
            canary_adapter=row.canary_adapter,
            state=row.state,
            step=row.step,
            share=row.share,
            salt=row.salt,
        )
        for row in rows
    }


def _owners(session: Session, ready: frozenset[str]) -> dict[str, frozenset[str]]:
    rows = session.exec(
        select(Adapter.application, Adapter.name).where(col(Adapter.name).in_(ready))
    ).all()
    applications = {application for application, _ in rows}
    return {
        owner: frozenset(name for application, name in rows if application == owner)
        for owner in applications
    }
