"""Which values of a recipe belong together: a recipe's values go in, complaints come out.

What a method or a trainer needs must be there, what it would ignore must not: a value that does
nothing misleads. Pure; knows neither files nor torch.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from retrain.recipe import Recipe

Trainer = Literal["sft", "kto", "dpo", "reward", "rloo", "grpo"]
Method = Literal["lora", "qlora", "dora", "ia3", "oft", "peanut", "prefix", "prompt", "full"]

_LOW_RANK = frozenset({"rank", "alpha", "dropout", "target_modules", "layers", "use_rslora"})
# The flat values that shape what is trained, by the method that needs them.
SHAPE: dict[Method, frozenset[str]] = {
    "lora": _LOW_RANK,
    "qlora": _LOW_RANK,
    "dora": _LOW_RANK,
    "ia3": frozenset({"target_modules"}),
    "oft": frozenset({"dropout", "target_modules", "layers"}),
    "peanut": frozenset({"rank", "target_modules", "layers"}),
    "prefix": frozenset(),
    "prompt": frozenset(),
    "full": frozenset(),
}
METHOD_TABLES = frozenset({"qlora", "ia3", "oft", "peanut", "prefix", "prompt"})
# Trainers with values of their own, and the table that holds them.
TRAINER_TABLES: dict[Trainer, str] = {
    "kto": "kto",
    "dpo": "dpo",
    "reward": "reward",
    "rloo": "reinforce",
    "grpo": "reinforce",
}
# What vLLM can load while it serves. Source: DESIGN, "Adapters on vLLM".
HOT_SERVED: frozenset[Method] = frozenset({"lora", "qlora"})
# What PEFT folds into the base model's weights; learnt tokens have none to go to.
MERGEABLE: frozenset[Method] = frozenset({"lora", "qlora", "dora", "ia3", "oft", "peanut"})
_BECOMES_BASE = MERGEABLE | {"full"}
# Preference and reward trainers compare with a reference: the same weights, adapter off.
_WITH_REFERENCE = frozenset({"lora", "qlora", "dora"})
# Trainers that have nothing to replay, and why.
_NO_REPLAY: dict[Trainer, str] = {
    "reward": "learns all pairs in every run",
    "rloo": "answers all prompts anew in every run",
    "grpo": "answers all prompts anew in every run",
}


def complaints(recipe: Recipe) -> list[str]:
    """Return what does not fit together, each with its mend; nothing when all does."""
    return [
        *_shape(recipe),
        *_tables(recipe),
        *_trainer(recipe),
        *_steps(recipe),
        *_overrides(recipe),
    ]


def serving_faults(recipe: Recipe, max_lora_rank: int) -> list[str]:
    """Return why the engine could not hot-load what the recipe makes; nothing when it can."""
    if recipe.trainer == "reward":
        return ["a reward model gives numbers, not answers: it trains rloo and grpo"]
    if recipe.method not in HOT_SERVED:
        merge = "`ratchet merge` makes a base model of it, or " * (recipe.method in _BECOMES_BASE)
        return [
            f"vLLM does not load {recipe.method} adapters while it serves: {merge}"
            "train with method lora"
        ]
    if recipe.rank is not None and recipe.rank > max_lora_rank:
        return [
            f"rank is {recipe.rank}, above engine.max_lora_rank ({max_lora_rank}): "
            "lower the rank or raise the setting"
        ]
    return []


def reward_faults(recipe: Recipe) -> list[str]:
    """Return why there is nothing to reinforce by; nothing when there is, or none is needed.

    A recipe is valid without: the reward model is named by whoever has trained one.
    """
    values = recipe.reinforce
    if values is None or values.reward_model or values.length_chars or values.pattern is not None:
        return []
    return [
        f"recipe {recipe.name} rewards nothing: set reinforce.reward_model to a reward model "
        "(train one with recipe reward-lora), or reinforce.length_chars or reinforce.pattern"
    ]


def _shape(recipe: Recipe) -> list[str]:
    needed = SHAPE[recipe.method]
    every = frozenset().union(*SHAPE.values())
    given = {name for name in every if getattr(recipe, name) is not None}
    return [
        *(f"{name}: method {recipe.method} needs it" for name in sorted(needed - given)),
        *(f"{name}: method {recipe.method} has none, remove it" for name in sorted(given - needed)),
    ]


def _tables(recipe: Recipe) -> list[str]:
    own_method = {recipe.method} & METHOD_TABLES
    own_trainer = {TRAINER_TABLES[recipe.trainer]} if recipe.trainer in TRAINER_TABLES else set()
    found = [
        *_table_complaints(recipe, METHOD_TABLES, own_method, f"method {recipe.method}"),
        *_table_complaints(
            recipe, set(TRAINER_TABLES.values()), own_trainer, f"trainer {recipe.trainer}"
        ),
    ]
    if recipe.ia3 is not None and recipe.target_modules is not None:
        strange = sorted(set(recipe.ia3.feedforward_modules) - set(recipe.target_modules))
        found += [f"ia3.feedforward_modules: {name} is not in target_modules" for name in strange]
    return found


def _table_complaints(
    recipe: Recipe, tables: Collection[str], own: Collection[str], whose: str
) -> list[str]:
    given = {name for name in tables if getattr(recipe, name) is not None}
    return [
        *(f"[{name}]: {whose} needs this table" for name in sorted(set(own) - given)),
        *(f"[{name}]: {whose} does not read this table" for name in sorted(given - set(own))),
    ]


def _trainer(recipe: Recipe) -> list[str]:
    if recipe.trainer == "sft":
        everything = not recipe.assistant_only_loss and recipe.learnt_turns == "all"
        return ["learnt_turns is all, which needs assistant_only_loss = true"] * everything
    found: list[str] = []
    if recipe.packing:
        found.append(f"packing: trainer {recipe.trainer} compares answers, set packing = false")
    if not recipe.assistant_only_loss:
        found.append(f"assistant_only_loss: trainer {recipe.trainer} learns from answers, set true")
    if recipe.method not in _WITH_REFERENCE:
        known = ", ".join(sorted(_WITH_REFERENCE))
        found.append(f"method {recipe.method}: trainer {recipe.trainer} trains {known} only")
    if recipe.trainer in _NO_REPLAY and recipe.replay_share > 0.0:
        why = _NO_REPLAY[recipe.trainer]
        found.append(f"replay_share: trainer {recipe.trainer} {why}, set 0.0")
    return found


def _steps(recipe: Recipe) -> list[str]:
    found: list[str] = []
    if recipe.save_every_steps % recipe.eval_every_steps:
        found.append(
            f"save_every_steps ({recipe.save_every_steps}) must be a multiple of "
            f"eval_every_steps ({recipe.eval_every_steps}), so that the best step can be kept"
        )
    if recipe.gradient_checkpointing and recipe.method == "prefix":
        found.append("gradient_checkpointing: prefix tuning works through the cache, set false")
    if recipe.packing and recipe.method in {"prefix", "prompt"}:
        found.append(f"packing: {recipe.method} puts tokens before each example, set false")
    return found


def _overrides(recipe: Recipe) -> list[str]:
    """An adapter that is continued keeps what shapes it."""
    fixed = {"trainer", "method", *METHOD_TABLES, *frozenset().union(*SHAPE.values())}
    found = sorted(fixed & recipe.incremental.keys())
    if found:
        names = ", ".join(found)
        return [f"[incremental] cannot change {names}: the adapter that is continued decides them"]
    return []
