"""DETECT: what each alert rule says of each application now. Pure.

Rules, readings of their metrics and where they stood go in; where they stand, and why, comes out. A
rule fires once its condition has held for its `for`, and is resolved by the first reading that
does not meet it. No data is not ok: what fires goes on firing, and nothing begins to.
Knows nothing of where readings come from, nor of who is told.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

Level = Literal["ok", "pending", "firing", "no_data"]
Severity = Literal["info", "warning", "critical"]
Comparison = Literal[">", ">=", "<", "<="]
SEVERITIES: Sequence[Severity] = ("info", "warning", "critical")
_MEETS: Mapping[Comparison, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
SERVICE = ""  # in an application's place: the whole service


@dataclass(frozen=True, slots=True)
class Rule:
    """When to alert: `metric`, over the last `window_s` seconds, compared with `threshold`."""

    name: str
    metric: str
    comparison: Comparison
    threshold: float
    severity: Severity
    window_s: float = 900.0
    for_s: float = 0.0  # how long the condition must have held
    min_samples: int = 1  # fewer are no data
    applications: tuple[str, ...] = ()  # none named: all
    labels: Mapping[str, str] = field(default_factory=dict[str, str])

    def is_met_by(self, value: float) -> bool:
        """Return whether the condition holds."""
        return _MEETS[self.comparison](value, self.threshold)

    def worse(self, one: float | None, other: float | None) -> float | None:
        """Return the value that is farther on the wrong side; none is better than any."""
        known = [value for value in (one, other) if value is not None]
        return (max if self.comparison in {">", ">="} else min)(known, default=None)


@dataclass(frozen=True, slots=True)
class Reading:
    """A metric's value over a window; None is no data, and `detail` says why, or of what."""

    value: float | None
    samples: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a rule stood for an application, and since when."""

    level: Level
    since: datetime


@dataclass(frozen=True, slots=True)
class Step:
    """How a rule stands for an application now; `before` None: it was never looked at."""

    rule: Rule
    application: str
    before: Level | None
    after: Level
    since: datetime
    value: float | None
    reason: str

    @property
    def fingerprint(self) -> str:
        """What makes it the same alert as another."""
        return fingerprint(self.rule.name, self.application)

    @property
    def has_fired(self) -> bool:
        """Whether it fires now and did not before."""
        return self.after == "firing" and self.before != "firing"

    @property
    def is_resolved(self) -> bool:
        """Whether it fired before and does not now."""
        return self.before == "firing" and self.after != "firing"


@dataclass(frozen=True, slots=True)
class Quiet:
    """What nobody is told until then; None stands for every rule, or every application."""

    rule: str | None
    application: str | None
    ends_at: datetime

    def covers(self, rule: str, application: str, now: datetime) -> bool:
        """Return whether that alert is silenced now."""
        return (
            now < self.ends_at
            and self.rule in {None, rule}
            and self.application in {None, application}
        )


def fingerprint(rule: str, application: str) -> str:
    """Return what tells one alert from another: its rule and whose it is."""
    return f"{rule}/{application}"


def targets(
    rules: Iterable[Rule], applications: Sequence[str], service_metrics: frozenset[str]
) -> list[tuple[Rule, str]]:
    """Return of whom each rule speaks: of the service, or of each application that it names."""
    found: list[tuple[Rule, str]] = []
    for rule in rules:
        if rule.metric in service_metrics:
            found.append((rule, SERVICE))
            continue
        found += [(rule, name) for name in applications if name in (rule.applications or {name})]
    return found


def judge(
    rule: Rule, application: str, reading: Reading, before: Standing | None, now: datetime
) -> Step:
    """Return how the rule stands after this reading."""
    value, reason = _value(rule, reading)
    level = before.level if before else None
    after = _level(rule, value, before, now)
    since = before.since if before is not None and after == level else now
    return Step(rule, application, level, after, since, value, reason)


def silenced_until(
    silences: Iterable[Quiet], rule: str, application: str, now: datetime
) -> datetime | None:
    """Return until when the alert is silenced, or None if it is not."""
    ends = (quiet.ends_at for quiet in silences if quiet.covers(rule, application, now))
    return max(ends, default=None)


def is_severe_enough(severity: Severity, at_least: Severity) -> bool:
    """Return whether `severity` reaches `at_least`."""
    return SEVERITIES.index(severity) >= SEVERITIES.index(at_least)


def _value(rule: Rule, reading: Reading) -> tuple[float | None, str]:
    """Return what counts as the value, and what there is to say of it."""
    if reading.value is None:
        return None, f"no data: {reading.detail}" if reading.detail else "no data"
    if reading.samples < rule.min_samples:
        return None, f"no data: {reading.samples} of the {rule.min_samples} samples that it needs"
    words = f"{rule.metric} is {reading.value:.4g}"
    met = rule.is_met_by(reading.value)
    words += f" ({'' if met else 'not '}{rule.comparison} {rule.threshold:g})"
    return reading.value, f"{words}: {reading.detail}" if reading.detail else words


def _level(rule: Rule, value: float | None, before: Standing | None, now: datetime) -> Level:
    level = before.level if before else None
    if value is None:
        return "firing" if level == "firing" else "no_data"
    if not rule.is_met_by(value):
        return "ok"
    if level == "firing" or rule.for_s <= 0.0:
        return "firing"
    if before is None or level != "pending":
        return "pending"
    return "firing" if now - before.since >= timedelta(seconds=rule.for_s) else "pending"
