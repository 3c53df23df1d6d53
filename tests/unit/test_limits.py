"""Token buckets never give more than their quota, and say truly when there is more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.limits import Bucket, MemoryBudget, Quota, refilled, taken

QUOTA = Quota(60)  # one a second


class Clock:
    """A clock that tests turn."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_bucket_refills_evenly_up_to_a_minutes_worth() -> None:
    """A clock that jumps back refills nothing."""
    assert refilled(Bucket(0.0, 10.0), QUOTA, 15.0) == Bucket(5.0, 15.0)
    assert refilled(Bucket(50.0, 10.0), QUOTA, 99.0) == Bucket(60.0, 99.0)
    assert refilled(Bucket(5.0, 10.0), QUOTA, 3.0) == Bucket(5.0, 3.0)


def test_what_is_not_there_is_not_taken_and_the_wait_is_told() -> None:
    """After that wait it is there."""
    bucket, wait_s = taken(Bucket(2.0, 0.0), QUOTA, 5.0, 0.0)
    assert (bucket.level, wait_s) == (2.0, 3.0)
    assert taken(bucket, QUOTA, 5.0, wait_s)[1] == 0.0


def test_more_than_a_minutes_worth_takes_a_full_bucket() -> None:
    """Else a large request could never be answered."""
    assert taken(Bucket(60.0, 0.0), QUOTA, 1000.0, 0.0) == (Bucket(0.0, 0.0), 0.0)
    assert taken(Bucket(59.0, 0.0), QUOTA, 1000.0, 0.0)[1] == pytest.approx(1.0)


@given(
    st.integers(1, 1000),
    st.lists(st.tuples(st.floats(0, 20), st.floats(0.1, 200)), max_size=60),
)
def test_never_more_than_a_minutes_worth_and_what_refilled(
    per_minute: int, wishes: list[tuple[float, float]]
) -> None:
    """Whatever is asked for and whenever."""
    quota, bucket, now_s, used = Quota(per_minute), Bucket(float(per_minute), 0.0), 0.0, 0.0
    for pause_s, amount in wishes:
        now_s += pause_s
        before = refilled(bucket, quota, now_s).level
        bucket, wait_s = taken(bucket, quota, amount, now_s)
        used += before - bucket.level if wait_s == 0 else 0.0
        assert used <= per_minute + now_s * quota.per_second + 1e-6


async def test_a_budget_gives_back_and_takes_beyond() -> None:
    """An estimate that was too low is paid for by those who come later."""
    clock = Clock()
    budget = MemoryBudget(clock)
    assert await budget.take("a", QUOTA, 50) == 0.0
    await budget.give_back("a", QUOTA, 20)
    assert await budget.take("a", QUOTA, 30) == 0.0
    await budget.give_back("a", QUOTA, -30)
    assert await budget.take("a", QUOTA, 1) == pytest.approx(31.0)
    assert await budget.take("b", QUOTA, 60) == 0.0, "another bucket"
    await budget.give_back("b", QUOTA, 1e9)
    assert await budget.take("b", QUOTA, 60) == 0.0
    assert await budget.take("b", QUOTA, 1) == pytest.approx(1.0), "never fuller than full"
    await budget.close()


async def test_full_buckets_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory does not grow with all keys that ever called; a used bucket stays."""
    monkeypatch.setattr("feedback.limits.MAX_BUCKETS", 3)
    clock = Clock()
    budget = MemoryBudget(clock)
    await budget.take("used up", QUOTA, 60)
    clock.now_s += 5
    for name in "abc":
        await budget.take(name, Quota(6000), 1)
    clock.now_s += 5
    await budget.take("d", QUOTA, 1)
    assert await budget.take("used up", QUOTA, 60) == pytest.approx(50.0)
    assert len(budget._buckets) == 2  # pyright: ignore[reportPrivateUsage]
