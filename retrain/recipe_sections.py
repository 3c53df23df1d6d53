"""The tables of a recipe that only one method or one trainer has.

`[qlora]`, `[ia3]`, `[oft]`, `[peanut]`, `[prefix]`, `[prompt]` belong to the method of that name;
`[kto]`, `[dpo]`, `[reward]` to the trainer of that name, `[reinforce]` to rloo and grpo. The
meaning and source of each value is in the recipe files. Knows nothing of torch.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from core.sections import Positive, Section

PositiveNumber = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
AiPairs = Literal["also", "only", "no"]


class Qlora(Section):
    """Values of `method = "qlora"`: how the frozen base model is held."""

    quantisation: Literal["nf4", "fp4"]
    double_quantisation: bool
    compute_dtype: Literal["bfloat16", "float16", "float32"]


class Ia3(Section):
    """Values of `method = "ia3"`: of which of the target modules the input is scaled."""

    feedforward_modules: tuple[str, ...]


class Oft(Section):
    """Values of `method = "oft"`: size of the orthogonal blocks, and how they are inverted."""

    block_size: Annotated[int, Field(ge=2)]
    cayley_neumann: bool


class Peanut(Section):
    """Values of `method = "peanut"`, a bottleneck with an activation beside each linear layer."""

    depth: Annotated[int, Field(ge=0)]  # hidden layers each in encoder and decoder
    activation: Literal["relu", "gelu", "silu", "tanh"]
    scaling: PositiveNumber


class Prefix(Section):
    """Values of `method = "prefix"`: learnt keys and values before each layer's own."""

    num_virtual_tokens: Positive
    projection: bool  # through a small network, which costs memory


class Prompt(Section):
    """Values of `method = "prompt"`: learnt embeddings before the prompt's own."""

    num_virtual_tokens: Positive
    init_text: str | None = None  # None: words drawn from the vocabulary


class Kto(Section):
    """Values of `trainer = "kto"`."""

    beta: PositiveNumber
    desirable_weight: Literal["balanced"] | PositiveNumber
    undesirable_weight: PositiveNumber


class Dpo(Section):
    """Values of `trainer = "dpo"`."""

    beta: PositiveNumber
    loss: Literal["sigmoid", "ipo", "hinge", "robust"]
    label_smoothing: Annotated[float, Field(ge=0.0, lt=0.5)]
    ai_pairs: AiPairs


class Reward(Section):
    """Values of `trainer = "reward"`."""

    center: NotNegative
    ai_pairs: AiPairs


class Reinforce(Section):
    """Values of `trainer = "rloo"` and `"grpo"`."""

    reward_model: str | None = None
    reward_weight: NotNegative
    length_chars: tuple[int, int] | None = None
    length_weight: NotNegative
    pattern: str | None = None
    pattern_weight: NotNegative
    beta: NotNegative
    generations: Annotated[int, Field(ge=2)]
    max_new_tokens: Positive
    temperature: PositiveNumber
    mask_truncated: bool
    epsilon: Annotated[float, Field(gt=0.0, lt=1.0)]
