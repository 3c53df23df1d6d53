"""How the command line draws rollouts and explained verdicts: tables and plain lines.

Takes rows and plain values; names and texts are printed as they are, without markup. Decides
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from loop.terminal import out, print_table

if TYPE_CHECKING:  # `ratchet --help` answers before these are loaded
    from feedback.tables import Rollout
    from monitoring.explanation import Explanation

COUNTS = ("exposures", "subjects", "ratings", "good", "errors", "slow", "settled", "unrated")


def draw_rollouts(rows: Sequence[Rollout], outlooks: Mapping[str, str]) -> None:
    """Print all rollouts, each with what is known of the time to its decision."""
    print_table(
        ("rollout", "adapter", "against", "state", "share", "decided by", "reason", "to decide"),
        [
            (
                *(row.id, row.canary_adapter, row.baseline_adapter or "base", row.state),
                *(f"{row.share:.0%}", row.decided_by, row.reason, outlooks.get(row.id, "")),
            )
            for row in rows
        ],
    )


def draw_explanation(told: Explanation) -> None:
    """Print a verdict with every number that it rests on, and whether it comes out again."""
    record, numbers = told.record, told.again.numbers
    _say(
        f"{told.rollout.canary_adapter} against {told.rollout.baseline_adapter or 'the base model'}"
        f", {record.state} step {record.step + 1} at {record.share:.0%}, {record.created_at}"
    )
    _say(f"verdict {record.id}: {record.decision.replace('_', ' ')}: {record.reason}")
    print_table(("", "E", "needed", "so far"), [*_evidence(numbers)])
    print_table(("guardrail", "allowed", "baseline", "canary", *_E_COLUMNS), [*_rails(numbers)])
    print_table(("step", "arm", *(c.replace("_", " ") for c in COUNTS)), [*_counts(record.counts)])
    interval = numbers["difference"]
    _say(
        f"difference of good shares: {interval['low']:+.4f} to {interval['high']:+.4f}, "
        f"at all times with {interval['coverage']:.0%}"
    )
    for name in ("elapsed_s", "refused", "trailing_canary_errors"):
        _say(f"{name.replace('_', ' ')}: {numbers[name]}")
    if (outlook := numbers.get("forecast")) is not None:
        _say(f"to decide: {outlook['says']}")
    _say(f"settings {record.settings_hash}: see --json")
    _tell_same(told)


_E_COLUMNS = ("E safe", "needed", "E harmed", "needed")


def _tell_same(told: Explanation) -> None:
    if told.same:
        _say("Computed again from the stored counts and settings: the same.")
        return
    _say("Computed again from the stored counts and settings: NOT the same as stored:")
    for difference in told.differences:
        _say(f"  {difference}")


def _evidence(numbers: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    named = {
        "canary is better": numbers["evidence"]["better"],
        "canary is worse": numbers["evidence"]["worse"],
        "arms lack subjects": numbers["mismatch"],
    }
    for name, evidence in named.items():
        if evidence is not None:
            reached = "enough" if evidence["value"] >= evidence["needed"] else "not enough"
            yield (name, *_e_value(evidence), reached)


def _rails(numbers: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for name, rail in numbers["guardrails"].items():
        shares = (_percent(rail["baseline"]), _percent(rail["canary"]))
        allowed = f"+{_percent(rail['tolerance'])}"
        yield (name, allowed, *shares, *_e_value(rail["safe"]), *_e_value(rail["harm"]))


def _counts(counts: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for step in counts["steps"]:
        stratum = f" {step['stratum']}" if step.get("stratum") else ""
        for arm in ("baseline", "canary"):
            cells = (str(step[arm].get(name, "")) for name in COUNTS)
            yield (f"{step['step'] + 1}{stratum}", arm, *cells)


def _e_value(evidence: Mapping[str, float]) -> tuple[str, str]:
    return f"{evidence['value']:.4g}", f"{evidence['needed']:.4g}"


def _percent(share: float | None) -> str:
    return "no data" if share is None else f"{100.0 * share:.3g} %"


def _say(line: str) -> None:
    out.print(Text(line), soft_wrap=True)
