"""The budget in memory and the one in PostgreSQL keep the same promises."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.errors import SettingsError
from core.ids import new_id
from feedback.limits import Budget, MemoryBudget, Quota
from feedback.store import Store
from serving.shared_limits import LEASES, SharedBudget

SLOW = Quota(60)  # one a second: nothing to speak of refills during a test
KINDS = ("memory", "postgresql")


@pytest.fixture(params=KINDS)
async def budget(request: pytest.FixtureRequest) -> AsyncIterator[Budget]:
    """One budget of each kind."""
    if request.param == "memory":
        yield MemoryBudget()
        return
    store = Store(request.getfixturevalue("postgresql_url"))
    store.create_tables()
    shared = SharedBudget(store)
    yield shared
    await shared.close()
    store.close()


@pytest.fixture
def name() -> str:
    """A bucket that no other test uses."""
    return new_id()


async def test_a_minutes_worth_passes_and_no_more(budget: Budget, name: str) -> None:
    """The one that does not is told how long to wait."""
    began_s = time.monotonic()
    waits = [await budget.take(name, SLOW, 1) for _ in range(65)]
    passed = [wait for wait in waits if wait == 0.0]
    assert 60 <= len(passed) <= min(64, 62 + time.monotonic() - began_s)
    assert 0.0 < waits[-1] <= 1.0


async def test_many_at_once_do_not_get_more(budget: Budget, name: str) -> None:
    """Coroutines that race for a bucket share it."""
    began_s = time.monotonic()
    waits = await asyncio.gather(*(budget.take(name, SLOW, 1) for _ in range(100)))
    refilled = time.monotonic() - began_s  # one a second
    assert 60 <= sum(wait == 0.0 for wait in waits) <= 62 + refilled


async def test_what_is_given_back_can_be_taken_again(budget: Budget, name: str) -> None:
    """An estimate that was too high is corrected."""
    quota = Quota(1000)
    assert await budget.take(name, quota, 1000) == 0.0
    assert await budget.take(name, quota, 500) > 20.0
    await budget.give_back(name, quota, 600)
    await asyncio.sleep(0.2)  # a shared budget returns it behind the answer's back
    assert await budget.take(name, quota, 500) == 0.0


async def test_what_is_left_is_told(budget: Budget, name: str) -> None:
    """A bucket that nobody used is full; what was taken is gone, what was given back is there."""
    quota = Quota(600)  # ten a second: a slow machine refills some during the test
    assert budget.left(name, quota) == 600
    await budget.take(name, quota, 400)
    assert 199 <= budget.left(name, quota) <= 250
    assert await budget.take(name, quota, 500) > 0.0
    assert 199 <= budget.left(name, quota) <= 300
    await budget.give_back(name, quota, 10)
    assert 209 <= budget.left(name, quota) <= 350


async def test_what_was_used_beyond_the_estimate_is_paid_for(budget: Budget, name: str) -> None:
    """The next one waits longer."""
    quota = Quota(600)
    assert await budget.take(name, quota, 100) == 0.0
    await budget.give_back(name, quota, -500)
    await asyncio.sleep(0.2)
    assert await budget.take(name, quota, 100) > 0.0


async def test_more_than_a_minutes_worth_takes_a_full_bucket(budget: Budget, name: str) -> None:
    """Once; the next has to wait."""
    assert await budget.take(name, SLOW, 1e6) == 0.0
    assert await budget.take(name, SLOW, 1) > 0.0


async def test_buckets_are_apart(budget: Budget, name: str) -> None:
    """One key does not use up another's."""
    await budget.take(name, SLOW, 60)
    assert await budget.take(f"{name} other", SLOW, 60) == 0.0


async def test_gateways_that_share_stay_within_the_quota(postgresql_url: str, name: str) -> None:
    """Together they never exceed it, and what lies idle in leases is at most one lease each."""
    stores = [Store(postgresql_url), Store(postgresql_url)]
    stores[0].create_tables()
    gateways = [SharedBudget(store) for store in stores]
    quota = Quota(600)
    passed = [
        wait == 0.0
        for _ in range(400)
        for wait in await asyncio.gather(*(each.take(name, quota, 1) for each in gateways))
    ]
    lease = quota.per_minute / LEASES
    refilled = 30 * quota.per_second  # generous: the test itself takes some seconds
    assert 600 - 2 * lease <= sum(passed) <= 600 + refilled
    for gateway, store in zip(gateways, stores, strict=True):
        await gateway.close()
        store.close()


async def test_late_comers_do_not_get_what_others_spent_meanwhile(
    budget: Budget, name: str
) -> None:
    """Takes of all sizes that come one after the other, while leases are under way, add up."""
    quota, taken_in_all = Quota(3_000), 0

    async def come(number: int) -> None:
        nonlocal taken_in_all
        await asyncio.sleep(number * 0.0007)
        amount = 10 + number % 90
        if await budget.take(name, quota, amount) == 0.0:
            taken_in_all += amount

    began_s = time.monotonic()
    await asyncio.gather(*(come(number) for number in range(400)))
    refilled = (time.monotonic() - began_s) * quota.per_second
    assert taken_in_all <= quota.per_minute + refilled + 1


async def test_a_lost_database_leaves_each_gateway_its_own_limit(name: str) -> None:
    """Answers go on, and are still limited."""
    shared = SharedBudget(Store("postgresql+psycopg://nobody@127.0.0.1:9/none"))
    waits = [await shared.take(name, Quota(3), 1) for _ in range(4)]
    assert waits[:3] == [0.0, 0.0, 0.0]
    assert waits[3] > 0.0
    await shared.close()


def test_sqlite_cannot_be_shared(tmp_path: Path) -> None:
    """The setting is named, with the mend."""
    with pytest.raises(SettingsError, match=r"gateway\.shared_limits.*set store_url"):
        SharedBudget(Store(f"sqlite:///{tmp_path / 'store.db'}"))
