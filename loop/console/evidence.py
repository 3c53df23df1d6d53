"""The evidence of a rollout as a page shows it: drawings over time, guardrails, what is to come.

Verdict records in order of time come in, charts and plain rows go out. What a verdict means is
monitoring's business: here its numbers are only drawn, by whatever names they have. Reads no store.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from core.clock import as_utc
from feedback.tables import Rollout, VerdictRecord
from loop.console import charts

MAX_LOG10 = 8.0  # evidence beyond one to 100 million is not worth the height
OLD_SHARES = {"error": "error_share", "latency": "slow_share"}  # of records without their own


def draw(rollout: Rollout, records: Sequence[VerdictRecord]) -> list[charts.Chart]:
    """Return the drawings of a rollout's verdicts."""
    if not records:
        return []
    times = [as_utc(row.created_at).timestamp() for row in records]
    pairs = itertools.pairwise(records)
    moved = [
        as_utc(b.created_at).timestamp() for a, b in pairs if (a.state, a.step) != (b.state, b.step)
    ]
    axis = charts.Axis(times, changes=moved)
    rules = rollout.settings

    def line(label: str, tone: str, *path: str, dashed: bool = False) -> charts.Line:
        return charts.Line(label, [pick(row.numbers, path) for row in records], tone, dashed)

    promote, back = _needed(rules, "alpha_promote"), _needed(rules, "alpha_roll_back")
    return [
        charts.lines(
            "Evidence from ratings, e-value",
            axis,
            [
                line("canary is better", "t1", "evidence", "better", "log10"),
                line("canary is worse", "t2", "evidence", "worse", "log10", dashed=True),
            ],
            _power,
            marks=_marks({"promote": promote, "roll back": back}),
            limits=(-2.0, None),
        ),
        charts.band(
            "Good ratings, canary less baseline: confidence sequence",
            axis,
            line("at least", "t1", "difference", "low"),
            line("at most", "t1", "difference", "high"),
            charts.percent,
            border=charts.Mark("promote above", -float(rules.get("margin", 0.0))),
        ),
        charts.lines(
            "Good ratings, by arm",
            axis,
            [
                line("canary", "t1", "arms", "canary", "good_share"),
                line("baseline", "t4", "arms", "baseline", "good_share"),
            ],
            charts.percent,
            limits=(0.0, 1.0),
        ),
        charts.lines(
            "Guardrails: evidence of harm, e-value",
            axis,
            [
                charts.Line(name.replace("_", " "), values, tone)
                for (name, values), tone in zip(_harms(records).items(), charts.TONES, strict=False)
            ],
            _power,
            marks=_marks({"harmed": _needed(rules, "alpha_guardrail")}),
            limits=(-2.0, None),
        ),
        charts.lines(
            "Subjects in the canary arm",
            axis,
            [charts.Line("share", [row.share for row in records])],
            charts.percent,
            limits=(0.0, 1.0),
        ),
    ]


def pick(numbers: Any, path: Sequence[str]) -> float | None:
    """Return the number at a path, within what can be drawn, or None where there is none."""
    for name in path:
        numbers = numbers.get(name) if isinstance(numbers, dict) else None
    if not isinstance(numbers, int | float) or math.isnan(numbers):
        return None
    return max(-MAX_LOG10, min(MAX_LOG10, float(numbers)))


def _harms(records: Sequence[VerdictRecord]) -> dict[str, list[float | None]]:
    """Return the evidence of each guardrail over time; those nearest to harm come first."""
    names = {name for row in records for name in row.numbers.get("guardrails", {})}
    found = {
        name: [pick(row.numbers, ("guardrails", name, "harm", "log10")) for row in records]
        for name in names
    }
    known = {name: values for name, values in found.items() if any(v is not None for v in values)}
    nearest = sorted(known, key=lambda n: -max(v for v in known[n] if v is not None))
    return {name: known[name] for name in nearest[: len(charts.TONES)]}


def rails(last: VerdictRecord | None) -> list[dict[str, Any]]:
    """Return the guardrails of the last verdict, as a table shows them."""
    if last is None:
        return []
    found = last.numbers.get("guardrails", {})
    return [
        {
            "name": name.replace("_", " "),
            "tolerance": rail.get("tolerance"),
            "baseline": _guarded(rail, last, name, "baseline"),
            "canary": _guarded(rail, last, name, "canary"),
            "state": _rail_state(rail),
            "harm": _told(rail.get("harm")),
            "safe": _told(rail.get("safe")),
        }
        for name, rail in found.items()
    ]


def _guarded(rail: dict[str, Any], last: VerdictRecord, name: str, arm: str) -> float | None:
    """Return the share of a guarded outcome in an arm; older verdicts have it with the arms."""
    if arm in rail:
        return rail[arm]
    return pick(last.numbers, ("arms", arm, OLD_SHARES.get(name, "")))


def forecast(last: VerdictRecord | None) -> str:
    """Return how long it may take, while nothing is decided."""
    return "" if last is None else str((last.numbers.get("forecast") or {}).get("says", ""))


def mismatch(last: VerdictRecord | None) -> str:
    """Return whether the arms have the subjects that their shares give them."""
    found = None if last is None else last.numbers.get("mismatch")
    if not found:
        return ""
    amiss = found["value"] >= found["needed"]
    result = "the arms do not have the subjects that they should" if amiss else "as it should be"
    return f"Subjects of the arms: {result} (e-value {_told(found)})."


def _rail_state(rail: dict[str, Any]) -> str:
    for side, word in (("harm", "harmed"), ("safe", "safe")):
        proof = rail.get(side) or {}
        if proof and proof["value"] >= proof["needed"]:
            return word
    return "open"


def _told(proof: dict[str, Any] | None) -> str:
    return f"{proof['value']:.3g} of {proof['needed']:.3g}" if proof else "-"


def _needed(rules: dict[str, Any], name: str) -> float:
    """Return the e-value at which a decision is taken, as log10. Source: Ville; DESIGN 3."""
    return -math.log10(float(rules.get(name, 0.05)))


def _marks(needed: dict[str, float]) -> tuple[charts.Mark, ...]:
    """Return the thresholds, equal ones as one."""
    levels = sorted(set(needed.values()))
    return tuple(
        charts.Mark(", ".join(name for name, value in needed.items() if value == level), level)
        for level in levels
    )


def _power(value: float) -> str:
    return f"{10.0**value:.3g}"
