"""SERVE: what every application serves now, read from the store in the background.

Rows of Application, Rollout, Adapter and AdapterReplica come in every `route_refresh_s`, with the
settings' overrides; out comes an immutable snapshot, so that no request waits for the database.
When the store fails, the last good snapshot stays and the log says so. Knows nothing of requests.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, col, select

from core.settings import ApplicationSettings
from feedback.store import Store
from feedback.store_view import StoreView
from feedback.tables import Adapter, AdapterReplica, Application, Rollout
from serving.hardware import BASE_MODEL_NAME
from serving.routing import ACTIVE_STATES, Pin, RolloutRoute, Route

NO_ENGINES: frozenset[str] = frozenset()
Overrides = Mapping[str, ApplicationSettings]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Routes by application, which ready adapters belong to it, and which engines have them."""

    routes: Mapping[str, Route]
    owned: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    engines: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])

    def route(self, application: str) -> Route:
        """Return the route; an application without a row serves the base model."""
        return self.routes.get(application) or Route(application, None, None, frozenset())

    def ready_adapters(self, application: str) -> frozenset[str]:
        """Return the application's own adapters that some engine has ready."""
        return self.owned.get(application, frozenset())

    def having(self, adapter: str | None) -> frozenset[str] | None:
        """Return the engines where `adapter` is ready; None for the base model: all have it."""
        return None if adapter is None else self.engines.get(adapter, NO_ENGINES)


class RouteTable(StoreView[Snapshot | None]):
    """The newest good snapshot; `current` is None until the first one.

    `engines` gives the engines that count, `overrides` the applications of the settings.
    """

    def __init__(
        self,
        store: Store,
        engines: Callable[[], Collection[str]],
        overrides: Overrides | None = None,
    ) -> None:
        def read(session: Session) -> Snapshot:
            return read_snapshot(session, engines(), overrides or {})

        super().__init__(store, read, None, self._tell)

    def _tell(self, error: SQLAlchemyError) -> None:
        _log.error("route_refresh_failed", error=str(error), has_routes=self.current is not None)


def read_snapshot(session: Session, engines: Collection[str], overrides: Overrides) -> Snapshot:
    """Return what the tables say now for these engines, with the settings' overrides."""
    having = _ready_engines(session, engines)
    ready = frozenset(having)
    rollouts = _active_rollouts(session)
    live: dict[str, str | None] = dict.fromkeys(overrides)
    live |= {row.name: row.live_adapter for row in session.exec(select(Application)).all()}
    routes = {
        name: Route(name, adapter, rollouts.get(name), ready, *_override(overrides.get(name)))
        for name, adapter in live.items()
    }
    return Snapshot(routes, _owners(session, ready), having)


def _override(settings: ApplicationSettings | None) -> tuple[Pin | None, bool]:
    """Return what the settings pin an application to, and whether it takes canaries."""
    if settings is None:
        return None, True
    if settings.adapter is None:
        return None, settings.canary
    adapter = None if settings.adapter == BASE_MODEL_NAME else settings.adapter
    return Pin(adapter), settings.canary


def _ready_engines(session: Session, engines: Collection[str]) -> dict[str, frozenset[str]]:
    rows = session.exec(
        select(AdapterReplica.adapter, AdapterReplica.engine).where(
            col(AdapterReplica.engine).in_(engines), AdapterReplica.state == "ready"
        )
    ).all()
    having: dict[str, frozenset[str]] = {}
    for adapter, engine in rows:
        having[adapter] = having.get(adapter, NO_ENGINES) | {engine}
    return having


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
