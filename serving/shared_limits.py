"""SERVE: one budget for several gateways, in PostgreSQL.

Each gateway leases a small part of a bucket by one atomic statement and spends it without asking
again, so that a request seldom waits for the database. What is leased is already taken: gateways
together never use more than the quota, and at most one lease each lies idle. When the database
fails, each gateway limits by itself until it is back. Knows nothing of HTTP or keys.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict

import structlog
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from core.errors import SettingsError
from feedback.limits import MemoryBudget, Quota, wait_until
from feedback.store import Store

SHORTEST_WAIT_S = 0.001  # of a refusal: 0 would say that it was taken
LEASES = 50  # a lease is 2 % of a minute's quota: 50 leases a minute and key at the most

# One row, one statement: refill, then take if it is there. The database's clock is everyone's.
_LEVEL = (
    "least(:size, limitbucket.level + :speed * "
    "greatest(0, extract(epoch from clock_timestamp() - limitbucket.refilled_at)))"
)
_ADD = text(
    "insert into limitbucket (name, level, refilled_at) values (:name, :size, clock_timestamp()) "
    "on conflict (name) do nothing"
)
_TAKE = text(
    f"update limitbucket set level = {_LEVEL} - :amount, refilled_at = clock_timestamp() "
    f"where name = :name and {_LEVEL} >= :amount returning level"
)
_READ = text(f"select {_LEVEL} from limitbucket where name = :name")
_GIVE = text(
    f"update limitbucket set level = least(:size, {_LEVEL} + :amount), "
    "refilled_at = clock_timestamp() where name = :name"
)

_log = structlog.get_logger(__name__)


class SharedBudget:
    """The budget that all gateways on one PostgreSQL share."""

    def __init__(self, store: Store) -> None:
        """Use the store's database.

        Raises: SettingsError when it is no PostgreSQL.
        """
        if store.engine.dialect.name != "postgresql":
            raise SettingsError(
                f"gateway.shared_limits is on, but the store is {store.engine.dialect.name}: "
                "set store_url to a PostgreSQL, or turn it off with a single gateway",
                field="gateway.shared_limits",
            )
        self._engine = store.engine
        self._held: dict[str, float] = {}  # leased and not used
        self._quotas: dict[str, Quota] = {}
        self._asking: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._alone = MemoryBudget()
        self._returning: set[asyncio.Task[None]] = set()

    async def take(self, name: str, quota: Quota, amount: float) -> float:
        """Take `amount` and return 0, or take nothing and return the seconds until it is there."""
        wanted = min(amount, float(quota.per_minute))
        self._quotas[name] = quota
        if self._spend(name, wanted):
            return 0.0
        async with self._asking[name]:  # one asks, the others find what it brought
            while not self._spend(name, wanted):
                try:
                    got, wait_s = await asyncio.to_thread(self._lease, name, quota, wanted)
                except SQLAlchemyError as error:
                    _log.error("shared_limits_failed", error=str(error))
                    return await self._alone.take(name, quota, amount)
                if got == 0.0:
                    # the row may have refilled since it said no
                    return max(wait_s, SHORTEST_WAIT_S)
                # others may have spent meanwhile what this one counted on: then once more
                self._held[name] = self._held.get(name, 0.0) + got
            return 0.0

    async def give_back(self, name: str, quota: Quota, amount: float) -> None:
        """Put back what was taken and not used; a negative amount was used beyond it.

        It stays here, for this gateway's next requests, up to one lease; the rest goes to all.
        """
        self._quotas[name] = quota
        lease = _lease_of(quota)
        held = self._held.get(name, 0.0) + amount
        self._held[name] = min(held, lease)
        if held > lease or held < 0:
            surplus = held - self._held[name] if held > lease else held
            self._held[name] = max(0.0, self._held[name])
            returning = asyncio.create_task(self._return(name, quota, surplus))
            self._returning.add(returning)  # an answer does not wait for it
            returning.add_done_callback(self._returning.discard)

    async def close(self) -> None:
        """Return what was leased and not used."""
        await asyncio.gather(*self._returning)
        for name, held in list(self._held.items()):
            if held > 0:
                self._held[name] = 0.0
                await self._return(name, self._quotas[name], held)

    def _spend(self, name: str, amount: float) -> bool:
        held = self._held.get(name, 0.0)
        if held < amount:
            return False
        self._held[name] = held - amount
        return True

    def _lease(self, name: str, quota: Quota, wanted: float) -> tuple[float, float]:
        """Return how much was leased, and the seconds to wait where that is nothing."""
        missing = wanted - self._held.get(name, 0.0)
        lease = max(missing, _lease_of(quota))
        with self._engine.begin() as connection:
            connection.execute(_ADD, _values(name, quota))
            for amount in dict.fromkeys((lease, missing)):
                if _take(connection, name, quota, amount):
                    return amount, 0.0
            level = connection.execute(_READ, _values(name, quota)).scalar_one()
        return 0.0, wait_until(level, quota, missing)

    async def _return(self, name: str, quota: Quota, amount: float) -> None:
        try:
            await asyncio.to_thread(_give, self._engine, name, quota, amount)
        except SQLAlchemyError as error:  # it refills by itself within the minute
            _log.error("shared_limits_failed", error=str(error))


def _lease_of(quota: Quota) -> float:
    return max(1.0, quota.per_minute / LEASES)


def _values(name: str, quota: Quota) -> dict[str, object]:
    return {"name": name, "size": float(quota.per_minute), "speed": quota.per_second}


def _take(connection: Connection, name: str, quota: Quota, amount: float) -> bool:
    values = _values(name, quota) | {"amount": amount}
    return connection.execute(_TAKE, values).first() is not None


def _give(engine: Engine, name: str, quota: Quota, amount: float) -> None:
    with engine.begin() as connection:
        connection.execute(_ADD, _values(name, quota))
        connection.execute(_GIVE, _values(name, quota) | {"amount": amount})
