"""One simulated application through its windows, judged by us and by Evidently.

A seed and what happens come in; the severities of all windows go out. Pure but for the clock.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.drift.traffic import HEALTHY, Traffic, centres, draw, draw_streams
from core.drift_settings import DriftSettings
from monitoring.drift.comparison import Compared, compare
from monitoring.drift.decision import Decision, Past, Severity, decide
from monitoring.drift.evidently_reports import data_snapshot
from monitoring.drift.sample import Sample

RULES = DriftSettings()
# Of all random numbers. The rules were chosen with families below this one, so that these
# stories are new to them: whoever changes a rule after seeing them takes the next number
FAMILY = 8


@dataclass(frozen=True)
class Volume:
    """Rows that are compared."""

    reference: int = 5_000  # sampled from a healthy week
    window: int = 2_000
    vectors: int = 600  # of each that have an embedding: the sample of the kernel's test


@dataclass(frozen=True)
class Story:
    """An application's traffic: `before` windows of health, then `after` of something else.

    Of the `history` before these only ratings and errors are drawn: it fills the horizon.
    """

    seed: int
    traffic: Traffic
    before: int
    after: int
    history: int = 0


@dataclass(frozen=True)
class Told:
    """What was said of each window, and what one check took on average."""

    severities: tuple[Severity, ...]
    drifted: tuple[tuple[str, ...], ...]
    evidently: tuple[bool, ...]  # its dataset drift in the last window; empty: not asked
    seconds: float
    evidently_seconds: float


def play(story: Story, volume: Volume, *, ask_evidently: bool) -> Told:
    """Return what is said of the windows of a story."""
    generator = np.random.default_rng((FAMILY, story.seed))
    middles = centres(story.seed)
    history = [draw_streams(HEALTHY, volume.window, generator) for _ in range(story.history)]
    reference = draw(HEALTHY, volume.reference, generator, middles, volume.vectors)
    kinds = [HEALTHY] * story.before + [story.traffic] * story.after
    windows = [draw(kind, volume.window, generator, middles, volume.vectors) for kind in kinds]
    began_s = time.perf_counter()
    decisions = _decisions(reference, history, windows, story.seed)
    seconds = (time.perf_counter() - began_s) / len(windows)
    began_s = time.perf_counter()
    others = (_has_drifted(data_snapshot(reference, windows[-1])),) if ask_evidently else ()
    return Told(
        severities=tuple(one.severity for one in decisions),
        drifted=tuple(one.drifted for one in decisions),
        evidently=others,
        seconds=seconds,
        evidently_seconds=time.perf_counter() - began_s,
    )


def _decisions(
    reference: Sample, history: Sequence[Sample], windows: Sequence[Sample], seed: int
) -> list[Decision]:
    made: list[Decision] = []
    for number, window in enumerate(windows):
        recent = [*history, *windows[: number + 1]][-RULES.horizon_windows :]
        compared = Compared("healthy_week", reference, window, recent)
        comparison = compare(compared, RULES, seed * 1_000 + number)
        # no cool-down: each window is judged as if nothing had been done about those before
        past = Past([frozenset(one.drifted) for one in made])
        made.append(decide(comparison, past, RULES))
    return made


def quiet_evidently() -> None:
    """Keep Evidently from reporting to anyone, and its warnings from the table of results."""
    os.environ["DO_NOT_TRACK"] = "1"
    warnings.simplefilter("ignore")


def _has_drifted(snapshot: Any) -> bool:
    """Return whether at least half of the columns drifted: `drift_share`, 0.5 by default."""
    metrics = snapshot.dict()["metrics"]
    counted = next(one for one in metrics if "DriftedColumnsCount" in one["metric_name"])
    return float(counted["value"]["share"]) >= 0.5


def without_drift(seed: int, windows: int) -> Story:
    """Return a story in which nothing changes; its last window fills the horizon."""
    return Story(seed, HEALTHY, windows, 0, max(0, RULES.horizon_windows - windows))


def with_drift(seed: int, traffic: Traffic, windows: int) -> Story:
    """Return a story of one healthy window and then the drift."""
    return Story(seed, traffic, 1, windows)
