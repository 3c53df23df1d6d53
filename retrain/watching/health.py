"""Is a training healthy? PURE: the points of its curves go in, findings come out.

A finding says what was seen, at which step, what to change, and whose rule it is. `stop` ends the
run: nothing after it is worth its compute. `warning` and `hint` are shown with the progress and in
the run's report. Knows nothing of trainers, files or time.

"guide" is the fine-tuning guide; its section follows. What it leaves open is marked as our choice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Literal

Kind = Literal[
    "not_a_number",
    "divergence",
    "gradient_explosion",
    "overfitting",
    "generalisation_gap",
    "plateau",
    "settled",
    "noisy_validation",
    "learning_rate",
    "schedule",
    "idle_device",
    "memory_full",
    "out_of_memory",
    "tracker",
    "checkpoint",
]
Severity = Literal["stop", "warning", "hint"]

MONITORING = "guide, Monitoring Training Progress"
ISSUES = "guide, Handling Training Issues"
DETECTION = "guide, Detection Strategies"
STOPPING = "guide, Prevention Techniques"
RATES = "guide, Learning Rate Guidelines"
OURS = "our choice"

WINDOW = 5  # steps whose mean stands for the loss now; one batch is too noisy. Our choice
GAP_SHARE = 0.1  # of the training loss. Source: guide, Detection Strategies, check_overfitting
MIN_CHANGE = 0.001  # of a validation loss. Source: guide, Prevention Techniques, EarlyStopping
RISES = 2  # evaluations above the best. Source: guide, Early Stopping: patience of 2-5
DIVERGED_RATIO = 2.0  # of the lowest mean loss. Our choice: noise does not double it
DIVERGED_NATS = 1.0  # above the lowest mean loss. Our choice: a small loss doubles easily
GUESSING_MARGIN = 0.05  # above the first mean, with a loss worse than guessing tokens. Our choice
EXPLODED_RATIO = 10.0  # of the median gradient norm before. Our choice
PLATEAU_SHARE = 0.25  # of the steps, after which a loss must have moved. Our choice
PLATEAU_STEPS = 2 * WINDOW  # so many at least, that two means can be compared
PLATEAU_FALL = 0.01  # of the first mean. Our choice: less is not learning
SETTLED_SHARE = 0.5  # the best evaluation lies before this share of the run. Our choice
NOISY_EVALUATIONS = 5  # so many at least. Our choice
NOISY_SHARE = 0.05  # mean jump between two evaluations, of their mean. Our choice
SMALL_DATASET = 1_000  # examples. Source: guide, Learning Rate Guidelines
LARGE_MODEL = 30e9  # parameters. Source: guide, Learning Rate Guidelines
RATE_TOLERANCE = 0.05  # of the recipe's, before a schedule is doubted. Our choice
BUSY_SHARE = 0.9  # of the GPU. Source: guide, Monitoring Training Progress: above 90 %
FULL_SHARE = 0.95  # of the memory. Our choice

# What says so: torch on a GPU and on CPU, Python, and the launcher of a process that was killed.
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "memoryerror", "was memory short")

# Source: guide, Learning Rate Guidelines, Starting Points. Methods it does not name have no range.
_LORA_RATES = (1e-4, 3e-4)
RATE_RANGES = {"full": (1e-5, 5e-5)} | dict.fromkeys(("lora", "qlora", "dora"), _LORA_RATES)
# Their losses are rewards in disguise: they begin near nought and mean nothing by themselves.
REINFORCEMENT = frozenset({"rloo", "grpo"})


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a person, or the run itself, should act on."""

    kind: Kind
    severity: Severity
    at_step: int
    what: str  # was seen, with its numbers
    mend: str  # what to change
    source: str  # of the rule


@dataclass(frozen=True, slots=True)
class Point:
    """What was known after one optimiser step; None where nothing was told."""

    step: int
    loss: float | None = None
    validation_loss: float | None = None  # of an evaluation at this very step
    grad_norm: float | None = None  # before clipping
    learning_rate: float | None = None


@dataclass(frozen=True, slots=True)
class Setup:
    """What the training was set up with, as far as its health depends on it."""

    trainer: str
    method: str
    learning_rate: float
    max_grad_norm: float
    total_steps: int
    train_examples: int | None = None
    parameters: int | None = None  # of the base model
    vocabulary: int | None = None  # tokens: who guesses has a loss of its logarithm


def judge(points: Sequence[Point], setup: Setup) -> list[Finding]:
    """Return what is to be found in the whole curve so far, the gravest first.

    `points` are in the order of their steps. At most one finding of each kind.
    """
    checks: list[Callable[[Sequence[Point], Setup], Finding | None]] = [
        find_not_a_number,
        _find_gradient_explosion,
        _find_schedule,
        _find_noisy_validation,
    ]
    if setup.trainer not in REINFORCEMENT:
        checks += [find_divergence, _find_overfitting, _find_gap, _find_plateau, _find_settled]
    found = [finding for check in checks if (finding := check(points, setup)) is not None]
    return sorted([*found, *judge_setup(setup)], key=lambda one: _GRAVITY[one.severity])


_GRAVITY: dict[Severity, int] = {"stop": 0, "warning": 1, "hint": 2}


def judge_setup(setup: Setup) -> list[Finding]:
    """Return what can be said of the learning rate before the first step."""
    allowed = rate_range(setup)
    if allowed is None or allowed[0] <= setup.learning_rate <= allowed[1]:
        return []
    low, high = allowed
    side, word = ("below", "raise") if setup.learning_rate < low else ("above", "lower")
    what = (
        f"learning_rate is {setup.learning_rate:.2g}, {side} the {low:.2g} to {high:.2g} that are "
        f"usual for {setup.method}{_because(setup)}"
    )
    mend = f"{word} it into that range if the losses do not convince"
    return [Finding("learning_rate", "hint", 0, what, mend, RATES)]


def rate_range(setup: Setup) -> tuple[float, float] | None:
    """Return the guide's lowest and highest starting learning rate, None where it names none.

    Small datasets: lower by 2-3 times; models over 30 billion parameters: by 2-5 times.
    """
    plain = RATE_RANGES.get(setup.method)
    if plain is None or setup.trainer != "sft":
        return None
    low, high = plain
    if setup.train_examples is not None and setup.train_examples < SMALL_DATASET:
        low, high = low / 3, high / 2
    if setup.parameters is not None and setup.parameters > LARGE_MODEL:
        low, high = low / 5, high / 2
    return low, high


def judge_system(gpu_busy: float | None, memory_used: float | None, at_step: int) -> list[Finding]:
    """Return what the device says: shares (0 to 1) of its time and of its memory, None: unknown."""
    found: list[Finding] = []
    if gpu_busy is not None and gpu_busy < BUSY_SHARE:
        what = f"the GPU was busy {gpu_busy:.0%} of the time, under {BUSY_SHARE:.0%}"
        mend = "raise batch_size, or set packing = true for short examples"
        found.append(Finding("idle_device", "hint", at_step, what, mend, MONITORING))
    if memory_used is not None and memory_used > FULL_SHARE:
        what = f"memory was used up to {memory_used:.0%}"
        mend = "lower batch_size and raise gradient_accumulation, or set gradient_checkpointing"
        found.append(Finding("memory_full", "warning", at_step, what, mend, ISSUES))
    return found


def judge_failure(error: str, at_step: int) -> list[Finding]:
    """Return what the end of a failed run says: whether memory was short."""
    if not any(words in error.lower() for words in OUT_OF_MEMORY):
        return []
    what = "the run ended for want of memory"
    mend = (
        "lower batch_size and raise gradient_accumulation, set gradient_checkpointing = true, or "
        'dtype = "bfloat16"'
    )
    return [Finding("out_of_memory", "stop", at_step, what, mend, ISSUES)]


def find_not_a_number(points: Sequence[Point], setup: Setup) -> Finding | None:
    """Return a reason to stop when the newest loss or gradient is not finite."""
    if not points:
        return None
    last = points[-1]
    told = (
        ("loss", last.loss),
        ("validation loss", last.validation_loss),
        ("gradient norm", last.grad_norm),
    )
    for name, value in told:
        if value is not None and not math.isfinite(value):
            what = f"{name} is {value} at step {last.step}"
            mend = f"lower learning_rate ({setup.learning_rate}) or check the data"
            return Finding("not_a_number", "stop", last.step, what, mend, ISSUES)
    return None


def find_divergence(points: Sequence[Point], setup: Setup) -> Finding | None:
    """Return a reason to stop when the loss is far above its lowest, and above its beginning.

    So is one that rises above that of guessing each token: it blew up in the first steps.
    """
    means = _means([point.loss for point in points if point.loss is not None])
    if len(means) < 2:
        return None
    now, lowest, first = means[-1], min(means), means[0]
    far_above = now > max(first, lowest * DIVERGED_RATIO, lowest + DIVERGED_NATS)
    guessing = math.log(setup.vocabulary) if setup.vocabulary else math.inf
    if not far_above and now <= max(guessing, first * (1 + GUESSING_MARGIN)):
        return None
    step = points[-1].step
    what = (
        f"loss is {now:.3f} over the last {WINDOW} steps at step {step}, began at {first:.3f} "
        f"and was down to {lowest:.3f}"
    )
    mend = f"lower learning_rate ({setup.learning_rate}), raise warmup_ratio, or check the data"
    return Finding("divergence", "stop", step, what, mend, ISSUES)


def _means(losses: Sequence[float]) -> list[float]:
    """Return the means of consecutive windows, the last of which ends with the last loss."""
    start = len(losses) % WINDOW
    return [
        math.fsum(losses[at : at + WINDOW]) / WINDOW
        for at in range(start, len(losses) - WINDOW + 1, WINDOW)
    ]


def _find_gradient_explosion(points: Sequence[Point], setup: Setup) -> Finding | None:
    norms = [point.grad_norm for point in points if point.grad_norm is not None]
    if len(norms) < 2 * WINDOW:
        return None
    usual, now = median(norms[:-WINDOW]), median(norms[-WINDOW:])
    if now <= max(usual * EXPLODED_RATIO, setup.max_grad_norm):
        return None
    step = points[-1].step
    what = f"gradient norm is {now:.2g} about step {step}, {usual:.2g} before"
    mend = (
        f"lower learning_rate ({setup.learning_rate}); max_grad_norm ({setup.max_grad_norm}) "
        "cuts the steps meanwhile"
    )
    return Finding("gradient_explosion", "warning", step, what, mend, MONITORING)


@dataclass(frozen=True, slots=True)
class _Evaluation:
    """A validation loss with the mean training loss of the steps since the evaluation before."""

    step: int
    validation_loss: float
    loss: float


def _evaluations(points: Sequence[Point]) -> list[_Evaluation]:
    found: list[_Evaluation] = []
    since: list[float] = []
    for point in points:
        if point.loss is not None:
            since.append(point.loss)
        if point.validation_loss is not None and since:
            mean = math.fsum(since) / len(since)
            found.append(_Evaluation(point.step, point.validation_loss, mean))
            since = []
    return found


def _find_overfitting(points: Sequence[Point], setup: Setup) -> Finding | None:
    evaluations = _evaluations(points)
    if len(evaluations) <= RISES:
        return None
    best = min(evaluations, key=lambda one: one.validation_loss)
    last = evaluations[-RISES:]
    risen = all(one.validation_loss > best.validation_loss + MIN_CHANGE for one in last)
    now = last[-1]
    if not risen or now.loss >= best.loss:
        return None
    what = (
        f"validation loss rose from {best.validation_loss:.3f} at step {best.step} to "
        f"{now.validation_loss:.3f} at step {now.step}, while training loss fell from "
        f"{best.loss:.3f} to {now.loss:.3f}"
    )
    mend = "fewer epochs, more data, more dropout or weight_decay, or a lower rank"
    return Finding("overfitting", "warning", now.step, what, mend, ISSUES)


def _find_gap(points: Sequence[Point], setup: Setup) -> Finding | None:
    """Find the guide's gap; not at the first evaluation, whose steps were mostly before it."""
    evaluations = _evaluations(points)[1:]
    if not evaluations:
        return None
    now = evaluations[-1]
    if now.validation_loss <= now.loss * (1 + GAP_SHARE):
        return None
    what = (
        f"validation loss is {now.validation_loss:.3f} at step {now.step}, more than "
        f"{GAP_SHARE:.0%} above the training loss of {now.loss:.3f}"
    )
    mend = "watch whether it rises: then fewer epochs, more data or more dropout"
    return Finding("generalisation_gap", "hint", now.step, what, mend, DETECTION)


def _find_plateau(points: Sequence[Point], setup: Setup) -> Finding | None:
    losses = [point.loss for point in points if point.loss is not None]
    needed = max(PLATEAU_STEPS, math.ceil(setup.total_steps * PLATEAU_SHARE))
    if len(losses) < needed:
        return None
    first = math.fsum(losses[:WINDOW]) / WINDOW
    now = math.fsum(losses[-WINDOW:]) / WINDOW
    if now < first * (1 - PLATEAU_FALL) or now > first * (1 + PLATEAU_FALL):
        return None
    step = points[-1].step
    what = f"training loss was {first:.3f} at the beginning and is {now:.3f} at step {step}"
    return Finding("plateau", "warning", step, what, _plateau_mend(setup), MONITORING)


def _plateau_mend(setup: Setup) -> str:
    allowed = rate_range(setup)
    if allowed is not None and setup.learning_rate >= allowed[1]:
        return "check the data: the learning rate is not too low for this method"
    return f"raise learning_rate ({setup.learning_rate:.2g}), lower weight_decay, check the data"


def _find_settled(points: Sequence[Point], setup: Setup) -> Finding | None:
    evaluations = _evaluations(points)
    if not evaluations or points[-1].step < setup.total_steps:
        return None  # only a whole run can have been too long
    lowest = min(one.validation_loss for one in evaluations)
    enough = next(one for one in evaluations if one.validation_loss <= lowest + MIN_CHANGE)
    if enough.step >= setup.total_steps * SETTLED_SHARE:
        return None
    what = (
        f"validation loss reached {enough.validation_loss:.3f} at step {enough.step} of "
        f"{setup.total_steps}, and nothing better came later"
    )
    return Finding("settled", "hint", enough.step, what, "fewer epochs would do", STOPPING)


def _find_noisy_validation(points: Sequence[Point], setup: Setup) -> Finding | None:
    losses = [p.validation_loss for p in points if p.validation_loss is not None]
    if len(losses) < NOISY_EVALUATIONS:
        return None
    jumps = [after - before for before, after in pairwise(losses)]
    turns = sum(one * next_one < 0 for one, next_one in pairwise(jumps))
    mean_jump = math.fsum(map(abs, jumps)) / len(jumps)
    mean = abs(math.fsum(losses) / len(losses))
    if turns * 2 <= len(jumps) - 1 or mean_jump <= NOISY_SHARE * mean:
        return None
    what = f"validation loss goes up and down by {mean_jump:.3f} from one evaluation to the next"
    mend = "a larger validation set: curation.validation_share"
    return Finding("noisy_validation", "hint", points[-1].step, what, mend, MONITORING)


def _find_schedule(points: Sequence[Point], setup: Setup) -> Finding | None:
    rates = [(p.step, p.learning_rate) for p in points if p.learning_rate is not None]
    if not rates:
        return None
    step, highest = max(rates, key=lambda one: one[1])
    if highest <= setup.learning_rate * (1 + RATE_TOLERANCE):
        return None
    what = (
        f"learning rate is {highest:.2g} at step {step}, the recipe says {setup.learning_rate:.2g}"
    )
    mend = "the schedule is not the recipe's: was the run resumed with other settings?"
    return Finding("schedule", "warning", step, what, mend, MONITORING)


def _because(setup: Setup) -> str:
    reasons: list[str] = []
    if setup.train_examples is not None and setup.train_examples < SMALL_DATASET:
        reasons.append(f"{setup.train_examples} examples (under {SMALL_DATASET}: 2-3 times lower)")
    if setup.parameters is not None and setup.parameters > LARGE_MODEL:
        reasons.append("a model of more than 30 billion parameters (2-5 times lower)")
    return f" with {' and '.join(reasons)}" if reasons else ""
