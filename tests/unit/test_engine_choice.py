"""Which engine answers: by the request's beginning, unless that one has too much to do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.engine_choice import HealthRules, check_pause_s, choose_engine, is_ejected

RULES = HealthRules(check_every_s=2.0, eject_after=3, longest_ejection_s=30.0)
IDLE = {f"http://engine-{number}": 0 for number in range(4)}
KEYS = [f"prompt {number}".encode() for number in range(4_000)]

loads = st.dictionaries(st.text(max_size=20), st.integers(0, 50), min_size=1, max_size=6)


def test_one_engine_needs_no_choice() -> None:
    """However much it has to do."""
    assert choose_engine({"only": 1_000}, b"", 1.25) == "only"


def test_a_key_keeps_its_engine() -> None:
    """Requests that begin alike meet the same prefix cache."""
    assert len({choose_engine(IDLE, b"the same", 1.25) for _ in range(10)}) == 1


def test_keys_spread_evenly() -> None:
    """Each of four engines is preferred by a quarter of the keys, within 5 standard deviations."""
    chosen = [choose_engine(IDLE, key, 1.25) for key in KEYS]
    deviation = (len(KEYS) * 0.25 * 0.75) ** 0.5
    assert all(abs(chosen.count(e) - len(KEYS) / 4) < 5 * deviation for e in IDLE)


def test_an_engine_that_goes_moves_only_its_own_keys() -> None:
    """The others keep what their caches hold."""
    gone = next(iter(IDLE))
    left = {engine: 0 for engine in IDLE if engine != gone}
    for key in KEYS:
        before = choose_engine(IDLE, key, 1.25)
        assert before == gone or choose_engine(left, key, 1.25) == before


def test_a_loaded_engine_loses_its_keys_to_the_least_loaded() -> None:
    """Above 1.25 times the mean, caches no longer count."""
    preferred = choose_engine(IDLE, b"hot", 1.25)
    busy = IDLE | {preferred: 8}
    least = next(engine for engine in IDLE if engine != preferred)
    others = {engine: 3 for engine in IDLE if engine not in {preferred, least}}
    assert choose_engine(busy | others | {least: 1}, b"hot", 1.25) == least
    assert choose_engine(IDLE | {preferred: 1}, b"hot", 2.0) != preferred
    assert choose_engine({engine: 8 for engine in IDLE}, b"hot", 1.25) == preferred


@given(loads, st.binary(max_size=300), st.floats(1.01, 4.0))
def test_no_choice_is_loaded_beyond_the_bound(
    loads: dict[str, int], key: bytes, factor: float
) -> None:
    """With the new request, nobody chosen has more than the factor times the mean, rounded up."""
    chosen = choose_engine(loads, key, factor)
    mean = (sum(loads.values()) + 1) / len(loads)
    assert len(loads) == 1 or loads[chosen] + 1 <= factor * mean + 1


def test_an_engine_is_out_after_failures_in_a_row() -> None:
    """Two may be chance, three are not."""
    assert [is_ejected(failures, RULES) for failures in (0, 2, 3, 9)] == [False, False, True, True]


@pytest.mark.parametrize(
    ("failures", "pause_s"), [(0, 2.0), (3, 2.0), (4, 4.0), (5, 8.0), (7, 30.0), (5_000, 30.0)]
)
def test_an_engine_that_stays_away_is_looked_at_less_often(failures: int, pause_s: float) -> None:
    """The pause doubles up to half a minute."""
    assert check_pause_s(failures, RULES) == pause_s


def test_the_pause_is_never_below_the_usual_one() -> None:
    """Also with a longest ejection that is shorter than the pause between two looks."""
    assert check_pause_s(9, HealthRules(5.0, 1, 1.0)) == 5.0
