"""The rollout page: what was decided, on what numbers, about which adapter.

DETECT's words for people. In comes a `RolloutStory` that `monitoring.report` read from the
store; out goes one HTML text, whole in itself. Knows nothing of the store; the pieces come
from `monitoring.layout`, the drawings from `monitoring.curves`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core.canary_settings import CanarySettings
from core.clock import as_utc
from feedback.tables import Adapter, DatasetVersion, Rollout, Run, VerdictRecord
from monitoring import layout
from monitoring.arms import ArmCounts, RolloutCounts, StepCounts
from monitoring.curves import draw_rollout

HEADLINES = {
    "shadow": "{adapter} is in shadow: nobody sees its answers yet",
    "canary": "{adapter} is in canary with {share} of subjects",
    "watch": "{adapter} was promoted and is being watched",
    "live": "{adapter} was promoted",
    "rolled_back": "{adapter} was rolled back",
    "inconclusive": "{adapter} ended without a decision: the baseline stays",
    "paused": "{adapter} is paused",
}
OLD_SHARES = {"error": "error_share", "latency": "slow_share"}  # of records without their own
READING = (
    "An e-value says how strongly the counts speak against the opposite: at 20, evidence this "
    "strong would turn up in at most one of 20 rollouts if the opposite were true, however often "
    "one looks. Ratings count once per subject. Each step of the canary is compared within "
    "itself and the evidence is multiplied; the watch starts anew. The band of the difference "
    "holds the true one at all times with a certainty of {coverage}. A canary that is not worse "
    "and harms no guardrail is rolled back in at most {false_alarms} of rollouts."
)


@dataclass(frozen=True)
class RolloutStory:
    """All rows that the page tells of; `records` in order of time, `decisive` one of them."""

    rollout: Rollout
    rules: CanarySettings
    records: Sequence[VerdictRecord]
    decisive: VerdictRecord | None
    counts: RolloutCounts
    adapter: Adapter | None
    run: Run | None
    dataset: DatasetVersion | None


def render(story: RolloutStory) -> str:
    """Return the page."""
    headline = _headline(story.rollout)
    parts = [
        f"<h1>{layout.text(headline)}</h1>",
        _decision(story),
        _override(story.adapter),
        _outlook(story.decisive),
        _drawings(story),
        layout.section("How it went", _timeline(story)),
        layout.section("Guardrails", _guardrails(story.decisive)),
        layout.section("Counts by step", _counts(story)),
        layout.section("Adapter", _adapter(story)),
        layout.section("Settings", _settings(story)),
        layout.section("How to read this", _reading(story.rules)),
    ]
    return layout.page(headline, parts)


def _headline(rollout: Rollout) -> str:
    sentence = HEADLINES.get(rollout.state, "{adapter} is " + rollout.state)
    return sentence.format(adapter=rollout.canary_adapter, share=_percent(rollout.share))


def _decision(story: RolloutStory) -> str:
    rollout = story.rollout
    reason = rollout.reason or "no reason given"
    decided = f"Decided by {rollout.decided_by} on {_when(rollout.step_since)}: {reason}"
    baseline = rollout.baseline_adapter or "the base model"
    lead = f"{_sentence(decided)} Application {rollout.application}, baseline {baseline}."
    record = story.decisive
    if record is None:
        return layout.paragraph(lead, f"lead {rollout.state}")
    word = record.decision.replace("_", " ")
    verdict = f"Verdict of {_when(record.created_at)}: {word}, because: {record.reason}"
    return layout.paragraph(lead, f"lead {rollout.state}") + layout.paragraph(_sentence(verdict))


def _override(adapter: Adapter | None) -> str:
    if adapter is None or adapter.override_by is None:
        return ""
    why = adapter.override_reason or "no reason given"
    said = f"Gate overridden: {adapter.override_by} sent it past a failed gate: {why}"
    return layout.paragraph(_sentence(said), "override")


def _drawings(story: RolloutStory) -> str:
    drawings = draw_rollout(story.rollout, story.records, story.rules)
    if not drawings:
        return layout.paragraph("No verdict has been recorded yet.")
    figures = "\n".join(layout.figure(d.caption, d.svg) for d in drawings)
    return f'<div class="drawings">{figures}</div>'


def _timeline(story: RolloutStory) -> str:
    """Return each place of the rollout, since when it was there, and the last word there."""
    rollout, rules = story.rollout, story.rules
    places = {f"shadow ({_percent(0.0)})": (rollout.created_at, "")}
    for record in story.records:
        place = _place(record, rules)
        since, _ = places.get(place, (record.created_at, ""))
        places[place] = (since, record.reason)
    places.setdefault(_place(rollout, rules), (rollout.step_since, rollout.reason))
    return layout.facts(
        (place, f"since {_when(since)}" + (f": {last}" if last else ""))
        for place, (since, last) in places.items()
    )


def _place(row: Rollout | VerdictRecord, rules: CanarySettings) -> str:
    if row.state == "canary":
        return f"canary, step {_step_name(row.step, rules)}"
    return f"{row.state.replace('_', ' ')} ({_percent(row.share)})"


def _outlook(record: VerdictRecord | None) -> str:
    """Say how long it may take, while nothing is decided."""
    if record is None or record.numbers.get("forecast") is None:
        return ""
    return layout.paragraph(_sentence(f"To decide: {record.numbers['forecast']['says']}"))


def _guardrails(record: VerdictRecord | None) -> str:
    if record is None:
        return layout.paragraph("Not judged yet.")
    arms = record.numbers["arms"]
    rows = [
        (
            name.replace("_", " "),
            f"+{_percent(rail['tolerance'])}",
            *(_percent(_guarded_share(name, rail, arms, arm)) for arm in ("baseline", "canary")),
            _e_value(rail["safe"]),
            _e_value(rail["harm"]),
            _guardrail_result(rail),
        )
        for name, rail in record.numbers["guardrails"].items()
    ]
    head = ("Guardrail", "Allowed", "Baseline", "Canary", "E safe", "E harmed", "Result")
    return layout.table(head, rows) + _mismatch(record.numbers)


def _guarded_share(name: str, rail: dict[str, Any], arms: Any, arm: str) -> float | None:
    return rail[arm] if arm in rail else arms[arm][OLD_SHARES[name]]


def _mismatch(numbers: dict[str, Any]) -> str:
    """Say whether the arms have the subjects that they should."""
    evidence = numbers.get("mismatch")
    if evidence is None:
        return ""
    arms = numbers["arms"]
    told = f"{arms['baseline']['subjects']} subjects were first seen in the baseline arm, "
    told += f"{arms['canary']['subjects']} in the canary's: "
    result = "a mismatch" if _reached(evidence) else "as the shares have it"
    return layout.paragraph(f"{told}{result} (E {_e_value(evidence)}).")


def _guardrail_result(rail: dict[str, Any]) -> str:
    if _reached(rail["harm"]):
        return "harmed"
    return "safe" if _reached(rail["safe"]) else "open"


def _counts(story: RolloutStory) -> str:
    rows = [
        (_stratum_name(step, story.rules), arm, *_arm_cells(counts))
        for step in story.counts.steps
        for arm, counts in (("baseline", step.baseline), ("canary", step.canary))
    ]
    counted = ("Exposures", "Errors", "Slow", "Ratings", "Good", "Good share", "Subjects")
    head = ("Step", "Arm", *counted)
    note = f"Canary errors since the last good answer: {story.counts.trailing_canary_errors}."
    return layout.table(head, rows) + layout.paragraph(note)


def _arm_cells(arm: ArmCounts) -> tuple[Any, ...]:
    share = _percent(arm.good / arm.ratings if arm.ratings else None)
    return (arm.exposures, arm.errors, arm.slow, arm.ratings, arm.good, share, arm.subjects)


def _adapter(story: RolloutStory) -> str:
    adapter, run, dataset = story.adapter, story.run, story.dataset
    if adapter is None:
        return layout.paragraph(f"{story.rollout.canary_adapter} has no row in the registry.")
    pairs: list[tuple[str, Any]] = [
        ("Name", adapter.name),
        ("Status", adapter.status),
        ("Base model", adapter.base_model),
        ("Continues", adapter.parent_adapter or "nothing: trained from the base model"),
        ("Rank", adapter.rank),
        ("Content hash", adapter.content_hash),
        ("Created", f"{_when(adapter.created_at)} by {adapter.created_by}"),
        ("Gate overridden by", adapter.override_by or "nobody"),
        *((f"Gate: {name}", value) for name, value in _leaves(adapter.gate)),
        ("Dataset", adapter.dataset_id),
    ]
    if dataset is not None:
        parts = {"train": dataset.train_rows, "validation": dataset.validation_rows}
        rows = ", ".join(f"{n} {name}" for name, n in (parts | {"test": dataset.test_rows}).items())
        pairs += [("Dataset rows", rows), ("Dataset hash", dataset.content_hash)]
    pairs.append(("Run", adapter.run_id))
    if run is not None:
        pairs += [("Run reason", run.reason), ("Recipe", f"{run.recipe}, {run.mode}")]
        pairs += [(f"Metric: {name}", value) for name, value in _leaves(run.metrics)]
    return layout.facts(pairs)


def _settings(story: RolloutStory) -> str:
    pairs = [*_leaves(story.rollout.settings), ("rollout", story.rollout.id)]
    if story.decisive is not None:
        pairs.append(("settings hash", story.decisive.settings_hash))
    return layout.facts(pairs)


def _reading(rules: CanarySettings) -> str:
    coverage = 1.0 - max(rules.alpha_promote, rules.alpha_roll_back)
    false_alarms = rules.alpha_roll_back + len(rules.guardrails) * rules.alpha_guardrail
    told = READING.format(coverage=_percent(coverage), false_alarms=_percent(false_alarms))
    return layout.paragraph(told)


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested dicts under dotted names."""
    if not isinstance(value, dict):
        yield name, value
        return
    for key, inner in value.items():
        yield from _leaves(inner, f"{name}.{key}" if name else str(key))


def _step_name(step: int, rules: CanarySettings) -> str:
    if step >= len(rules.shares):
        return "watch"
    return f"{step + 1} of {len(rules.shares)} ({_percent(rules.shares[step])})"


def _stratum_name(counts: StepCounts, rules: CanarySettings) -> str:
    step = _step_name(counts.step, rules)
    return f"{step}, {counts.stratum}" if counts.stratum else step


def _reached(evidence: dict[str, float]) -> bool:
    return evidence["value"] >= evidence["needed"]


def _e_value(evidence: dict[str, float]) -> str:
    return f"{evidence['value']:.3g} of {evidence['needed']:.3g}"


def _percent(share: float | None) -> str:
    return "no data" if share is None else f"{100.0 * share:.3g} %"


def _when(instant: datetime) -> str:
    return as_utc(instant).strftime("%Y-%m-%d %H:%M:%S UTC")


def _sentence(said: str) -> str:
    return said if said.endswith((".", "!", "?")) else f"{said}."
