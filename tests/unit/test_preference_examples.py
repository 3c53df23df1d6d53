"""Pairs, labels and prompts of a version's folder, replay of old ones, and what rules pay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import DataError, TrainingError
from retrain.preference_examples import load_labels, load_pairs, load_prompts
from retrain.recipe import Recipe, load_recipe
from retrain.rewards import length_reward, length_rewards, pattern_rewards
from retrain.runs.spec import JobSpec
from retrain.training.preferences import (
    Chosen,
    chosen_labels,
    chosen_pairs,
    fitting,
    held_out_pairs,
)
from tests.preference_world import (
    answer_of,
    demonstration,
    job,
    label,
    make_dataset,
    pair,
    prompt_of,
    write_kind,
    write_rows,
)

OLD, NEW = range(32), range(100, 124)
HELD_OUT = {"validation": range(900, 904), "test": range(950, 954)}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Give the version that the live adapter learnt from."""
    return versioned(tmp_path / "desk--d1", [*OLD])


@pytest.fixture
def grown(tmp_path: Path) -> Path:
    """Give a version with new preferences; two of the old ones were taken out since."""
    return versioned(tmp_path / "desk--d2", [*OLD[2:], *NEW])


def versioned(folder: Path, numbers: list[int]) -> Path:
    """Write pairs and labels of these questions; return the folder."""
    for kind, make in (("pair", pair), ("label", label)):
        write_rows(folder, kind, "train", [make(number) for number in numbers])
        write_kind(folder, kind, make, HELD_OUT)
    return folder


def spec_of(old: Path | None, grown: Path, name: str, **changes: Any) -> tuple[JobSpec, Recipe]:
    """Return an increment of this recipe after a run of the same trainer on `old`."""
    recipe = load_recipe(name).for_mode("incremental")
    values: dict[str, Any] = {
        "mode": "incremental",
        "seen_dataset": str(old) if old else None,
        "live_trainer": recipe.trainer,
    }
    return job(Path("model"), grown, recipe, **(values | changes)), recipe


def chosen_by(spec: JobSpec, recipe: Recipe) -> Chosen[Any]:
    """Return what the recipe's trainer learns from."""
    if recipe.trainer == "kto":
        return chosen_labels(spec, recipe)
    return chosen_pairs(spec, recipe, "also")


def numbers_of(chosen: Chosen[Any]) -> list[str]:
    """Return the prompts that are learnt, as texts."""
    return [example.prompt[0]["content"] for example in chosen.train]


@pytest.mark.parametrize("name", ["dpo-lora", "kto-lora"])
def test_an_increment_replays_old_preferences_by_the_recipes_share(
    old: Path, grown: Path, name: str
) -> None:
    """All that is new, and a third as much of the old: a quarter of the whole."""
    spec, recipe = spec_of(old, grown, name)
    chosen = chosen_by(spec, recipe)
    learnt = numbers_of(chosen)
    new = {prompt_of(number)[0]["content"] for number in NEW}
    gone = {prompt_of(number)[0]["content"] for number in OLD[:2]}
    assert recipe.replay_share == 0.25
    assert (chosen.new, len(learnt)) == (24, 32)
    assert new < set(learnt)
    assert not gone & set(learnt)  # what was taken out of the data is never replayed
    assert learnt == numbers_of(chosen_by(spec, recipe))


def test_full_runs_and_other_trainers_take_everything(old: Path, grown: Path) -> None:
    """A live adapter that was made with another trainer has learnt none of the preferences."""
    for changes in ({"mode": "full"}, {"live_trainer": "sft"}, {"seen_dataset": None}):
        spec, recipe = spec_of(old, grown, "dpo-lora", **changes)
        chosen = chosen_pairs(spec, recipe, "also")
        assert len(chosen.train) == 54
        assert chosen.new == (24 if changes == {"mode": "full"} else 54)


def test_a_version_of_demonstrations_alone_replays_none(tmp_path: Path, grown: Path) -> None:
    """There are no preferences in what the live adapter learnt from."""
    write_kind(tmp_path / "desk--d0", "demonstration", demonstration)
    spec, recipe = spec_of(tmp_path / "desk--d0", grown, "kto-lora")
    assert chosen_labels(spec, recipe).new == 54


def test_pairs_of_an_ai_judge_are_taken_as_the_recipe_says(tmp_path: Path) -> None:
    """RLAIF: also, only, or no."""
    rows = [pair(number, source="judge" if number < 12 else "preference") for number in OLD]
    folder = tmp_path / "desk--d1"
    write_rows(folder, "pair", "train", rows)
    write_kind(folder, "pair", pair, HELD_OUT)
    spec, recipe = spec_of(None, folder, "dpo-lora")
    found = {ai: len(chosen_pairs(spec, recipe, ai).train) for ai in ("also", "only", "no")}
    assert found == {"also": 32, "only": 12, "no": 20}
    assert [pair.by_ai for pair in held_out_pairs(folder)] == [False] * 4
    write_rows(folder, "pair", "test", [*rows[10:12], *rows[12:14]])
    assert [pair.by_ai for pair in held_out_pairs(folder)] == [False] * 2  # people have spoken
    write_rows(folder, "pair", "test", rows[10:12])
    assert [pair.by_ai for pair in held_out_pairs(folder)] == [True] * 2
    write_rows(folder, "pair", "train", rows[:12])
    with pytest.raises(DataError, match='ai_pairs is "no" in recipe dpo-lora, which leaves none'):
        chosen_pairs(spec, recipe, "no")


def test_too_few_preferences_or_one_kind_alone_are_told(tmp_path: Path) -> None:
    """With how many there are, how many are needed, and where they come from."""
    folder = versioned(tmp_path / "desk--d1", [*range(7)])
    spec, recipe = spec_of(None, folder, "dpo-lora")
    with pytest.raises(DataError, match="has 7 pairs to learn from, and 8 are needed: pairs come"):
        chosen_pairs(spec, recipe, "also")
    write_rows(folder, "label", "train", [label(2 * number) for number in range(8)])
    with pytest.raises(DataError, match="has 8 labels and none of them says unwanted: gather"):
        chosen_labels(spec, recipe)
    write_rows(folder, "label", "train", [label(2 * number + 1) for number in range(8)])
    with pytest.raises(DataError, match="none of them says wanted"):
        chosen_labels(spec, recipe)


def test_what_is_too_long_is_left_out_and_counted(old: Path, grown: Path) -> None:
    """A cut answer would teach no end; when nothing is left that is an error."""
    spec, recipe = spec_of(old, grown, "dpo-lora")
    chosen = chosen_pairs(spec, recipe, "also")
    lengths = iter([600, *[100] * 31, *[100] * 4])
    material = fitting(
        chosen, lambda _: {"ids": next(lengths)}, lambda row: row["ids"], recipe, spec
    )
    assert (len(material.train), len(material.validation), material.skipped_too_long) == (31, 4, 1)
    with pytest.raises(TrainingError, match="no example of at most 512 tokens"):
        fitting(chosen, lambda _: {}, lambda _: 513, recipe, spec)


@pytest.mark.parametrize(
    ("kind", "change", "told"),
    [
        ("pair", {"rejected": answer_of(0, "Same {days}.")}, None),
        ("pair", {"chosen": answer_of(0, "A"), "rejected": answer_of(0, "A")}, "the same text"),
        ("pair", {"chosen": []}, "row 0: chosen must be one message of the assistant"),
        ("pair", {"chosen": [{"role": "user", "content": "A"}]}, "chosen must be one message"),
        ("pair", {"prompt": []}, "row 0: prompt must be a list"),
        ("pair", {"prompt": [{"role": "user", "content": None}]}, "prompt must be a list"),
        ("label", {"label": None}, "row 0: label is None, it must be true"),
        ("label", {"weight": -1.0}, "weight is -1.0, it must be a number over 0"),
        ("label", {"weight": None}, None),
        ("label", {"completion": [{"role": "assistant", "content": ""}]}, "completion must be one"),
    ],
)
def test_malformed_rows_are_named(
    tmp_path: Path, kind: str, change: dict[str, Any], told: str | None
) -> None:
    """By file, row, column and mend."""
    row = (pair if kind == "pair" else label)(0) | change
    write_rows(tmp_path, kind, "train", [row])
    load = load_pairs if kind == "pair" else load_labels
    if told is None:
        assert len(load(tmp_path, "train")) == 1
        return
    with pytest.raises(DataError, match=told):
        load(tmp_path, "train")


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    """No pairs at all, a split that is missing, a column that is missing, no Parquet."""
    with pytest.raises(DataError, match=r"has no pairs .*: pairs come of corrections"):
        load_pairs(tmp_path, "train")
    path = tmp_path / "pairs" / "train.parquet"
    path.parent.mkdir()
    with pytest.raises(DataError, match="the dataset version is incomplete"):
        load_pairs(tmp_path, "train")
    path.write_text("no parquet")
    with pytest.raises(DataError, match="cannot be read"):
        load_pairs(tmp_path, "train")
    pq.write_table(pa.table({"prompt": ["a"], "chosen": ["b"]}), path)
    with pytest.raises(DataError, match="has no column 'rejected'"):
        load_pairs(tmp_path, "train")


def test_each_prompt_is_answered_once(tmp_path: Path) -> None:
    """Whatever it is the prompt of: a demonstration, a pair, a label."""
    folder = make_dataset(tmp_path / "desk--d1")
    assert len(load_prompts(folder, "train")) == 48
    write_kind(tmp_path / "desk--d2", "demonstration", demonstration)
    assert len(load_prompts(tmp_path / "desk--d2", "train")) == 48


def test_rules_pay_from_nought_to_one() -> None:
    """In the bounds everything, less the further from there; a pattern all or nothing."""
    assert [length_reward("a" * length, 10, 20) for length in (0, 5, 10, 20, 40, 60, 99)] == [
        0.0, 0.5, 1.0, 1.0, 0.5, 0.0, 0.0,
    ]  # fmt: skip
    assert length_rewards(["", "ab"], (2, 4)) == [0.0, 1.0]
    assert pattern_rewards(["{}", "no"], r"^\{") == [1.0, 0.0]
