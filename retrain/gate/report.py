"""An adapter's evaluation as files: `evaluation.json` for programs, `evaluation.md` for people.

A verdict and what answering took go in; both files are written into the run's folder, from where
the registry copies them beside the weights. They hold numbers and hashes, no texts of users.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.clock import utc_now
from core.files import write_atomic
from retrain.gate.verdict import Answering, GateVerdict

JSON_FILE, TEXT_FILE = "evaluation.json", "evaluation.md"
NONE = "-"  # stands for a number that there is none of


def write_evaluation(
    folder: Path,
    verdict: GateVerdict,
    answering: Mapping[str, Answering],
    *,
    compared_with: str,
    answered_by: str,
) -> None:
    """Write both files into `folder`."""
    facts: dict[str, Any] = verdict.as_dict() | {
        "compared_with": compared_with,
        "answered_by": answered_by,
        "answering": {label: asdict(one) for label, one in answering.items()},
        "evaluated_at": utc_now().isoformat(timespec="seconds"),
    }
    write_atomic(folder / JSON_FILE, json.dumps(facts, indent=2, sort_keys=True) + "\n")
    write_atomic(folder / TEXT_FILE, "\n".join(render(facts)) + "\n")


def render(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the report, in Markdown."""
    yield "# Evaluation"
    yield f"Gate: **{facts['decision']}**, compared with {facts['compared_with']}."
    yield ""
    yield from (f"- {reason}" for reason in facts["reasons"])
    yield from suite_table(facts["suites"])
    yield from _skipped(facts["suites"])
    yield from _answering(facts)


def suite_table(suites: Mapping[str, Any]) -> Iterator[str]:
    """Yield a table of the suites that were asked."""
    asked = {name: suite for name, suite in suites.items() if not suite["skipped"]}
    if not asked:
        return
    yield ""
    yield "| Suite | Decision | Metric | This adapter | Compared with | Difference | Questions |"
    yield "|---|---|---|---|---|---|---|"
    for name, suite in asked.items():
        yield (
            f"| {name} | {suite['decision']} | {suite['metric']} | {number(suite['candidate'])} | "
            f"{_other(suite)} | {difference(suite)} | {suite['questions']} |"
        )


def difference(suite: Mapping[str, Any]) -> str:
    """Return a suite's difference with its interval, or what stands for none."""
    if suite["difference"] is None:
        return NONE
    return f"{suite['difference']:+.3f} [{suite['low']:+.3f}, {suite['high']:+.3f}]"


def number(value: float | None) -> str:
    """Return a score with three decimals, or what stands for none."""
    return NONE if value is None else f"{value:.3f}"


def _other(suite: Mapping[str, Any]) -> str:
    if suite["live"] is None:
        return NONE
    kept = f", {suite['kept']:.1%} kept" if suite["against"] == "base" and suite["kept"] else ""
    return f"{suite['against']} {suite['live']:.3f}{kept}"


def _skipped(suites: Mapping[str, Any]) -> Iterator[str]:
    skipped = {name: suite["skipped"] for name, suite in suites.items() if suite["skipped"]}
    if skipped:
        yield ""
        yield "Not asked:"
        yield from (f"- {name}: {why}" for name, why in skipped.items())


def _answering(facts: Mapping[str, Any]) -> Iterator[str]:
    if not facts["answering"]:
        return
    yield ""
    yield f"Answered by {facts['answered_by']}, several questions at once."
    yield ""
    yield "| Model | Answers | Tokens | Seconds | Median s | p95 s | USD an answer |"
    yield "|---|---|---|---|---|---|---|"
    for label, one in facts["answering"].items():
        cost = NONE if one["usd"] is None else f"{one['usd'] / max(1, one['answers']):.6f}"
        yield (
            f"| {label} | {one['answers']} | {one['tokens']} | {one['seconds']:.1f} | "
            f"{one['median_s']:.2f} | {one['p95_s']:.2f} | {cost} |"
        )
