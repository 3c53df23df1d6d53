"""SERVE: makes the engine's loaded adapters equal what the tables want.

Wanted are the live adapters of all applications and both adapters of every active rollout. What
is missing is loaded and tried with one token before it is `ready`; what no row wants is
unloaded. One AdapterReplica row says how each stands. An engine that restarted has forgotten
everything, which the next turn sees and mends. Knows nothing of traffic.

    ratchet engine
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, col, select

from core.clock import as_utc, utc_now
from core.errors import AdapterRefused, EngineError, RequestError
from feedback.store import Store
from feedback.tables import Adapter, AdapterReplica, Application, Rollout
from serving.engine_client import EngineClient, NotConnected
from serving.routing import ACTIVE_STATES

FIRST_PAUSE_S = 1.0  # after a failed attempt; doubles
LONGEST_PAUSE_S = 60.0
# vLLM answers 500 both for what passes and for what never will (a rank that is too large, say):
# an adapter that fails so often in a row on an engine that is there is refused
MAX_ATTEMPTS = 3

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """An adapter that the engine should have; `folder` None: no row says where its files are."""

    name: str
    folder: str | None


class Reconciler:
    """One engine's adapters; `client` is open. Blocks its event loop while it asks the store."""

    def __init__(self, store: Store, client: EngineClient) -> None:
        self._store = store
        self._client = client

    async def run(self, every_s: float) -> None:
        """Reconcile until cancelled; a fault of the engine or the store waits for the next turn."""
        self._forget_earlier_engine()
        while True:
            try:
                await self.reconcile_once()
            except NotConnected as error:
                _log.debug("reconcile_waits_for_engine", error=str(error))
            except EngineError as error:
                _log.warning("reconcile_engine_failed", error=str(error))
            except SQLAlchemyError as error:
                _log.error("reconcile_store_failed", error=str(error))
            await asyncio.sleep(every_s)

    async def reconcile_once(self) -> None:
        """Unload, load and try what is due now.

        Raises: EngineError, EngineUnavailable when the engine does not say what it has.
        """
        loaded = await self._client.adapters()
        with self._store.session() as session:
            wanted = _wanted(session)
            replicas = self._replicas(session)
        names = {adapter.name for adapter in wanted}
        for name in sorted({*loaded, *replicas} - names):
            await self._remove(name, is_loaded=name in loaded)
        now = utc_now()
        for adapter in wanted:
            if is_due(replicas.get(adapter.name), loaded, now):
                await self._make_ready(adapter, loaded)

    async def _make_ready(self, adapter: Wanted, loaded: dict[str, str | None]) -> None:
        """Load and try one adapter, and write down how that went."""
        self._record(adapter.name, "loading")
        try:
            await self._load(adapter, loaded)
            await self._client.try_adapter(adapter.name)
        except NotConnected:
            raise  # not the adapter's fault, and no attempt
        except AdapterRefused as error:
            self._record(adapter.name, "refused", str(error))
        except (EngineError, RequestError) as error:
            await self._fail(adapter.name, str(error))
        else:
            self._record(adapter.name, "ready")

    async def _load(self, adapter: Wanted, loaded: dict[str, str | None]) -> None:
        if adapter.folder is None:
            raise AdapterRefused(
                f"adapter {adapter.name} is not in the registry: register it, or name another one"
            )
        if adapter.name not in loaded:
            await self._client.load(adapter.name, adapter.folder)
        elif loaded[adapter.name] != adapter.folder:
            raise AdapterRefused(
                f"the engine has other files under the name {adapter.name} "
                f"({loaded[adapter.name]}): a name is never used twice, restart the engine"
            )

    async def _fail(self, name: str, error: str) -> None:
        """Note a failed attempt; the next one, if there is one, starts from scratch."""
        with self._store.session() as session:
            replica = session.get(AdapterReplica, (name, self._client.url))
            attempts = 1 + (replica.attempts if replica else 0)
        state = "refused" if attempts >= MAX_ATTEMPTS else "failed"
        self._record(name, state, error, attempts=attempts)
        await self._client.unload(name)

    async def _remove(self, name: str, *, is_loaded: bool) -> None:
        with self._store.session() as session:  # first: from then on no traffic comes
            if replica := session.get(AdapterReplica, (name, self._client.url)):
                session.delete(replica)
                session.commit()
        if is_loaded:
            await self._client.unload(name)
            _log.info("adapter_unloaded", adapter=name, engine=self._client.url)

    def _record(self, name: str, state: str, error: str | None = None, attempts: int = 0) -> None:
        """Write the replica's row; `loading` keeps the count of failed attempts."""
        with self._store.session() as session:
            replica = session.get(AdapterReplica, (name, self._client.url)) or AdapterReplica(
                adapter=name, engine=self._client.url, state=state
            )
            replica.state, replica.error, replica.checked_at = state, error, utc_now()
            if state != "loading":
                replica.attempts = attempts
            session.add(replica)
            session.commit()
        report = _log.warning if error else _log.info
        report("adapter_replica", adapter=name, state=state, error=error, attempts=attempts)

    def _replicas(self, session: Session) -> dict[str, AdapterReplica]:
        rows = session.exec(
            select(AdapterReplica).where(AdapterReplica.engine == self._client.url)
        ).all()
        return {row.adapter: row for row in rows}

    def _forget_earlier_engine(self) -> None:
        """Drop what an earlier process noted: its engine may have had other settings."""
        try:
            with self._store.session() as session:
                for replica in self._replicas(session).values():
                    session.delete(replica)
                session.commit()
        except SQLAlchemyError as error:
            _log.error("reconcile_store_failed", error=str(error))


def is_due(replica: AdapterReplica | None, loaded: Collection[str], now: datetime) -> bool:
    """Return whether a wanted adapter must be loaded and tried now."""
    if replica is None or replica.state == "loading":  # new, or interrupted
        return True
    if replica.state == "failed":
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (replica.attempts - 1))
        return now >= as_utc(replica.checked_at) + timedelta(seconds=pause_s)
    return replica.state == "ready" and replica.adapter not in loaded


def _wanted(session: Session) -> list[Wanted]:
    """Return the live adapters, then those of rollouts: what serves most comes back first."""
    live = session.exec(select(Application.live_adapter)).all()
    rollouts = session.exec(
        select(Rollout).where(
            col(Rollout.state).in_(ACTIVE_STATES), col(Rollout.finished_at).is_(None)
        )
    ).all()
    both = [name for row in rollouts for name in (row.baseline_adapter, row.canary_adapter)]
    names = list(dict.fromkeys(name for name in (*live, *both) if name is not None))
    folders = dict(
        session.exec(select(Adapter.name, Adapter.path).where(col(Adapter.name).in_(names))).all()
    )
    return [Wanted(name, folders.get(name)) for name in names]
