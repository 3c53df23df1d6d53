"""The arithmetic of the benchmark: how much is measured, when a loss was reached, goals.

Pure: numbers in, numbers out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from bench.report import Goal, at_least, at_most, ratio

# Our goals for retraining
GOAL_SECONDS = 0.6  # of the plain script's, to the same held-out loss
GOAL_MEMORY = 1.0  # of the plain script's peak
GOAL_KILL = 0.01  # of the undisturbed training's held-out loss
GOAL_KEPT = 0.98  # of the general questions that the adapter answered before an increment
GOAL_ANSWERS = 1.0  # vLLM's answers/s to those of transformers' `generate`

OURS = "recipe"
ON_CPU = "TRL, float32"  # what TRL's help says a CPU needs
PLAIN = (ON_CPU, "TRL, defaults")


@dataclass(frozen=True)
class Extent:
    """How much to measure."""

    train: int = 64  # conversations
    heldout: int = 32
    epochs: float = 2.0
    batch_size: int = 8  # guide, Batch Size: 1-8 per device
    save_steps: int = 4  # the held-out loss is measured so often, on each side
    plain: tuple[str, ...] = PLAIN
    # a plain script that takes more than so many of our trainings is stopped: bfloat16 where the
    # processor only emulates it takes ten minutes a step. Our choice
    patience: float = 4.0
    prompts: int = 32  # answered by the gate's engine and by `generate`
    answer_tokens: int = 32
    answer_rounds: int = 2
    new: int = 16  # conversations that an increment adds


QUICK = Extent(
    train=24,
    heldout=12,
    epochs=1.0,
    save_steps=1,
    plain=PLAIN[:1],
    prompts=16,
    answer_tokens=24,
    answer_rounds=1,
)


@dataclass(frozen=True)
class Training:
    """One training as it was seen from outside; seconds from the start of its process."""

    seconds: float
    cpu_s: float
    peak_mb: float
    tokens_per_s: float  # of the conversations, without padding, while it trained
    steps: tuple[int, ...]
    at_s: tuple[float, ...]  # when each of these steps was saved
    losses: tuple[float, ...]  # held out


def target_loss(plain: Sequence[Training]) -> float:
    """Return the loss to reach: the lowest that every plain training got to."""
    return max(min(training.losses) for training in plain)


def seconds_to(training: Training, base_loss: float, target: float) -> float | None:
    """Return when the training reached the loss, between two saved steps on a straight line.

    None: it did not. The line to the first saved step begins at the base model and second 0.
    """
    points = [(0.0, base_loss), *zip(training.at_s, training.losses, strict=True)]
    for (before_s, before), (after_s, after) in pairwise(points):
        if after <= target:
            share = (before - target) / (before - after) if before > after else 1.0
            return before_s + min(1.0, max(0.0, share)) * (after_s - before_s)
    return None


def compared(trainings: Mapping[str, Training], base_loss: float) -> dict[str, Any]:
    """Return the target, seconds to it, and our ratios to the best plain run in each measure."""
    plain = [training for name, training in trainings.items() if name != OURS]
    target = target_loss(plain)
    to_target = {name: seconds_to(one, base_loss, target) for name, one in trainings.items()}
    quickest = min(
        (to_target[name] or one.seconds for name, one in trainings.items() if name != OURS)
    )
    ours = trainings[OURS]
    return {
        "base_loss": base_loss,
        "target_loss": target,
        "seconds_to_target": to_target,
        "to_quickest": ratio(to_target[OURS], quickest),
        # the same steps, and so without what a higher learning rate gains
        "same_steps_to_quickest": ours.at_s[-1] / min(one.at_s[-1] for one in plain),
        "memory_to_leanest": ours.peak_mb / min(one.peak_mb for one in plain),
        "tokens_per_s_to_quickest": ours.tokens_per_s / max(one.tokens_per_s for one in plain),
        "cpu_to_least": ours.cpu_s / min(one.cpu_s for one in plain),
    }


def told_of_kill(killed: Mapping[str, Any], loss: float, undisturbed: float) -> dict[str, Any]:
    """Return what a kill cost: steps that were done again, and how far apart the losses end."""
    return {
        **killed,
        "lost_steps": killed["killed_at"] - killed["resumed_from"],
        "loss": loss,
        "undisturbed_loss": undisturbed,
        "loss_apart": abs(loss - undisturbed) / undisturbed,
    }


def goals(result: Mapping[str, Any]) -> list[Goal]:
    """Return the goals; what was not measured is not met."""
    training: Mapping[str, Any] = result.get("training", {}).get("compared", {})
    memory = training.get("memory_to_leanest")
    kill: Mapping[str, Any] = result.get("keeping", {}).get("kill", {})
    increment: Mapping[str, Any] = result.get("keeping", {}).get("increment", {})
    lost = kill.get("lost_steps")
    return [
        at_most(
            "seconds to the loss of plain TRL", GOAL_SECONDS, training.get("to_quickest"), "ratio"
        ),
        Goal(
            "peak memory to plain TRL",
            GOAL_MEMORY,
            memory,
            "ratio",
            memory is not None and memory <= GOAL_MEMORY,
        ),
        Goal(
            "steps that a kill costs, in checkpoint intervals",
            1.0,
            ratio(lost, kill.get("interval")),
            "ratio",
            lost is not None and lost <= kill["interval"],
        ),
        at_most("loss after a kill, apart from undisturbed", GOAL_KILL, kill.get("loss_apart"), ""),
        at_least(
            "general questions kept by an increment",
            GOAL_KEPT,
            ratio(increment.get("after"), increment.get("before")),
        ),
        at_least(
            "gate answers/s to generate", GOAL_ANSWERS, result.get("answers", {}).get("ratio")
        ),
    ]
