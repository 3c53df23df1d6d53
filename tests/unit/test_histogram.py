"""Histograms of the metrics: what is added up keeps its percentiles."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.histogram import bucket, doublings, merged, quantile


def counted(values: list[float]) -> dict[str, int]:
    """Return the histogram of values."""
    return merged({bucket(value): 1} for value in values)


@given(st.lists(st.floats(1e-4, 1e5), min_size=1), st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_a_percentile_is_at_most_five_percent_off(values: list[float], share: float) -> None:
    """Of whatever values; the rank is the one that was asked for."""
    ordered = sorted(values)
    rank = next(n for n in range(1, len(ordered) + 1) if n >= share * len(ordered))
    found = quantile(counted(values), share)
    assert found == pytest.approx(ordered[rank - 1], rel=0.05)


def test_nothing_has_no_percentile() -> None:
    """None, not 0."""
    assert quantile({}, 0.5) is None
    assert doublings({}) == []


def test_zero_has_a_bucket_of_its_own() -> None:
    """An answer without a token has a length, too."""
    assert quantile(counted([0.0, 0.0, 5.0]), 0.5) == 0.0
    assert doublings(counted([0.0, 3.0])) == [(0, 2, 1), (2, 4, 1)]


def test_doublings_have_no_gap() -> None:
    """A length that nobody had is shown as none."""
    assert doublings(counted([2.5, 20.0])) == [(2, 4, 1), (4, 8, 0), (8, 16, 0), (16, 32, 1)]
