"""A run's report: what was trained, how it went, what is wrong, what it took.

Facts go in; `report.md` and `report.html` lie in the run's folder, also after a failure. Knows
nothing of the store: `retrain.watching.facts` has read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from retrain.watching.drawing import draw_losses, draw_series
from retrain.watching.facts import RunFacts
from retrain.watching.health import Finding
from retrain.watching.page import Drawing, Page, Part, Table, write_page

NAME = "report"
NONE_FOUND = "Nothing was found wrong with the curves."


def write_report(facts: RunFacts, folder: Path) -> tuple[Path, Path]:
    """Write the report of a run into its folder; return the Markdown and the HTML file."""
    return write_page(page_of(facts), folder, NAME)


def page_of(facts: RunFacts) -> Page:
    """Return the report as a page."""
    parts = [
        Part("Findings", [_findings_table(facts.findings) if facts.findings else NONE_FOUND]),
        Part("Curves", _drawings(facts)),
        Part("Outcome", [_table(_outcome(facts))]),
        Part("Gate", [_table(_gate(facts))]),
        Part("What it took", [_table(_took(facts))]),
        Part("Expected and measured", _expected(facts)),
        Part("About", [_table({**facts.about, "trackers": facts.trackers})]),
        Part("Settings", [_table(facts.recipe)]),
        Part("Versions and machine", [_table(_flat(facts.environment))]),
    ]
    kept = [part for part in parts if any(_is_something(item) for item in part.content)]
    return Page(f"Training {facts.run_id}", _lead(facts), kept)


def _lead(facts: RunFacts) -> str:
    losses = [p.validation_loss for p in facts.points if p.validation_loss is not None]
    words = [f"The run is {facts.status}."]
    if facts.error:
        words.append(f"It ended with: {facts.error.splitlines()[0]}")
    if losses:
        words.append(f"Validation loss went from {losses[0]:.3f} to {min(losses):.3f} at best.")
    stops = [finding for finding in facts.findings if finding.severity == "stop"]
    if stops:
        words.append(f"What to change: {stops[0].mend}.")
    return " ".join(words)


def _findings_table(findings: list[Finding]) -> Table:
    rows = [(one.severity, str(one.at_step), one.what, one.mend, one.source) for one in findings]
    return Table(("severity", "step", "what was seen", "what to change", "whose rule"), rows)


def _drawings(facts: RunFacts) -> list[str | Table | Drawing]:
    points = facts.points
    if not points:
        return ["The run told no losses."]
    drawn: list[str | Table | Drawing] = [
        Drawing("losses.svg", draw_losses(points, facts.findings))
    ]
    for name, label in (("learning_rate", "learning rate"), ("grad_norm", "gradient norm")):
        if any(getattr(point, name) for point in points):
            drawn.append(Drawing(f"{name}.svg", draw_series(points, name, label)))
    return drawn


def _outcome(facts: RunFacts) -> dict[str, Any]:
    outcome = facts.outcome
    if outcome is None:
        last = facts.points[-1].step if facts.points else 0
        return {"steps": f"{last}, and then no end"}
    values = {name: getattr(outcome, name) for name in outcome.__dataclass_fields__}
    values.pop("peak_bytes")  # stands beside what was expected
    return {name.replace("_", " "): value for name, value in values.items()}


def _gate(facts: RunFacts) -> dict[str, Any]:
    verdict = {
        name: facts.gate[name] for name in ("decision", "compared_with") if name in facts.gate
    }
    reasons = {"reasons": "\n".join(map(str, facts.gate.get("reasons", ())))}
    numbers = {name.strip("/").replace("/", ", "): v for name, v in facts.gate_numbers.items()}
    return verdict | {name: text for name, text in reasons.items() if text} | numbers


def _took(facts: RunFacts) -> dict[str, Any]:
    rows: dict[str, Any] = {f"phase {name}": _time(s) for name, s in facts.phases_s.items()}
    use = facts.use
    if use is None:
        return rows
    rows |= {
        "machine time": _time(use.seconds),
        "processors busy, mean": f"{use.cpu_share:.2f}",
        "peak memory of the process": f"{use.peak_rss_bytes / 1e9:.2f} GB",
        "memory of the machine, at most": f"{use.memory_share:.0%}",
    }
    if use.gpu_bytes is not None:
        rows["peak GPU memory"] = f"{use.gpu_bytes / 1e9:.2f} GB"
    if use.gpu_share is not None:
        rows["GPU busy, mean"] = f"{use.gpu_share:.0%}"
    if facts.cost is not None:
        rows["cost"] = f"${facts.cost:.4f} at ${facts.usd_per_hour:.2f} per hour"
    return rows


def _expected(facts: RunFacts) -> list[str | Table | Drawing]:
    """Return what the training was to take beside what it took, and its memory by part."""
    said = facts.expected
    if not said:
        return []
    peak = facts.outcome.peak_bytes if facts.outcome else None
    took = facts.phases_s.get("train")
    rows = [
        ("memory, GB", _number(said["memory_gb"]), _number(peak / 1e9 if peak else None)),
        ("seconds of training", _number(said.get("seconds")), _number(took)),
    ]
    parts = {f"{name}, GB": size for name, size in said["parts_gb"].items()}
    available = {"available, GB": said["available_gb"]} if "available_gb" in said else {}
    return [Table(("what", "expected", "measured"), rows), _table(available | parts)]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return str(timedelta(seconds=round(seconds)))


def _table(values: Mapping[str, Any]) -> Table:
    return Table(("what", "value"), [(name, _text(value)) for name, value in values.items()])


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "-" if value is None else str(value)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        inner = (
            _flat(value, f"{prefix}{name} ") if isinstance(value, dict) else {prefix + name: value}
        )
        found |= inner
    return found


def _is_something(item: str | Table | Drawing) -> bool:
    return bool(item.rows) if isinstance(item, Table) else bool(item)
