"""How fast the tokens of a stream came."""

from __future__ import annotations

import pytest

from serving.pace import Pace


def paced(*moments_s: float) -> Pace:
    """Return the pace of a stream whose texts came then."""
    pace = Pace()
    for moment_s in moments_s:
        pace.note(moment_s)
    return pace


def test_tokens_are_paced_from_the_first_to_the_last() -> None:
    """Three tokens have two pauses between them."""
    pace = paced(0.5, 0.6, 0.9)
    assert pace.first_s == 0.5
    assert pace.itl_s(3) == pytest.approx(0.2)


def test_the_engines_count_goes_before_the_events() -> None:
    """An event may carry several tokens; events are counted only where the engine did not say."""
    pace = paced(0.5, 0.6, 0.9)
    assert pace.itl_s(5) == pytest.approx(0.1)
    assert (pace.tokens(5), pace.tokens(None), pace.tokens(0)) == (5, 3, 3)
    assert pace.itl_s(None) == pytest.approx(0.2)


@pytest.mark.parametrize("pace", [paced(), paced(0.5)])
def test_fewer_than_two_tokens_have_no_pace(pace: Pace) -> None:
    """There is no pause to measure."""
    assert pace.itl_s(None) is None
    assert pace.tokens(None) == (pace.events or None)
    assert pace.tokens(0) == pace.events
