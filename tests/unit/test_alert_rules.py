"""Alert rules: the guide's from the start, people's own beside or instead of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.alert_settings import AlertSettings
from core.errors import SettingsError
from monitoring.alerts.evaluation import Rule
from monitoring.alerts.metrics import METRICS
from monitoring.alerts.rules import load_rules


def own(folder: Path, text: str, *, defaults: bool = True) -> dict[str, Rule]:
    """Return the rules with such a file."""
    file = folder / "alerts.toml"
    file.write_text(text)
    return {rule.name: rule for rule in load_rules(AlertSettings(rules=file, defaults=defaults))}


def rule_text(**changes: str) -> str:
    fields = {
        "name": '"slow"',
        "metric": '"latency_p95_ms"',
        "comparison": '">"',
        "threshold": "900",
        "severity": '"info"',
        **changes,
    }
    lines = [f"{name.rstrip('_')} = {value}" for name, value in fields.items()]
    return "[[rules]]\n" + "\n".join(lines) + "\n"


def test_the_guides_alerts_are_there_from_the_start() -> None:
    """Fine-tuning guide, "Alerting Strategy": metric, threshold and severity of all four."""
    rules = {rule.name: rule for rule in load_rules(AlertSettings())}
    guide = {
        "error_rate": ("error_rate", ">", 0.05, "critical"),
        "latency_p95": ("latency_p95_ms", ">", 2000, "warning"),
        "user_satisfaction": ("user_satisfaction", "<", 3.5, "warning"),
        "cost_per_request": ("cost_per_request", ">", 0.10, "info"),
    }
    for name, expected in guide.items():
        rule = rules[name]
        assert (rule.metric, rule.comparison, rule.threshold, rule.severity) == expected
    assert {rule.metric for rule in rules.values()} == METRICS.keys()


def test_a_file_adds_replaces_and_takes_away(tmp_path: Path) -> None:
    """By name; times are written as people write them."""
    text = rule_text(for_='"2m"', window='"1h"', labels='{ team = "search" }') + rule_text(
        name='"error_rate"', applications='["desk"]'
    )
    rules = own(tmp_path, text + '[[rules]]\nname = "drift"\nenabled = false\n')
    assert (rules["slow"].for_s, rules["slow"].window_s) == (120.0, 3_600.0)
    assert rules["slow"].labels == {"team": "search"}
    assert (rules["error_rate"].metric, rules["error_rate"].applications) == (
        *("latency_p95_ms", ("desk",)),
    )
    assert "drift" not in rules
    assert "spool_full" in rules


def test_a_file_may_stand_alone(tmp_path: Path) -> None:
    """`alerts.defaults = false`."""
    assert own(tmp_path, rule_text(), defaults=False).keys() == {"slow"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rules = [", "is not valid TOML"),
        ("[rule]\n", r"must hold \[\[rules\]\]"),
        (rule_text(metric='"speed"'), "no metric 'speed'; there are cost_per_request"),
        (rule_text(for_='"soon"'), r"rule 1 \(slow\), for: .*such as 15m \(got 'soon'\)"),
        (rule_text(window="60"), r"window: .*such as 15m"),
        (rule_text(severity='"bad"'), "severity"),
        (rule_text(limit="3"), "limit: Extra inputs"),
        (rule_text(name='"Slow one"'), "name"),
        (rule_text() + rule_text(), "has two rules 'slow'"),
    ],
)
def test_a_wrong_rule_is_named(tmp_path: Path, text: str, words: str) -> None:
    """With its file, its field and what was given."""
    with pytest.raises(SettingsError, match=words):
        own(tmp_path, text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """It is no reason to have no alerts."""
    with pytest.raises(SettingsError, match=r"cannot read .*nowhere\.toml: No such file"):
        load_rules(AlertSettings(rules=tmp_path / "nowhere.toml"))


def test_an_address_must_be_one() -> None:
    """And is not shown when it is wrong: it may be a secret."""
    with pytest.raises(SettingsError, match="must be like https://") as caught:
        AlertSettings.model_validate({"slack": {"ops": {"url": "hooks.example/T0/secret"}}})
    assert "secret" not in str(caught.value)
