"""How much of what people ask is new to the model: the share of novel prompts over time.

Windows of features come in, each with its share; lines over time by adapter go out. Only that one
number of a window's summary is read. Knows nothing of how novelty is measured but this: one example
in a hundred of the reference itself counts as novel, so about 1 % is nothing new.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from core.clock import as_utc
from feedback.drift_tables import FeatureWindow
from loop.console import charts

EXPECTED = 0.01  # of the reference itself. Source: monitoring.windows.nearness, FAR_QUANTILE
MAX_POINTS = 60  # of a line: windows that lie closer together are taken together
RECENT = timedelta(days=2)  # a window may wait a day for its rows; older adapters are gone
MAX_LINES = 4  # adapters; more cannot be told apart


@dataclass(frozen=True, slots=True)
class Told:
    """One window's word: until when, of which adapter, from how many rows, which share."""

    end: datetime
    adapter: str  # empty: the base model
    rows: int
    rate: float


def read_novelty(session: Session, application: str, since: datetime) -> list[Told]:
    """Return the windows since then that measured novelty, the oldest first."""
    rate = col(FeatureWindow.summary)["novelty_rate"].as_float()
    query = (
        select(FeatureWindow.end, FeatureWindow.adapter, FeatureWindow.sampled_rows, rate)
        .where(
            FeatureWindow.application == application,
            col(FeatureWindow.end) >= since,
            rate.is_not(None),
        )
        .order_by(col(FeatureWindow.end))
    )
    return [
        Told(as_utc(end), name or "", rows, share) for end, name, rows, share in session.exec(query)
    ]


def most_novel(told: Sequence[Told], now: datetime) -> Told | None:
    """Return, of each adapter's newest window, the one with the highest share; None of none."""
    recent = [one for one in told if now - one.end <= RECENT]
    last = {one.adapter: one for one in recent}  # the newest comes last
    return max(last.values(), key=lambda one: one.rate, default=None)


def draw_novelty(told: Sequence[Told], start: datetime, now: datetime) -> charts.Chart:
    """Return the chart: a line for each of the adapters that were looked at most."""
    first, last = start.timestamp(), now.timestamp()
    slot_s = (last - first) / MAX_POINTS
    by_adapter: dict[str, dict[int, list[Told]]] = defaultdict(lambda: defaultdict(list))
    for one in told:
        place = min(MAX_POINTS - 1, max(0, int((one.end.timestamp() - first) / slot_s)))
        by_adapter[one.adapter][place].append(one)
    shown = sorted(by_adapter, key=lambda name: -sum(map(len, by_adapter[name].values())))
    places = sorted({place for slots in by_adapter.values() for place in slots})
    axis = charts.Axis([first, *(first + (place + 0.5) * slot_s for place in places), last])
    drawn = [
        charts.Line(name or "base model", [None, *_joined(by_adapter[name], places), None], tone)
        for name, tone in zip(sorted(shown[:MAX_LINES]), charts.TONES, strict=False)
    ]
    return charts.lines(
        "Novel prompts, by adapter",
        axis,
        drawn,
        charts.percent,
        marks=(charts.Mark("1%: as what it learnt from", EXPECTED),),
    )


def _joined(slots: Mapping[int, Sequence[Told]], places: Sequence[int]) -> list[float | None]:
    """Return the share at each place, straight lines between two that are known."""
    known = {place: _mean(slots[place]) for place in slots}
    return charts.joined_up([known.get(place) for place in places], places)


def _mean(told: Sequence[Told]) -> float:
    rows = sum(one.rows for one in told)
    return sum(one.rate * one.rows for one in told) / rows if rows else told[-1].rate
