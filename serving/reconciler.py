"""SERVE: makes the engine's loaded adapters equal what the tables want.

Wanted are the live adapters of all applications, both adapters of every active rollout and what
the settings pin. What is missing is loaded and tried with one token before it is `ready`; what
nobody wants is `draining` for a while, so that no gateway sends it requests any more, and then
unloaded. One AdapterReplica row says how each stands, an EngineReplica row whether the engine
answers. An engine that restarted has forgotten everything, which the next turn sees and mends.
Knows nothing of traffic.

    ratchet engine
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, col, select

from core.clock import as_utc, utc_now
from core.errors import AdapterRefused, EngineError, RequestError
from core.ids import gate_run
from feedback.store import Store
from feedback.tables import Adapter, AdapterReplica, Application, EngineReplica, Rollout, Run
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
    """One engine's adapters; `client` is open. Blocks its event loop while it asks the store.

    `pinned` are wanted whatever the tables say; `drain_s` is how long an adapter that nobody
    wants any more may finish its answers.
    """

    def __init__(
        self,
        store: Store,
        client: EngineClient,
        *,
        pinned: Iterable[str] = (),
        drain_s: float = 0.0,
    ) -> None:
        self._store = store
        self._client = client
        self._pinned = tuple(pinned)
        self._drain_s = drain_s

    async def run(self, every_s: float, *, keeps_ready: bool = False) -> None:
        """Reconcile until cancelled; a fault of the engine or the store waits for the next turn.

        `keeps_ready` says that the engine may have run before: what it has stays ready.
        """
        self._forget_earlier_engine(keeps_ready)
        while True:
            try:
                await self._turn()
            except SQLAlchemyError as error:
                _log.error("reconcile_store_failed", error=str(error))
            await asyncio.sleep(every_s)

    async def _turn(self) -> None:
        state = "down"
        try:
            await self.reconcile_once()
            state = "up"
        except NotConnected as error:
            _log.debug("reconcile_waits_for_engine", error=str(error))
        except EngineError as error:
            _log.warning("reconcile_engine_failed", engine=self._client.url, error=str(error))
        self._note_engine(state)

    async def reconcile_once(self) -> None:
        """Unload, load and try what is due now.

        Raises: EngineError, EngineUnavailable when the engine does not say what it has.
        """
        loaded = await self._client.adapters()
        with self._store.session() as session:
            wanted = _wanted(session, self._pinned)
            replicas = self._replicas(session)
            asked = _asked_by_gates(session, loaded)
        names = {adapter.name for adapter in wanted} | asked
        now = utc_now()
        for name in sorted({*loaded, *replicas} - names):
            if name not in loaded:
                self._delete(name)
            elif self._has_drained(replicas.get(name), name, now):
                await self._remove(name)
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

    def _has_drained(self, replica: AdapterReplica | None, name: str, now: datetime) -> bool:
        """Return whether no gateway has used the adapter for long enough; first, tell them."""
        if replica is None or replica.state != "draining":
            self._record(name, "draining")
            return self._drain_s == 0.0
        return now >= as_utc(replica.checked_at) + timedelta(seconds=self._drain_s)

    async def _remove(self, name: str) -> None:
        await self._client.unload(name)
        self._delete(name)
        _log.info("adapter_unloaded", adapter=name, engine=self._client.url)

    def _delete(self, name: str) -> None:
        with self._store.session() as session:
            if replica := session.get(AdapterReplica, (name, self._client.url)):
                session.delete(replica)
                session.commit()

    def _note_engine(self, state: str) -> None:
        """Write down whether the engine answers, if that has changed."""
        with self._store.session() as session:
            row = session.get(EngineReplica, self._client.url)
            if row is not None and row.state == state:
                return
            session.merge(EngineReplica(engine=self._client.url, state=state))
            session.commit()
        _log.info("engine_replica", engine=self._client.url, state=state)

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
        report(
            "adapter_replica",
            adapter=name,
            engine=self._client.url,
            state=state,
            error=error,
            attempts=attempts,
        )

    def _replicas(self, session: Session) -> dict[str, AdapterReplica]:
        rows = session.exec(
            select(AdapterReplica).where(AdapterReplica.engine == self._client.url)
        ).all()
        return {row.adapter: row for row in rows}

    def _forget_earlier_engine(self, keeps_ready: bool) -> None:
        """Drop what an earlier process noted: its engine may have had other settings."""
        kept = {"ready", "draining"} if keeps_ready else set[str]()
        try:
            with self._store.session() as session:
                for replica in self._replicas(session).values():
                    if replica.state not in kept:
                        session.delete(replica)
                session.commit()
        except SQLAlchemyError as error:
            _log.error("reconcile_store_failed", error=str(error))


def is_due(replica: AdapterReplica | None, loaded: Collection[str], now: datetime) -> bool:
    """Return whether a wanted adapter must be loaded and tried now."""
    if replica is None or replica.state in {"loading", "draining"}:  # new, interrupted, or back
        return True
    if replica.state == "failed":
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (replica.attempts - 1))
        return now >= as_utc(replica.checked_at) + timedelta(seconds=pause_s)
    return replica.state == "ready" and replica.adapter not in loaded


def forget_other_engines(session: Session, engines: Collection[str]) -> None:
    """Drop the rows of engines that are not among `engines`: nobody keeps them in order."""
    for table in (AdapterReplica, EngineReplica):
        for row in session.exec(select(table).where(col(table.engine).not_in(engines))).all():
            session.delete(row)


def _asked_by_gates(session: Session, loaded: Collection[str]) -> set[str]:
    """Return the names under which gates of running runs ask this engine: theirs to unload."""
    runs = {name: run for name in loaded if (run := gate_run(name)) is not None}
    if not runs:
        return set()
    query = select(Run.id).where(col(Run.id).in_(runs.values()), Run.status == "running")
    running = set(session.exec(query).all())
    return {name for name, run in runs.items() if run in running}


def _wanted(session: Session, pinned: tuple[str, ...]) -> list[Wanted]:
    """Return the live adapters, then those of rollouts: what serves most comes back first."""
    live = session.exec(select(Application.live_adapter)).all()
    rollouts = session.exec(
        select(Rollout).where(
            col(Rollout.state).in_(ACTIVE_STATES), col(Rollout.finished_at).is_(None)
        )
    ).all()
    both = [name for row in rollouts for name in (row.baseline_adapter, row.canary_adapter)]
    names = list(dict.fromkeys(name for name in (*live, *pinned, *both) if name is not None))
    folders = dict(
        session.exec(select(Adapter.name, Adapter.path).where(col(Adapter.name).in_(names))).all()
    )
    return [Wanted(name, folders.get(name)) for name in names]
