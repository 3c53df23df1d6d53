"""Which values of a recipe belong together: by method, by trainer, and what can be served."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from core.errors import SettingsError
from retrain.recipe import FOLDER, Recipe, load_recipe
from retrain.recipe_rules import SHAPE, TRAINER_TABLES, reward_faults, serving_faults

KTO = "[kto]\nbeta = 0.1\ndesirable_weight = 1.0\nundesirable_weight = 1.0\n"


def edited(tmp_path: Path, name: str, *changes: tuple[str, str]) -> Path:
    """Write a shipped recipe with changes by regular expressions."""
    text = (FOLDER / f"{name}.toml").read_text()
    for old, new in changes:
        text, count = re.subn(old, new, text, count=1, flags=re.MULTILINE)
        assert count == 1, old
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("name", "changes", "told"),
    [
        ("sft-lora", [("^rank = .*", "")], "rank: method lora needs it"),
        ("sft-ia3", [("^seed", "rank = 4\nseed")], "rank: method ia3 has none, remove it"),
        ("sft-ia3", [(r'"down_proj"\]', '"up_proj"]')], "feedforward_modules: down_proj is not in"),
        ("sft-prefix", [(r"\[prefix\]\n[^\n]*\n[^\n]*\n", "")], r"\[prefix\]: method prefix needs"),
        ("sft-lora", [(r"^\[incr", KTO + "[incr")], r"\[kto\]: trainer sft does not read"),
        ("sft-lora", [('"sft"', '"kto"')], r"\[kto\]: trainer kto needs this table"),
        ("sft-ia3", [('"sft"', '"kto"'), (r"^\[incr", KTO + "[incr")], "trains dora, lora, qlora"),
        ("sft-packing", [('"sft"', '"dpo"')], "packing: trainer dpo compares answers"),
        ("sft-lora", [('"sft"', '"dpo"'), ("_loss = true", "_loss = false")], "learns from answ"),
        (
            "rloo-lora",
            [("share = 0.0  ", "share = 0.2  ")],
            "replay_share: trainer rloo answers",
        ),
        (
            "reward-lora",
            [("share = 0.0", "share = 0.2")],
            "replay_share: trainer reward learns",
        ),
        ("sft-conversation", [("_loss = true", "_loss = false")], "learnt_turns is all, which"),
        ("sft-prefix", [("checkpointing = false", "checkpointing = true")], "through the cache"),
        ("sft-prompt", [("packing = false", "packing = true")], "packing: prompt puts tokens"),
        ("sft-oft", [("block_size = 32", "block_size = 1")], r"oft.block_size: .*got 1"),
        ("sft-qlora", [('"nf4"', '"int2"')], r"qlora.quantisation: .*got 'int2'"),
        ("sft-ia3", [(r"^\[incr.*", "[incremental.ia3]")], r"\[incremental\] cannot change ia3"),
        ("sft-lora", [("^seed", "checkpoint_every_minutes = 0\nseed")], "every_minutes: .*got 0"),
    ],
)
def test_what_does_not_belong_together_is_told(
    tmp_path: Path, name: str, changes: list[tuple[str, str]], told: str
) -> None:
    """A value that is missing, or would do nothing, is named with the method or trainer."""
    with pytest.raises(SettingsError, match=told):
        load_recipe(edited(tmp_path, name, *changes))


def test_overrides_reach_into_tables(tmp_path: Path) -> None:
    """An override of one value of a trainer's table leaves the others, and holds in its mode."""
    text = KTO + "[incremental.kto]\nbeta = 0.5\n[incremental]"
    recipe = load_recipe(
        edited(tmp_path, "sft-lora", ('"sft"', '"kto"'), (r"^\[incremental\]", text))
    )
    gentle = recipe.for_mode("incremental")
    assert gentle.kto is not None
    assert recipe.kto is not None
    assert (gentle.kto.beta, recipe.kto.beta) == (0.5, 0.1)
    assert gentle.kto.desirable_weight == recipe.kto.desirable_weight


def test_every_method_and_trainer_is_known() -> None:
    """Each method has a shipped recipe of its own name."""
    for method in SHAPE:
        assert load_recipe(f"sft-{method}").method == method
    assert set(TRAINER_TABLES) == {"kto", "dpo", "reward", "rloo", "grpo"}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("sft-lora", None),
        ("sft-qlora", None),
        ("sft-rslora", "rank is 64, above engine.max_lora_rank"),
        ("sft-dora", "`ratchet merge` makes a base model"),
        ("sft-full", "`ratchet merge` makes a base model"),
        ("sft-prompt", "serves: train with method lora"),
    ],
)
def test_what_an_engine_can_load_is_told_before_any_run(name: str, told: str | None) -> None:
    """Only low-rank adapters within the limit; of the others what to do instead."""
    faults = load_recipe(name).serving_faults(16)
    assert bool(faults) == (told is not None)
    if told is not None:
        assert told in faults[0]


@pytest.mark.parametrize(
    ("table", "rewards"),
    [
        ({}, False),
        ({"reward_model": "desk--v3"}, True),
        ({"length_chars": (1, 9)}, True),
        ({"pattern": "^A"}, True),
    ],
)
def test_reinforcement_needs_something_that_rewards(table: dict[str, Any], rewards: bool) -> None:
    """A reward model or a rule; other trainers need none."""
    recipe = load_recipe("grpo-lora")
    assert recipe.reinforce is not None
    asked = recipe.model_copy(update={"reinforce": recipe.reinforce.model_copy(update=table)})
    assert bool(reward_faults(asked)) != rewards
    assert reward_faults(load_recipe("kto-lora")) == []


def test_reward_model_is_no_answerer() -> None:
    """Whatever its method, it gives numbers."""
    recipe: Recipe = load_recipe("sft-lora").model_copy(update={"trainer": "reward"})
    assert "numbers, not answers" in serving_faults(recipe, 16)[0]


@pytest.mark.parametrize(
    ("name", "config", "told"),
    [
        ("sft-lora", {"use_dora": True}, "method is dora, the recipe says lora"),
        ("sft-oft", {"peft_type": "IA3"}, "method is ia3, the recipe says oft"),
        ("sft-lora", {"peft_type": "VERA"}, "method is vera, the recipe says lora"),
        (
            "sft-ia3",
            {"peft_type": "IA3", "target_modules": ["k_proj", "v_proj", "down_proj"]},
            "ia3.feedforward_modules is [], the recipe says ['down_proj']",
        ),
        (
            "sft-prefix",
            {"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 5},
            "prefix.num_virtual_tokens is 5, the recipe says 20",
        ),
        (
            "sft-prompt",
            {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 5},
            "prompt.num_virtual_tokens is 5, the recipe says 20",
        ),
    ],
)
def test_adapter_of_another_kind_is_not_continued(
    name: str, config: dict[str, Any], told: str
) -> None:
    """The difference is told in the recipe's words."""
    assert load_recipe(name).differences(config) == [told]


def test_shape_of_other_methods_is_compared() -> None:
    """What PEFT writes of an OFT and of a PEANuT is read by its own names."""
    modules = list(load_recipe("sft-oft").target_modules or ())
    oft = {
        "peft_type": "OFT",
        "module_dropout": 0.0,
        "target_modules": modules,
        "oft_block_size": 16,
    }
    assert load_recipe("sft-oft").differences(oft) == ["oft.block_size is 16, the recipe says 32"]
    peanut = {
        "peft_type": "PEANUT",
        "r": 8,
        "target_modules": modules,
        "depth": 1,
        "act_fn": "relu",
        "scaling": 1.0,
    }
    assert load_recipe("sft-peanut").differences(peanut) == [
        "rank is 8, the recipe says 16",
        "peanut.depth is 1, the recipe says 0",
    ]


def test_quantised_base_does_not_change_what_the_adapter_is() -> None:
    """An adapter of qlora is a LoRA: continued by qlora, or by lora of the same shape."""
    recipe = load_recipe("sft-qlora")
    config = {
        "r": recipe.rank,
        "lora_alpha": recipe.alpha,
        "lora_dropout": recipe.dropout,
        "target_modules": list(recipe.target_modules or ()),
    }
    assert recipe.differences(config) == []
