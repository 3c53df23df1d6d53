"""How much memory and time a training will take, and what would fit if it does not. Pure.

A model's shape, a recipe and a device go in; bytes by part, seconds and the first change that fits
come out. Source: Rajbhandari et al. 2020 (ZeRO, arXiv 1910.02054) for states; Korthikanti et al.
2022 (arXiv 2205.05198) for activations; Kaplan et al. 2020 for 6 operations per weight and token.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

GB = 1e9
BYTES_16, BYTES_32 = 2, 4
ADAM_STATES = 2  # numbers per trained weight
NF4_BYTES = 0.55  # per weight, with its doubly quantised scales. Source: QLoRA, arXiv 2305.14314
OVERHEAD_BYTES = 0.6 * GB  # interpreter, libraries, allocator. Measured on CPU: 0.5 to 0.7
ACTIVATIONS = 17  # hidden-sized vectors kept per layer and token: half of the paper's 34 bytes
CHECKPOINTED = 2  # with gradient checkpointing: a layer's input, and what is computed again
FORWARD, BACKWARD_FROZEN, BACKWARD = 2.0, 2.0, 4.0  # operations per weight and token
# By part of the memory: a key of `retrain.money.sources`.
PART_SOURCES: Mapping[str, str] = {
    "weights": "zero",
    "gradients": "zero",
    "optimiser": "zero",
    "activations": "acts",
    "logits": "acts",
    "adapter": "lora",
    "overhead": "measured",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """A causal language model."""

    parameters: int
    layers: int
    hidden: int
    inner: int
    vocabulary: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What decides memory and time; from a recipe, or what would be if it were changed."""

    method: str = "lora"
    rank: int = 16
    batch: int = 8
    tokens: int = 512  # of a sequence
    bits: int = 32  # of a weight while computing: 32 or 16
    checkpointing: bool = False
    label_share: float = 1.0  # of positions that meet the vocabulary
    processes: int = 1
    zero: int = 0  # stage of DeepSpeed: 0 none, 1 states, 2 and gradients, 3 and weights
    offload: bool = False  # states in the host's memory


@dataclass(frozen=True, slots=True)
class Device:
    """Where it will run. `flops`: operations a second that are really reached."""

    memory_bytes: float
    flops: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """Memory by part, in bytes per device, and time in seconds."""

    parts: Mapping[str, float]
    seconds: float
    fits: bool
    suggestion: str | None = None  # the first change that would fit; None when it fits already

    @property
    def memory_bytes(self) -> float:
        """All parts together."""
        return sum(self.parts.values())


def shape_of(config: Mapping[str, Any]) -> Shape:
    """Return the shape; parameters are counted as those of a Llama with grouped queries."""
    hidden, layers = int(config["hidden_size"]), int(config["num_hidden_layers"])
    inner = int(config.get("intermediate_size") or 4 * hidden)
    heads = int(config["num_attention_heads"])
    head = int(config.get("head_dim") or hidden // heads)
    groups = int(config.get("num_key_value_heads") or heads)
    vocabulary = int(config["vocab_size"])
    attention = hidden * head * (2 * heads + 2 * groups)
    block = attention + 3 * hidden * inner + 2 * hidden
    tables = 1 if config.get("tie_word_embeddings") else 2
    return Shape(
        layers * block + tables * vocabulary * hidden + hidden, layers, hidden, inner, vocabulary
    )


def trained_weights(shape: Shape, plan: Plan) -> int:
    """Return how many numbers are trained."""
    if plan.method == "full":
        return shape.parameters
    # rank times both sides of seven matrices: four of hidden by hidden, three of hidden by inner
    return shape.layers * plan.rank * (8 * shape.hidden + 3 * (shape.hidden + shape.inner))


def estimate(shape: Shape, plan: Plan, device: Device, *, total_tokens: int) -> Estimate:
    """Return what training on `total_tokens` (of all epochs together) takes."""
    found = _measure(shape, plan, device, total_tokens)
    if found.fits:
        return found
    for words, changed in _changes(plan):
        other = _measure(shape, changed, device, total_tokens)
        if other.fits:
            gb = other.memory_bytes / GB
            return replace(found, suggestion=f"{words}: {gb:.1f} GB")
    return replace(found, suggestion="a smaller base model, or a larger device")


def _measure(shape: Shape, plan: Plan, device: Device, total_tokens: int) -> Estimate:
    parts = _memory(shape, plan)
    fits = sum(parts.values()) <= device.memory_bytes
    return Estimate(parts, _seconds(shape, plan, device, total_tokens), fits)


def _memory(shape: Shape, plan: Plan) -> dict[str, float]:
    wide = plan.bits // 8
    trained = trained_weights(shape, plan)
    shared = {stage: plan.processes if plan.zero >= stage else 1 for stage in (1, 2, 3)}
    base = shape.parameters * (NF4_BYTES if plan.method == "qlora" else wide) / shared[3]
    vectors = CHECKPOINTED if plan.checkpointing else ACTIVATIONS
    positions = plan.batch * plan.tokens
    inner = 0 if plan.checkpointing else 3 * shape.inner
    parts = {
        "weights": base,
        "gradients": trained * wide / shared[2],
        "optimiser": trained * ADAM_STATES * BYTES_32 / shared[1],
        "activations": positions * shape.layers * (vectors * shape.hidden + inner) * wide,
        # the logits, their 32-bit copy and its gradient
        "logits": 3 * positions * plan.label_share * shape.vocabulary * BYTES_32,
        "overhead": OVERHEAD_BYTES,
    }
    if plan.method != "full":
        parts["adapter"] = trained * BYTES_32
    if plan.offload:
        parts["optimiser"] = 0.0
    return parts


def reached_flops(shape: Shape, plan: Plan, tokens_per_s: float) -> float:
    """Return how many operations a second a device reached that trained so many tokens in one."""
    return tokens_per_s * _operations(shape, plan) / plan.processes


def _seconds(shape: Shape, plan: Plan, device: Device, total_tokens: int) -> float:
    return total_tokens * _operations(shape, plan) / (device.flops * plan.processes)


def _operations(shape: Shape, plan: Plan) -> float:
    """Return those of a token: a frozen weight still passes gradients on, but gets none itself."""
    frozen = shape.parameters * (FORWARD + BACKWARD_FROZEN)
    trained = trained_weights(shape, plan)
    whole = trained * (FORWARD + BACKWARD)
    per_token = whole if plan.method == "full" else frozen + whole
    again = 1.0 + (FORWARD / (FORWARD + BACKWARD) if plan.checkpointing else 0.0)
    return per_token * again


def _changes(plan: Plan) -> Iterator[tuple[str, Plan]]:
    """Yield what could be changed, the least harmful first, alone and then together."""
    now = plan
    if not now.checkpointing:
        now = replace(now, checkpointing=True)
        yield "gradient_checkpointing = true", now
    while now.batch > 1:
        now = replace(now, batch=now.batch // 2)
        yield f"gradient checkpointing and batch_size = {now.batch}", now
    if now.method == "full":
        now = replace(now, method="lora")
        yield "method lora, gradient checkpointing and batch_size = 1", now
    if now.method == "lora":
        now = replace(now, method="qlora")
        yield "method qlora, gradient checkpointing and batch_size = 1", now
    if now.processes > 1 and now.zero < 3:
        now = replace(now, zero=3)
        yield "ZeRO 3 beside that", now
    if not now.offload:
        yield "the optimiser's states offloaded beside that", replace(now, offload=True)
