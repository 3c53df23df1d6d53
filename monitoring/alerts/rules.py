"""The alert rules of an installation: those that come with Ratchet, and a file of people's own.

Settings go in, `Rule` values come out. A rule of the file replaces the one of its name; `enabled =
false` takes one away. Knows nothing of how rules are judged.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, ValidationError

from core.alert_settings import AlertSettings, Severity
from core.errors import SettingsError
from core.sections import Section
from monitoring.alerts.evaluation import Comparison, Rule
from monitoring.alerts.metrics import METRICS

DEFAULTS = Path(__file__).with_name("rules.toml")
_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def _seconds(value: object) -> float:
    match = re.fullmatch(r"(\d{1,6})([smhd])", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("write a whole number and s, m, h or d, such as 15m")
    return float(int(match[1]) * _UNITS_S[match[2]])


Time = Annotated[float, BeforeValidator(_seconds)]


class _RuleTable(Section):
    """A rule as it is written down."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    metric: str
    comparison: Comparison
    threshold: float
    severity: Severity
    window: Time = 900.0
    for_: Time = Field(default=0.0, alias="for")
    min_samples: int = Field(default=1, ge=1)
    applications: tuple[str, ...] = ()
    labels: dict[str, str] = Field(default={})


class _Absence(Section):
    """A rule of Ratchet's own that somebody does not want."""

    name: str
    enabled: bool = False


def load_rules(settings: AlertSettings) -> tuple[Rule, ...]:
    """Return the rules that hold here, by name.

    Raises: SettingsError that names the file, the rule and what is wrong.
    """
    rules: dict[str, Rule | None] = _read(DEFAULTS) if settings.defaults else {}
    if settings.rules is not None:
        rules |= _read(settings.rules)
    return tuple(rule for _, rule in sorted(rules.items()) if rule is not None)


def _read(path: Path) -> dict[str, Rule | None]:
    """Return a file's rules; None of one that is taken away."""
    try:
        tables = tomllib.loads(path.read_text())
    except OSError as error:
        raise SettingsError(f"alerts.rules: cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError(f"alerts.rules: {path} is not valid TOML: {error}") from error
    entries = tables.get("rules")
    if set(tables) != {"rules"} or not isinstance(entries, list):
        raise SettingsError(f"alerts.rules: {path} must hold [[rules]] and nothing else")
    rules: dict[str, Rule | None] = {}
    for number, entry in enumerate(entries, 1):
        name, rule = _rule(path, number, entry)
        if name in rules:
            raise SettingsError(f"alerts.rules: {path} has two rules {name!r}: rename one of them")
        rules[name] = rule
    return rules


def _rule(path: Path, number: int, entry: Mapping[str, object]) -> tuple[str, Rule | None]:
    try:
        if entry.get("enabled") is False and set(entry) == {"name", "enabled"}:
            return _Absence.model_validate(entry).name, None
        table = _RuleTable.model_validate(entry)
    except ValidationError as error:
        issue = error.errors()[0]
        what = ".".join(map(str, issue["loc"])) or "it"
        raise SettingsError(
            f"alerts.rules: {path}, rule {number} ({entry.get('name')}), {what}: {issue['msg']} "
            f"(got {issue['input']!r})"
        ) from error
    if table.metric not in METRICS:
        raise SettingsError(
            f"alerts.rules: {path}, rule {table.name}: no metric {table.metric!r}; there are "
            f"{', '.join(sorted(METRICS))}"
        )
    return table.name, Rule(
        name=table.name,
        metric=table.metric,
        comparison=table.comparison,
        threshold=table.threshold,
        severity=table.severity,
        window_s=table.window,
        for_s=table.for_,
        min_samples=table.min_samples,
        applications=table.applications,
        labels=table.labels,
    )
