"""Two times to compare: the live adapter's first healthy period, and now.

In come when its life began, now, and a function that tallies a span; out comes a `Measure`, or why
there is none. The baseline is the first span of the adapter's life that has enough ratings and few
errors; now is the newest one that does not overlap it, longer where ratings are rare. Pure but for
the function that it is given.

Source: fine-tuning guide, "When to Retrain" (down from baseline), "Alerting Strategy" (error rate).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.settings import RetrainSettings
from retrain.situation import Measure, Tally

HEALTHY_ERRORS = 0.05  # guide, Alerting Strategy: an error rate over 5 % is critical
# In windows: the first week, the next three, then longer spans. Our choice: a month to find one
BASELINES = ((0, 1), (1, 2), (2, 3), (3, 4), (0, 2), (0, 4))
LOOKS_BACK = (1, 2, 4)  # windows; the shortest with enough ratings is now


@dataclass(frozen=True, slots=True)
class Span:
    """A time from `start` until before `end`."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Reader:
    """What is counted in a span: good ones of all, and the share of answers that were errors."""

    name: str
    tally: Callable[[Span], Tally]
    errors: Callable[[Span], float]


def measured(
    reader: Reader, since: datetime, now: datetime, rules: RetrainSettings
) -> Measure | str:
    """Return the measure of an adapter that answers since then, or why there is none yet."""
    window = timedelta(days=rules.rating_window_days)
    found = _baseline(reader, since, now, window, rules.rating_min)
    if found is None:
        return (
            f"{reader.name}: no healthy period of the live adapter with {rules.rating_min} "
            "end users' ratings is over yet"
        )
    span, baseline = found
    recent = Tally(0, 0)
    for windows in LOOKS_BACK:
        recent = reader.tally(Span(max(now - windows * window, span.end), now))
        if recent.total >= rules.rating_min:
            return Measure(reader.name, baseline, recent)
    return f"{reader.name}: {recent.total} since the baseline, {rules.rating_min} are needed"


def _baseline(
    reader: Reader, since: datetime, now: datetime, window: timedelta, least: int
) -> tuple[Span, Tally] | None:
    for first, last in BASELINES:
        span = Span(since + first * window, since + last * window)
        if span.end >= now:
            continue
        tally = reader.tally(span)
        if tally.total >= least and reader.errors(span) <= HEALTHY_ERRORS:
            return span, tally
    return None
