"""Which method fits, or whether prompting or retrieval would do instead. Pure.

What is known of the task, the data and the budget goes in; an advice with its reasons comes out.
Source: the fine-tuning guide, "Alternatives", "Quantity Guidelines", "Model Selection Strategy",
"GPU Requirements by Model Size".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["instructions", "domain", "behaviour", "task"]
Way = Literal["prompting", "retrieval", "hosted", "lora", "qlora", "full"]

MIN_FOR_TUNING = 100  # guide, "Prompt Engineering is Better When": fewer than 100 good examples
# Guide, "Quantity Guidelines": from how many examples each kind works.
NEEDED: dict[Kind, int] = {
    "instructions": 100,
    "domain": 1_000,
    "behaviour": 500,
    "task": 10_000,
}
# Guide, "Model Selection Strategy": budgets in US dollars.
HOSTED_BELOW, SMALL_BELOW, MIDDLE_BELOW = 500.0, 2_000.0, 10_000.0
# Guide, "GPU Requirements by Model Size": GB of GPU memory by billions of parameters.
LORA_GB = ((1.0, 16.0), (7.0, 24.0), (13.0, 80.0), (70.0, 320.0))
FULL_GB = ((1.0, 24.0), (7.0, 160.0), (13.0, 640.0), (70.0, 1280.0))
# The same table in the guide's words: up to so many billions, in full, by LoRA, on what.
HARDWARE = (
    (1.0, "<1B", "1x A10/T4 (24GB)", "1x T4 (16GB)", "single GPU"),
    (7.0, "1-7B", "1-4x A100 (40GB)", "1x A10 (24GB)", "single or multi-GPU"),
    (13.0, "7-13B", "4-8x A100 (80GB)", "1-2x A100 (40GB)", "multi-GPU or node"),
    (70.0, "13-70B", "8-16x A100 (80GB)", "2-4x A100 (80GB)", "multi-node"),
    (float("inf"), "70B+", "16+ H100/A100", "4-8x A100 (80GB)", "multi-node"),
)
QLORA_SHARE = 0.35  # of a LoRA's memory: weights in 4 bits instead of 16, the rest as it was


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known. `model_billions`: parameters of the base model, in thousand millions."""

    examples: int
    kind: Kind = "behaviour"
    budget_usd: float | None = None
    strict_latency: bool = False
    knowledge_changes: bool = False  # what answers rest on changes every few weeks, or is large
    simple_task: bool = False
    private_data: bool = False  # may not leave
    model_billions: float | None = None
    gpu_gb: float | None = None  # of all GPUs together


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do, why, and what else to know."""

    way: Way
    reasons: tuple[str, ...]
    cautions: tuple[str, ...] = ()


def advise(situation: Situation) -> Advice:
    """Return what the guide would do."""
    cautions = tuple(_cautions(situation))
    if situation.examples < MIN_FOR_TUNING:
        return Advice(
            "retrieval" if situation.knowledge_changes else "prompting",
            (
                f"{situation.examples} examples are fewer than the {MIN_FOR_TUNING} from which "
                "tuning beats 5-20 of them in the prompt (guide, Alternatives)",
            ),
            cautions,
        )
    if situation.knowledge_changes:
        return Advice(
            "retrieval",
            (
                "what changes is looked up better than learnt: a tuned model knows yesterday's "
                "(guide, Retrieval-Augmented Generation)",
            ),
            (*cautions, "style and domain language can be tuned beside it (guide, Hybrid)"),
        )
    if situation.simple_task and not situation.strict_latency:
        return Advice(
            "prompting",
            ("a simple task is prompted well enough (guide, Prompt Engineering is Better When)",),
            cautions,
        )
    way, why = _method(situation)
    return Advice(way, why, cautions)


def _method(situation: Situation) -> tuple[Way, tuple[str, ...]]:
    budget = situation.budget_usd
    if budget is not None and budget < HOSTED_BELOW and not situation.private_data:
        return "hosted", (
            f"${budget:,.0f} is under ${HOSTED_BELOW:,.0f}: an API's fine-tuning needs no machine "
            "of your own (guide, Model Selection Strategy)",
        )
    needed = NEEDED[situation.kind]
    rich = budget is not None and budget >= SMALL_BELOW
    if (
        rich
        and situation.strict_latency
        and situation.examples >= 10 * needed
        and _fits_full(situation)
    ):
        return "full", (
            f"${budget:,.0f}, {situation.examples:,} examples and a strict latency: a small model "
            "tuned in full (guide, Model Selection Strategy)",
        )
    if situation.gpu_gb is not None and situation.model_billions is not None:
        lora = memory_gb(situation.model_billions, LORA_GB)
        if situation.gpu_gb < lora:
            return "qlora", (
                f"{situation.gpu_gb:g} GB of GPU memory are under the {lora:g} that LoRA takes for "
                f"{situation.model_billions:g} billion parameters; in 4 bits about "
                f"{QLORA_SHARE * lora:.0f} (guide, GPU Requirements; QLoRA)",
            )
    return "lora", (
        "LoRA first: 10 to 100 times cheaper than full fine-tuning, and hot-served here "
        "(guide, Right-Sizing Resources)",
    )


def memory_gb(billions: float, table: tuple[tuple[float, float], ...]) -> float:
    """Return the GPU memory that the guide's table names for a model of that size.

    Beyond its last row the need grows with the size.
    """
    for limit, needed in table:
        if billions <= limit:
            return needed
    limit, needed = table[-1]
    return needed * billions / limit


def hardware_words(billions: float) -> str:
    """Return what the guide would train a model of that size on."""
    _, size, full, lora, where = next(row for row in HARDWARE if billions <= row[0])
    return f"the guide's table for {size} weights: in full {full}, by LoRA {lora}; {where}"


def _fits_full(situation: Situation) -> bool:
    if situation.gpu_gb is None or situation.model_billions is None:
        return True
    return situation.gpu_gb >= memory_gb(situation.model_billions, FULL_GB)


def _cautions(situation: Situation) -> Iterator[str]:
    needed = NEEDED[situation.kind]
    if situation.examples < needed:
        yield (
            f"{situation.kind} needs {needed:,} good examples by the guide, there are "
            f"{situation.examples:,}: expect less, and look at the gate's numbers"
        )
    if situation.private_data:
        yield "the data may not leave: no hosted fine-tuning, no API as a judge"
    if situation.budget_usd is not None and situation.budget_usd >= MIDDLE_BELOW:
        yield "the budget allows a larger base model, or several stages (guide, Model Selection)"
