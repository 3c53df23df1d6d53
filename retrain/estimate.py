"""How much memory and time a training will take. Pure; `retrain.mends` says what would fit.

A model's shape, a plan and a device go in; bytes by part and seconds come out. Source: Rajbhandari
et al. 2020 (ZeRO, arXiv 1910.02054) for states; Korthikanti et al. 2022 (arXiv 2205.05198) for
activations; Kaplan et al. 2020 for 6 operations per weight and token; `docs/experiments.md` for
what the short cuts for the CPU keep.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

GB = 1e9
BYTES_16, BYTES_32 = 2, 4
ADAM_STATES = 2  # numbers per trained weight
NF4_BYTES = 0.55  # per weight, with its doubly quantised scales. Source: QLoRA, arXiv 2305.14314
OVERHEAD_BYTES = 0.6 * GB  # interpreter, libraries, allocator. Measured on CPU: 0.5 to 0.7
ACTIVATIONS = 17  # hidden-sized vectors kept per layer and token: half of the paper's 34 bytes
INNER = 3  # vectors of the MLP's width kept per layer and token: gate, up and their product
CHECKPOINTED = 2  # with gradient checkpointing: a layer's input, and what is computed again
# What `retrain.training.lean` keeps per layer: of a token in the row two inputs of norms, two of
# linear layers, the attention's output; of a padded place queries, keys, values and their result.
LEAN, LEAN_PADDED = 5, 4
LOGIT_ROWS = 128  # positions whose logits exist at once there: `lean.LOSS_ROWS`
DROPPED = 1.25  # a dropped-out input in 32 bits, and its mask of a byte
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
    layers: int | None = None  # only so many upper ones are trained; None: all
    batch: int = 8  # sequences at once, of one process
    accumulation: int = 1  # batches before a step
    tokens: int = 512  # of the longest sequence
    mean_tokens: float | None = None  # of a sequence; None: all are as long
    bits: int = 32  # of a weight while computing: 32 or 16
    checkpointing: bool = False
    dropout: bool = False  # before the adapter's matrices
    label_share: float = 1.0  # of positions that meet the vocabulary
    processes: int = 1
    zero: int = 0  # stage of DeepSpeed: 0 none, 1 states, 2 and gradients, 3 and weights
    cpu: bool = False  # computed by the processor, in the machine's memory
    lean: bool = False  # by the short cuts for the CPU: a batch as one row


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
    return _deep(shape, plan) * plan.rank * (8 * shape.hidden + 3 * (shape.hidden + shape.inner))


def estimate(
    shape: Shape, plan: Plan, device: Device, *, total_tokens: float, watched_tokens: float = 0.0
) -> Estimate:
    """Return what training on `total_tokens` takes, and watching on `watched_tokens` meanwhile.

    Both are counted over all epochs and evaluations together.
    """
    parts = memory_parts(shape, plan)
    operations = total_tokens * _operations(shape, plan)
    operations += watched_tokens * shape.parameters * FORWARD
    seconds = operations / (device.flops * plan.processes)
    return Estimate(parts, seconds, sum(parts.values()) <= device.memory_bytes)


def memory_parts(shape: Shape, plan: Plan) -> dict[str, float]:
    """Return the bytes that a device holds at most, by what they are for."""
    trained = trained_weights(shape, plan)
    shared = {stage: plan.processes if plan.zero >= stage else 1 for stage in (1, 2, 3)}
    parts = {
        "weights": shape.parameters * _weight_bytes(plan) / shared[3],
        "gradients": trained * BYTES_32 / shared[2],
        "optimiser": trained * ADAM_STATES * BYTES_32 / shared[1],
        "activations": _activations(shape, plan),
        "logits": _logits(shape, plan),
        "overhead": OVERHEAD_BYTES,
    }
    if plan.method != "full":
        parts["adapter"] = trained * BYTES_32
    return parts


def _weight_bytes(plan: Plan) -> float:
    """Return those of a weight; all are kept in 32 bits when all are trained."""
    if plan.method == "qlora":
        return NF4_BYTES
    return BYTES_32 if plan.method == "full" else plan.bits // 8


def _deep(shape: Shape, plan: Plan) -> int:
    """Return how many layers are trained; those below are only passed forward."""
    return shape.layers if plan.layers is None else min(plan.layers, shape.layers)


def _activations(shape: Shape, plan: Plan) -> float:
    padded = plan.batch * plan.tokens
    wide = plan.bits // 8
    if plan.checkpointing:
        return padded * _deep(shape, plan) * CHECKPOINTED * shape.hidden * wide
    kept = padded * (ACTIVATIONS * shape.hidden + INNER * shape.inner)
    if plan.lean:
        row = row_tokens(plan)
        kept = row * (LEAN * shape.hidden + INNER * shape.inner)
        kept += padded * LEAN_PADDED * shape.hidden
    if plan.dropout:  # each of seven matrices keeps an input of its own
        kept += padded * (6 * shape.hidden + shape.inner) * DROPPED
    return kept * _deep(shape, plan) * wide


def row_tokens(plan: Plan) -> float:
    """Return how many tokens a row of the longest batch has: between its mean and its longest."""
    mean = plan.tokens if plan.mean_tokens is None else plan.mean_tokens
    return plan.batch * (mean + plan.tokens) / 2


def _logits(shape: Shape, plan: Plan) -> float:
    """Return those, their 32-bit copy and its gradient."""
    positions = plan.batch * plan.tokens * plan.label_share
    rows = LOGIT_ROWS if plan.lean and plan.method != "full" else positions
    return 3 * rows * shape.vocabulary * BYTES_32


def reached_flops(shape: Shape, plan: Plan, tokens_per_s: float) -> float:
    """Return how many operations a second a device reached that trained so many tokens in one."""
    return tokens_per_s * _operations(shape, plan) / plan.processes


def _operations(shape: Shape, plan: Plan) -> float:
    """Return those of a token: a frozen weight still passes gradients on, but gets none itself."""
    backward = BACKWARD_FROZEN * _deep(shape, plan) / shape.layers
    frozen = shape.parameters * (FORWARD + backward)
    trained = trained_weights(shape, plan)
    whole = trained * (FORWARD + BACKWARD)
    per_token = whole if plan.method == "full" else frozen + whole
    again = 1.0 + (FORWARD / (FORWARD + BACKWARD) if plan.checkpointing else 0.0)
    return per_token * again
