"""`bench.drift`: its arithmetic, and a small run from beginning to end."""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from scipy import stats

from bench.drift import report
from bench.drift.__main__ import BENCHMARK
from bench.drift.checks import FAMILY, Told, Volume, play, with_drift, without_drift
from bench.drift.figures import STATED, Extent, calm_numbers, drift_numbers, goals, rate
from bench.drift.traffic import DRIFTS

SMALL = Volume(reference=800, window=600, vectors=80)


def told(*severities: str, evidently: tuple[bool, ...] = ()) -> Told:
    """Return what was said of windows in a row."""
    words = {"none": "none", "watch": "watch", "act": "act"}
    return Told(
        tuple(words[one] for one in severities),  # pyright: ignore[reportArgumentType]
        tuple(() for _ in severities),
        evidently,
        0.1,
        1.0,
    )


def test_the_upper_limit_is_clopper_and_pearsons() -> None:
    """With it, four alarms in a thousand checks still meet the goal, and six do not."""
    wanted = stats.binomtest(3, 200, alternative="less").proportion_ci(0.95, "exact").high
    assert rate(3, 200)["upper"] == pytest.approx(wanted)
    assert rate(4, 1_000)["upper"] < 0.01 < rate(6, 1_000)["upper"]
    assert rate(0, 0)["upper"] is None
    assert rate(2, 2)["upper"] == 1.0


def test_false_alarms_are_counted_in_last_windows() -> None:
    """What is independent is counted for the limit; all windows are told beside it."""
    numbers = calm_numbers([told("watch", "none"), told("none", "act", evidently=(True,))])
    assert numbers["watch_or_act"]["alarms"] == 1
    assert numbers["act"]["alarms"] == 1
    assert numbers["alarms_in_all"] == 2
    assert numbers["checks_in_all"] == 4
    assert numbers["evidently"]["share"] == 1.0


def test_delays_count_windows_of_drift_only() -> None:
    """The window before the drift does not count, and what is never found has no delay."""
    drift = "language mix"
    found = [told("none", "watch", "act"), told("none", "none", "none"), told("none", "act", "act")]
    numbers = drift_numbers(drift, found, 2)
    assert numbers["watch_delays"] == [1, None, 1]
    assert numbers["act_delays"] == [2, None, 1]
    assert numbers["watch_delay_median"] == 1.0
    assert numbers["found_within_stated"] == pytest.approx(2 / 3)
    assert drift_numbers(drift, [found[1]], 2)["watch_delay_median"] is None


def test_slow_drifts_are_given_their_time() -> None:
    """As many windows as are stated are simulated."""
    extent = Extent()
    assert all(extent.windows(drift) >= STATED[drift] for drift in DRIFTS)


def test_a_fall_of_ratings_is_compared_with_an_oracle() -> None:
    """It knows when the fall began and finds no later; the larger its alpha, the more it finds."""
    found = drift_numbers("rating -5 points", [told("none", "none", "watch")] * 4, 3)["slow"]
    assert found["stories"] == 60
    for window in range(3):
        assert found["ours"][window] <= found["oracle"][window] + 0.2  # three deviations of 60
        assert found["oracle"][window] < found["oracle_with_all_of_alpha"][window]
    # 2,100 ratings of 80 % before, 600 of 75 % after: z is 2.49 above a bound of 2.58
    assert found["oracle"][0] == pytest.approx(0.53, abs=0.02)
    assert found["oracle_needs"] is None


def test_the_seed_is_stated() -> None:
    """Settings in the result name the family of all random numbers."""
    assert asdict(Extent())["seed_family"] == FAMILY


def test_goals_are_of_this_run() -> None:
    """The goal of false alarms and one for each drift; what was not measured is not met."""
    result: dict[str, Any] = {
        "calm": {"watch_or_act": rate(0, 1_000)},
        "drifts": {
            "language mix": {"stated_windows": 2, "found_within_stated": 0.5},
            "rating -5 points": {
                "stated_windows": 3,
                "found_within_stated": 0.5,
                "slow": {"stories": 600, "ours": [0.4, 0.9, 0.96]},
            },
        },
    }
    assert [goal.met for goal in goals(result)] == [True, False, True]
    assert "600 stories of ratings alone" in goals(result)[2].name
    assert not goals(result | {"calm": {"watch_or_act": rate(0, 0)}})[0].met


def test_a_small_run_writes_table_drawing_and_numbers(tmp_path: Path) -> None:
    """From simulated windows to the files."""
    calm = [play(without_drift(1, 2), SMALL, ask_evidently=False)]
    drift = "rating -5 points"
    drifting = [play(with_drift(1, DRIFTS["prompts x1.5"], 2), SMALL, ask_evidently=False)]
    result: dict[str, Any] = {
        "machine": {"others_busy_cores": 0.0, "cores": 2},
        "calm": calm_numbers(calm),
        "drifts": {drift: drift_numbers(drift, drifting, 2)},
    }
    result["goals"] = [asdict(goal) for goal in goals(result)]
    BENCHMARK.write(result, tmp_path)
    assert json.loads((tmp_path / "drift.json").read_text())["drifts"][drift]["stories"] == 1
    assert (tmp_path / "drift.png").stat().st_size > 10_000
    text = io.StringIO()
    report.print_result(Console(file=text, width=200), result)
    assert drift in text.getvalue()
    assert drifting[0].severities[-1] in {"watch", "act"}
