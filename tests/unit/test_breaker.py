"""A circuit breaker per adapter: opens, tries again, closes."""

from __future__ import annotations

from serving.breaker import Breakers


def opened(limit: int = 2) -> Breakers:
    """Return breakers of which that of `a` opened at 0 s."""
    breakers = Breakers(limit, pause_s=10.0)
    assert [breakers.note("a", ok=False, now_s=0.0) for _ in range(limit)] == [False, True]
    return breakers


def test_errors_in_a_row_open_it_for_one_adapter() -> None:
    """Another adapter is not concerned."""
    breakers = opened()
    assert not breakers.permits("a", 1.0)
    assert breakers.permits("b", 1.0)


def test_a_success_between_errors_keeps_it_closed() -> None:
    """Only errors in a row count."""
    breakers = Breakers(2, pause_s=10.0)
    for ok in (False, True, False):
        breakers.note("a", ok=ok, now_s=0.0)
    assert breakers.permits("a", 0.0)


def test_after_the_pause_one_request_tries() -> None:
    """The next try has to wait for another pause, whatever became of the first."""
    breakers = opened()
    assert [breakers.permits("a", now_s) for now_s in (9.9, 10.0, 10.1, 19.9, 20.0)] == [
        False,
        True,
        False,
        False,
        True,
    ]


def test_a_good_try_closes_it_and_a_bad_one_does_not() -> None:
    """A bad one is no news: it was open already."""
    breakers = opened()
    assert breakers.permits("a", 10.0)
    assert breakers.note("a", ok=False, now_s=12.0) is False
    assert not breakers.permits("a", 21.9)
    assert breakers.permits("a", 22.0)
    breakers.note("a", ok=True, now_s=23.0)
    assert breakers.permits("a", 23.0)
