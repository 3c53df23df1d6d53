"""Many reviewers at once, on SQLite and on a real PostgreSQL: no slot has two holders."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from core.errors import ConflictError
from curation.review.words import ReviewVerdict
from feedback.store import Store
from feedback.tables import Review, ReviewLease
from tests.unit.review_world import (
    APPROVE,
    Clock,
    desk_of,
    filled,
    review_clock,
    review_store,
    rows,
    taken,
)

__all__ = ["review_clock", "review_store"]  # fixtures


def test_many_reviewers_at_once_never_hold_the_same_slot(store: Store) -> None:
    """Eight people, forty items, two reviewers each, and every item is done exactly once."""
    desk = desk_of(store, reviewers=2)
    filled(desk, 40)

    def work(reviewer: str) -> list[str]:
        had: list[str] = []
        while True:
            try:
                item = desk.take("desk", reviewer)
            except ConflictError:  # others were quicker every time
                continue
            if item is None:
                return had
            had.append(item.item_id)
            desk.decide(reviewer, item.token, APPROVE)

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(work, [f"reviewer {n}" for n in range(8)]))
    assert all(len(set(had)) == len(had) for had in done)
    counts = Counter(item for had in done for item in had)
    assert sorted(counts.values()) == [2] * 40
    assert set(desk.outcomes("desk").values()) == {ReviewVerdict("approved")}
    assert len(desk.outcomes("desk")) == 40
    assert len(rows(store, Review)) == len(rows(store, ReviewLease)) == 80


def test_one_slot_that_many_want_at_once_goes_to_one(store: Store, clock: Clock) -> None:
    """Of a fresh item, and of one whose lease has just ended."""
    desk = desk_of(store, clock, lease_s=60)
    filled(desk, 1)
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            got = list(pool.map(desk.take, ["desk"] * 8, [f"reviewer {n}" for n in range(8)]))
            assert sum(item is not None for item in got) == 1
            clock.wait(60)


def test_the_last_two_decisions_at_once_close_the_item(store: Store) -> None:
    """Neither overlooks the other, which would leave the item open for ever."""
    desk = desk_of(store, reviewers=2)
    filled(desk, 20)
    for _ in range(20):
        people = ("ann", "bob")
        tokens = [taken(desk, who).token for who in people]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(desk.decide, people, tokens, [APPROVE] * 2))
    assert len(desk.outcomes("desk")) == 20


def test_a_decision_sent_twice_at_once_is_written_once(store: Store) -> None:
    """One of the two says that it repeats the other."""
    desk = desk_of(store)
    filled(desk, 10)
    for _ in range(10):
        token = taken(desk, "ann").token
        with ThreadPoolExecutor(2) as pool:
            done = list(pool.map(desk.decide, ["ann"] * 2, [token] * 2, [APPROVE] * 2))
        assert sorted(one.repeated for one in done) == [False, True]
    assert len(rows(store, Review)) == 10
