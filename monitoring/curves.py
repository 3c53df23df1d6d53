"""Verdict records as drawings: shares, evidence and the confidence sequence over time.

DETECT's picture of one rollout. In come its verdict records in order of time; out go captions
with SVG. Picks the numbers that `monitoring.verdict` wrote; how a line is drawn is known to
`monitoring.plots`, and nothing here reads the store.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from core.canary_settings import CanarySettings
from core.clock import as_utc
from feedback.tables import Rollout, VerdictRecord
from monitoring import drawing, plots

UNITS = ((300.0, 1.0, "seconds"), (10_800.0, 60.0, "minutes"), (259_200.0, 3_600.0, "hours"))
DAYS = (math.inf, 86_400.0, "days")

Rows = Sequence[VerdictRecord | None]  # None breaks the lines


@dataclass(frozen=True)
class Drawing:
    """One drawing with its caption."""

    caption: str
    svg: str


def draw_rollout(
    rollout: Rollout, records: Sequence[VerdictRecord], rules: CanarySettings
) -> list[Drawing]:
    """Return the drawings of a rollout, none when it has not been judged yet."""
    if not records:
        return []
    rows = _with_breaks(records)
    axis = _axis(rollout, rows)
    difference = "Difference in good ratings, canary - baseline, in points: what is not ruled out"
    return [
        Drawing("Share of good ratings so far", _good_shares(axis, rows)),
        Drawing("Share of subjects in the canary arm", _traffic(axis, rows)),
        Drawing("Evidence from ratings (e-value)", _ratings_evidence(axis, rows, rules)),
        Drawing("Evidence from guardrails (e-value)", _guardrail_evidence(axis, rows, rules)),
        Drawing(difference, _difference(axis, rows, rules)),
    ]


def _with_breaks(records: Sequence[VerdictRecord]) -> list[VerdictRecord | None]:
    """Return the records with a None where the state changes: there the evidence starts anew."""
    rows: list[VerdictRecord | None] = [records[0]]
    for before, record in pairwise(records):
        rows += [record] if before.state == record.state else [None, record]
    return rows


def _axis(rollout: Rollout, rows: Rows) -> plots.Axis:
    began = as_utc(rollout.created_at)
    records = [row for row in rows if row is not None]
    longest_s = (as_utc(records[-1].created_at) - began).total_seconds()
    _, unit_s, unit = next(u for u in (*UNITS, DAYS) if longest_s < u[0])
    times: list[float] = []
    for row in rows:
        since = times[-1] if row is None else _seconds(rollout, row) / unit_s
        times.append(since)
    moved = [b for a, b in pairwise(records) if (a.state, a.step) != (b.state, b.step)]
    return plots.Axis(times, unit, [_seconds(rollout, row) / unit_s for row in moved])


def _seconds(rollout: Rollout, record: VerdictRecord) -> float:
    return (as_utc(record.created_at) - as_utc(rollout.created_at)).total_seconds()


def _good_shares(axis: plots.Axis, rows: Rows) -> str:
    curves = [
        _curve(rows, "canary", drawing.CANARY, "arms", "canary", "good_share"),
        _curve(rows, "baseline", drawing.BASELINE, "arms", "baseline", "good_share"),
    ]
    return plots.draw_shares(axis, curves, title="Share of good ratings of each arm over time")


def _traffic(axis: plots.Axis, rows: Rows) -> str:
    shares = [None if row is None else row.share for row in rows]
    curve = plots.Curve("canary", shares, drawing.CANARY)
    return plots.draw_shares(axis, [curve], title="Share of subjects in the canary arm over time")


def _difference(axis: plots.Axis, rows: Rows, rules: CanarySettings) -> str:
    return plots.draw_interval(
        axis,
        _curve(rows, "low", drawing.CANARY, "difference", "low"),
        _curve(rows, "high", drawing.CANARY, "difference", "high"),
        border=-rules.margin,
        title="Confidence sequence of the difference over time",
    )


def _ratings_evidence(axis: plots.Axis, rows: Rows, rules: CanarySettings) -> str:
    curves = [
        _curve(rows, "canary is better", drawing.CANARY, "evidence", "better", "log10"),
        _curve(rows, "canary is worse", drawing.HARM, "evidence", "worse", "log10", dashed=True),
    ]
    limits = _limits({"promote": rules.alpha_promote, "roll back": rules.alpha_roll_back})
    return plots.draw_evidence(axis, curves, limits, title="Evidence from ratings over time")


def _guardrail_evidence(axis: plots.Axis, rows: Rows, rules: CanarySettings) -> str:
    """Draw the guardrail that is shown least and the one that is nearest to harm, at each time."""
    curves = [
        plots.Curve("least shown to be safe", _extreme(rows, "safe", min), drawing.THIRD),
        plots.Curve("nearest to harm", _extreme(rows, "harm", max), drawing.HARM, dashed=True),
    ]
    limits = _limits({"all safe": rules.alpha_promote, "harmed": rules.alpha_guardrail})
    return plots.draw_evidence(axis, curves, limits, title="Evidence from guardrails over time")


def _extreme(
    rows: Rows, side: str, choose: Callable[[Iterable[float]], float]
) -> list[float | None]:
    return [
        choose(rail[side]["log10"] for rail in row.numbers["guardrails"].values())
        if row is not None and row.numbers["guardrails"]
        else None
        for row in rows
    ]


def _limits(alphas: dict[str, float]) -> list[plots.Limit]:
    """Return the thresholds 1/alpha, one line for equal ones."""
    return [
        plots.Limit(
            f"{1 / alpha:.3g}: " + ", ".join(name for name, a in alphas.items() if a == alpha),
            -math.log10(alpha),
        )
        for alpha in sorted(set(alphas.values()))
    ]


def _curve(rows: Rows, label: str, colour: str, *path: str, dashed: bool = False) -> plots.Curve:
    values = [None if row is None else _pick(row.numbers, path) for row in rows]
    return plots.Curve(label, values, colour, dashed)


def _pick(numbers: Any, path: Sequence[str]) -> float | None:
    for name in path:
        numbers = numbers[name]
    return numbers
