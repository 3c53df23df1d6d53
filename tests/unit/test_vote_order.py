"""The later vote says that it is later, whatever the wall clock did between the two."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from feedback.vote_order import TICK, VoteOrder

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)

moves = st.lists(st.tuples(st.sampled_from("abc"), st.integers(-7_200, 7_200)), max_size=30)


@given(moves)
def test_votes_on_one_interaction_are_in_their_order(votes: list[tuple[str, int]]) -> None:
    """However the clock is moved between them."""
    order = VoteOrder(10)
    given_at: dict[str, list[datetime]] = {}
    for interaction, moved_s in votes:
        now = NOW + timedelta(seconds=moved_s)
        given_at.setdefault(interaction, []).append(order.given_at(interaction, now))
    for instants in given_at.values():
        assert all(earlier < later for earlier, later in pairwise(instants))


def test_a_clock_that_goes_on_is_believed() -> None:
    """Nothing is moved that needs not be, and other interactions never."""
    order = VoteOrder(10)
    assert order.given_at("a", NOW) == NOW
    assert order.given_at("a", NOW + HOUR) == NOW + HOUR
    assert order.given_at("b", NOW - HOUR) == NOW - HOUR
    assert order.given_at("a", NOW) == NOW + HOUR + TICK


def test_the_oldest_are_forgotten() -> None:
    """Memory stays flat; an interaction that was rated again is among the newest."""
    order = VoteOrder(2)
    for interaction in "abac":
        order.given_at(interaction, NOW)
    assert order.given_at("b", NOW - HOUR) == NOW - HOUR
    assert order.given_at("c", NOW - HOUR) == NOW + TICK
