"""The interval of a difference between two models: right as often as it says, and no more."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import DataError
from retrain.gate import bootstrap
from retrain.gate.bootstrap import paired_bootstrap

SCORES = st.lists(st.floats(0.0, 1.0), min_size=2, max_size=30)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Of 300 samples of 60 questions, some 95 % hold the true difference of 0.05."""
    random = np.random.default_rng(1)
    held = 0
    for sample in range(300):
        easy_N = random.beta(2.0, 2.0, 60)  # what both models share
        live_N = (random.random(60) < easy_N).astype(float)
        candidate_N = (random.random(60) < np.clip(easy_N + 0.05, 0.0, 1.0)).astype(float)
        truth = 0.05 - float(np.mean(np.maximum(random.beta(2.0, 2.0, 20_000) - 0.95, 0.0)))
        found = paired_bootstrap(candidate_N.tolist(), live_N.tolist(), draws=1_000, seed=sample)
        held += found.low <= truth <= found.high
    assert 0.91 <= held / 300 <= 0.985


def test_skewed_differences_have_a_skewed_interval() -> None:
    """One question of forty that is much better does not make it symmetric."""
    candidate = [0.5] * 39 + [1.0]
    found = paired_bootstrap(candidate, [0.5] * 40)
    assert found.mean == pytest.approx(0.0125)
    assert found.high - found.mean > 1.5 * (found.mean - found.low)


@settings(max_examples=25, deadline=None)
@given(scores=SCORES, shift=st.floats(-0.5, 0.5))
def test_models_can_be_exchanged_and_shifted(scores: list[float], shift: float) -> None:
    """The other way round it is the mirrored interval; what is added to all is in the mean."""
    live = list(reversed(scores))
    one = paired_bootstrap(scores, live, draws=400)
    other = paired_bootstrap(live, scores, draws=400)
    assert one.mean == pytest.approx(-other.mean)
    moved = paired_bootstrap([score + shift for score in scores], live, draws=400)
    assert moved.mean == pytest.approx(one.mean + shift)
    assert one.low - 1e-12 <= one.mean <= one.high + 1e-12 or one.low <= one.high


def test_equal_seeds_give_equal_intervals_in_any_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A verdict can be computed again, whatever the memory."""
    random = np.random.default_rng(3)
    one, other = random.random(50).tolist(), random.random(50).tolist()
    whole = paired_bootstrap(one, other, draws=500, seed=9)
    assert paired_bootstrap(one, other, draws=500, seed=9) == whole
    assert paired_bootstrap(one, other, draws=500, seed=8) != whole
    monkeypatch.setattr(bootstrap, "CHUNK", 50 * 100)
    assert paired_bootstrap(one, other, draws=500, seed=9) == whole


def test_a_constant_difference_is_certain() -> None:
    """All questions say the same."""
    found = paired_bootstrap([0.75, 0.5], [0.5, 0.25])
    assert (found.low, found.mean, found.high, found.questions) == (0.25, 0.25, 0.25, 2)


def test_what_cannot_be_compared_is_told() -> None:
    """No questions, unequal ones, and scores that are no numbers."""
    for one, other in (([], []), ([0.1], [0.1, 0.2])):
        with pytest.raises(DataError, match="one of each model for each"):
            paired_bootstrap(one, other)
    with pytest.raises(DataError, match="not finite"):
        paired_bootstrap([float("nan")], [0.1])
