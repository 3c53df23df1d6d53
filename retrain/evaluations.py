"""How the live adapter did when it was evaluated, and how it does on newer questions.

Its own gate is the baseline. Whoever came after it was compared with it, on the test split of a
newer dataset version: the newest of these gates says how it does now. Both are on `Adapter.gate`.
Adapters go in, a `Measure` for each metric that both gates have comes out. Pure.

Source: fine-tuning guide, "When to Retrain": validation metrics drop over 5 % from baseline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from feedback.tables import Adapter
from retrain.situation import Measure, Tally

TEST = "test"  # the set of the gate's numbers that every run has
# Of the suites' metrics those that say how well it answers, each question's score from 0 to 1.
SCORES = frozenset(
    {"exact_match", "token_f1", "accuracy", "bleu", "rouge_1", "rouge_2", "rouge_l", "contains"}
)
RETENTION = "retention"

Gate = Mapping[str, Any]


def evaluations_of(live: Adapter, others: Sequence[Adapter]) -> tuple[Measure, ...]:
    """Return each metric of the live adapter, at its own gate and at the newest gate after it.

    `others` are the application's adapters, the oldest first.
    """
    later = [
        other
        for other in others
        if other.created_at > live.created_at and other.gate.get("compared_with") == live.name
    ]
    if not later:
        return ()
    own, newest = _scores(live.gate, "candidate"), _scores(later[-1].gate, "live")
    return tuple(Measure(name, own[name], newest[name]) for name in own if name in newest)


def kept(adapter: Adapter) -> float | None:
    """Return the share of the base model's retention score that it kept; None: not measured."""
    suites: Gate = adapter.gate.get("suites") or {}
    value = (suites.get(RETENTION) or {}).get("kept")
    return float(value) if isinstance(value, int | float) else None


def steps_kept(chain: Sequence[Adapter]) -> tuple[float | None, ...]:
    """Return what each increment kept of what there was before it, in the chain's order.

    The chain begins with the adapter that was trained in full. `kept` is held against the base
    model, so a step's own part is the ratio of two.
    """
    parts = [kept(adapter) for adapter in chain]
    pairs = pairwise(parts)
    return tuple(now / before if now is not None and before else None for before, now in pairs)


def _scores(gate: Gate, side: str) -> dict[str, Tally]:
    """Return the scores of one side of a gate, by the metric's name."""
    numbers: Gate = (gate.get("numbers") or {}).get(TEST) or {}
    task: Gate = numbers.get(side) or {}
    found = {f"task score on {TEST}": _tally(task.get("task_score"), task.get("examples"))}
    suites: Gate = gate.get("suites") or {}
    for name, suite in suites.items():
        of_live = suite.get("against", "live") == "live"  # others tell of the base model
        if name != RETENTION and of_live and suite.get("metric") in SCORES:
            found[f"{suite['metric']} on {name}"] = _tally(suite.get(side), suite.get("questions"))
    return {name: tally for name, tally in found.items() if tally is not None}


def _tally(mean: Any, questions: Any) -> Tally | None:
    """Return a mean from 0 to 1 over so many questions as a sum; None of what is none."""
    if not isinstance(mean, int | float) or not isinstance(questions, int) or questions < 1:
        return None
    return Tally(mean * questions, questions) if 0.0 <= mean <= 1.0 else None
