"""RETRAIN → CANARY: decides whether an adapter may ask for traffic.

Two evaluations of the same held-out examples go in, the new adapter's and the live one's
(or the base model's); pass or fail comes out with every reason and number. Pure: knows
nothing of models, files or tables. Mandatory: only an operator's recorded override goes past it.

Source: fine-tuning guide, "Evaluation" (regression tests, comparison to baseline); thresholds in
`core.settings.RetrainSettings`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from core.settings import RetrainSettings

MIN_EXAMPLES = 5  # with fewer, one answer alone moves the task score by over 20 %


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How one model does on held-out examples."""

    loss: float  # mean negative log-likelihood per answer token, in nats
    task_score: float  # mean token-F1 of greedy answers against the references, 0-1
    examples: int
    exact_match: float = 0.0  # share of answers equal to their reference, 0-1


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """May the adapter ask for traffic? `reasons` are never empty."""

    decision: Literal["pass", "fail"]
    reasons: tuple[str, ...]
    numbers: Mapping[str, Any]

    @property
    def passed(self) -> bool:
        """Whether the decision is to pass."""
        return self.decision == "pass"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON column."""
        return {
            "decision": self.decision,
            "reasons": list(self.reasons),
            "numbers": dict(self.numbers),
        }


def decide(candidate: Evaluation, live: Evaluation, rules: RetrainSettings) -> GateVerdict:
    """Return the verdict on one set of held-out examples; every failed rule is a reason."""
    faults = tuple(_faults(candidate, live, rules))
    numbers = {
        "candidate": _plain(candidate),
        "live": _plain(live),
        "max_loss_ratio": rules.gate_max_loss_ratio,
        "min_gain": rules.gate_min_gain,
        "min_examples": MIN_EXAMPLES,
    }
    if faults:
        return GateVerdict("fail", faults, numbers)
    return GateVerdict("pass", (_praise(candidate, live),), numbers)


def decide_all(
    sets: Mapping[str, tuple[Evaluation, Evaluation]], rules: RetrainSettings
) -> GateVerdict:
    """Return one verdict over several named sets of (candidate, live): all of them must pass."""
    if not sets:
        return GateVerdict("fail", ("nothing was evaluated: the dataset has no test split",), {})
    verdicts = {name: decide(*pair, rules) for name, pair in sets.items()}
    failed = {name: verdict for name, verdict in verdicts.items() if not verdict.passed}
    told = failed or verdicts
    return GateVerdict(
        "fail" if failed else "pass",
        tuple(f"{name}: {reason}" for name, verdict in told.items() for reason in verdict.reasons),
        {name: verdict.numbers for name, verdict in verdicts.items()},
    )


def _faults(candidate: Evaluation, live: Evaluation, rules: RetrainSettings) -> list[str]:
    examples = min(candidate.examples, live.examples)
    if examples < MIN_EXAMPLES:
        return [f"only {examples} held-out examples, {MIN_EXAMPLES} are needed"]
    numbers = (candidate.loss, candidate.task_score, live.loss, live.task_score)
    if not all(math.isfinite(number) for number in numbers):
        return [f"not every number is finite: {candidate} against {live}"]
    faults: list[str] = []
    max_loss = live.loss * rules.gate_max_loss_ratio
    if candidate.loss > max_loss:
        faults.append(
            f"held-out loss {candidate.loss:.3f} is over {max_loss:.3f} "
            f"(live {live.loss:.3f} times {rules.gate_max_loss_ratio})"
        )
    min_score = live.task_score + rules.gate_min_gain
    if candidate.task_score < min_score:
        faults.append(
            f"task score {candidate.task_score:.3f} is under {min_score:.3f} "
            f"(live {live.task_score:.3f} {rules.gate_min_gain:+})"
        )
    return faults


def _plain(evaluation: Evaluation) -> dict[str, float | None]:
    """Return the numbers, None for what is not finite: JSON columns know no NaN."""
    return {
        name: value if math.isfinite(value) else None for name, value in asdict(evaluation).items()
    }


def _praise(candidate: Evaluation, live: Evaluation) -> str:
    return (
        f"held-out loss {candidate.loss:.3f} (live {live.loss:.3f}), task score "
        f"{candidate.task_score:.3f} (live {live.task_score:.3f}) on {candidate.examples} examples"
    )
