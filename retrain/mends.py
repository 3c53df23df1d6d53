"""What would fit when a training does not, the least harmful first. Pure.

A shape, a plan and the memory of a device go in; changes that would fit by `retrain.estimate` come
out, each alone; when none does, as many of them together as it takes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace

from retrain.estimate import GB, Plan, Shape, memory_parts
from retrain.parallel.rules import METHODS

LOWEST_RANK = 4  # below it a LoRA learns little: Hu et al. 2021, table 6, tries 1 to 64
USUAL_RANK = 16  # guide, "LoRA Hyperparameters": start with 16


@dataclass(frozen=True, slots=True)
class Mend:
    """A change in words, and the bytes that a device would then hold at most."""

    words: str
    memory_bytes: float

    def __str__(self) -> str:
        return f"{self.words} ({self.memory_bytes / GB:.2f} GB)"


_Choice = tuple[str, Plan]


def mends(shape: Shape, plan: Plan, memory_bytes: float) -> list[Mend]:
    """Return what would fit into so many bytes; when nothing would, only a larger machine.

    Order: smaller batch, gradient checkpointing, QLoRA, LoRA, rank, shared weights and
    states, a smaller model.
    """
    alone: list[Mend] = []
    for lever in range(len(list(_levers(plan)))):
        for words, changed in _choices(plan, lever):
            size = _bytes(shape, changed)
            if size <= memory_bytes:
                alone.append(Mend(words, size))
                break  # harsher ones of the same kind are of no use
    found = alone or _together(shape, plan, memory_bytes)
    found += _smaller_model(shape, plan, memory_bytes)
    return found or [Mend("a machine with more memory", _bytes(shape, plan))]


def _together(shape: Shape, plan: Plan, memory_bytes: float) -> list[Mend]:
    """Return the first levers that do together, each as far as it must be pulled."""
    now, said = plan, list[str]()
    for lever in range(len(list(_levers(plan)))):
        choices = _choices(now, lever)
        if not choices:
            continue
        fitting = [choice for choice in choices if _bytes(shape, choice[1]) <= memory_bytes]
        words, now = fitting[0] if fitting else choices[-1]
        said.append(words)
        if fitting:
            return [Mend(" and ".join(said), _bytes(shape, now))]
    return []


def _choices(plan: Plan, lever: int) -> list[_Choice]:
    return list(list(_levers(plan))[lever])


def _levers(plan: Plan) -> Iterator[Iterator[_Choice]]:
    yield _smaller_batch(plan)
    yield _checkpointing(plan)
    yield _four_bits(plan)
    yield _lora(plan)
    yield _smaller_rank(plan)
    yield _shared(plan)


def _smaller_batch(plan: Plan) -> Iterator[_Choice]:
    """Yield halves of the batch that learn from as many examples a step."""
    batch, accumulation = plan.batch, plan.accumulation
    while batch > 1 and batch % 2 == 0:
        batch, accumulation = batch // 2, accumulation * 2
        words = f"batch_size = {batch} with gradient_accumulation = {accumulation}"
        yield words, replace(plan, batch=batch, accumulation=accumulation)
    if batch > 1:
        words = f"batch_size = 1 with gradient_accumulation = {accumulation * batch}"
        yield words, replace(plan, batch=1, accumulation=accumulation * batch)


def _checkpointing(plan: Plan) -> Iterator[_Choice]:
    if not plan.checkpointing and plan.method != "prefix":
        yield "gradient_checkpointing = true", replace(plan, checkpointing=True, lean=False)


def _four_bits(plan: Plan) -> Iterator[_Choice]:
    if plan.method == "lora" and not plan.cpu:
        yield 'method = "qlora" (recipe sft-qlora)', replace(plan, method="qlora")


def _lora(plan: Plan) -> Iterator[_Choice]:
    if plan.method == "full":
        changed = replace(plan, method="lora", rank=USUAL_RANK)
        yield f'method = "lora" with rank = {USUAL_RANK} (recipe sft-lora)', changed


def _smaller_rank(plan: Plan) -> Iterator[_Choice]:
    rank = plan.rank if plan.method != "full" else 0
    while rank // 2 >= LOWEST_RANK:
        rank //= 2
        yield f"rank = {rank}", replace(plan, rank=rank)


def _shared(plan: Plan) -> Iterator[_Choice]:
    if plan.processes > 1 and plan.zero < 3 and plan.method in METHODS["zero3"]:
        words = 'launchers.strategy = "zero3", which shares weights, gradients and states'
        yield words, replace(plan, zero=3)


def _smaller_model(shape: Shape, plan: Plan, memory_bytes: float) -> list[Mend]:
    """Return how large a model of the same width may be, if one would fit at all."""
    deep = range(1, shape.layers)
    fitting = bisect_right(deep, memory_bytes, key=lambda layers: _bytes(_cut(shape, layers), plan))
    if not fitting:
        return []
    cut = _cut(shape, fitting)
    words = f"a base model of at most some {cut.parameters / 1e6:,.0f} million weights"
    return [Mend(words, _bytes(cut, plan))]


def _cut(shape: Shape, layers: int) -> Shape:
    parameters = round(shape.parameters * layers / shape.layers)
    return replace(shape, layers=layers, parameters=parameters)


def _bytes(shape: Shape, plan: Plan) -> float:
    return sum(memory_parts(shape, plan).values())
