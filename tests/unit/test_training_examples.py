"""Examples of a dataset version, what is new in it, and the old ones that are mixed in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import DataError
from retrain.examples import Example, load_split, sample, with_replay, without


def example(text: str) -> Example:
    """Return a one-turn conversation about `text`."""
    return Example(
        ({"role": "user", "content": text}, {"role": "assistant", "content": f"about {text}"})
    )


def write(folder: Path, messages: list[Any], split: str = "train") -> None:
    """Write one split as curation does."""
    pq.write_table(pa.table({"messages": messages}), folder / f"{split}.parquet")


def test_split_is_read_in_order(tmp_path: Path) -> None:
    """Messages come back as they were written; prompt and answer are told apart."""
    rows = [
        [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": f"question {i}"},
            {"role": "assistant", "content": f"answer {i}"},
        ]
        for i in range(3)
    ]
    write(tmp_path, rows, "test")
    examples = load_split(tmp_path, "test")
    assert [e.answer for e in examples] == ["answer 0", "answer 1", "answer 2"]
    assert [m["role"] for m in examples[0].prompt] == ["system", "user"]


def test_missing_split_is_named(tmp_path: Path) -> None:
    """An incomplete dataset version is an error that names the file."""
    with pytest.raises(DataError, match=r"validation\.parquet is missing"):
        load_split(tmp_path, "validation")


def test_other_columns_are_refused(tmp_path: Path) -> None:
    """A file without messages says what it has instead."""
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "train.parquet")
    with pytest.raises(DataError, match=r"no column 'messages' \(it has \['text'\]\)"):
        load_split(tmp_path, "train")


@pytest.mark.parametrize(
    "row",
    [
        [{"role": "assistant", "content": "answer without a question"}],
        [{"role": "assistant", "content": "a"}, {"role": "user", "content": "asked last"}],
        [{"role": "user", "content": "q"}, {"role": "assistant", "content": ""}],
        [{"role": "user", "content": None}, {"role": "assistant", "content": "a"}],
        [],
        None,
    ],
)
def test_row_that_is_no_conversation_is_named(tmp_path: Path, row: Any) -> None:
    """The second row is the wrong one, and the error says so."""
    good = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    write(tmp_path, [good, row])
    with pytest.raises(DataError, match=r"train\.parquet, row 1"):
        load_split(tmp_path, "train")


def test_new_examples_are_those_not_seen() -> None:
    """Equal conversations are the same example in whatever version they are."""
    old, new = [example("a"), example("b")], [example("b"), example("c")]
    assert without(new, old) == [example("c")]


def test_replay_has_its_share_of_the_mix() -> None:
    """With a share of a quarter, three new examples bring one old one along."""
    seen = [example(f"old {i}") for i in range(20)]
    fresh = [example(f"new {i}") for i in range(30)]
    mixed = with_replay([*seen, *fresh], seen, share=0.25, seed=1)
    assert len(mixed) == 40
    assert without(fresh, mixed) == []
    assert with_replay([*seen, *fresh], seen, share=0.25, seed=1) == mixed


def test_replay_takes_only_what_is_still_in_the_data() -> None:
    """An old example that was erased since then never comes back."""
    seen = [example("erased"), example("kept")]
    mixed = with_replay([example("kept"), example("new")], seen, share=0.9, seed=1)
    assert sorted(e.answer for e in mixed) == ["about kept", "about new"]


def test_without_anything_new_all_is_trained_on() -> None:
    """A training by hand on old data uses all of them."""
    seen = [example("a"), example("b")]
    assert with_replay(seen, seen, share=0.25, seed=1) == seen


def test_without_replay_only_new_examples_remain() -> None:
    """A share of nothing is nothing."""
    assert with_replay([example("a"), example("b")], [example("a")], share=0.0, seed=1) == [
        example("b")
    ]


def test_sample_does_not_depend_on_order() -> None:
    """The gate asks the same questions, however the file is sorted."""
    examples = [example(f"{i}") for i in range(50)]
    chosen = sample(examples, 10)
    assert len(chosen) == 10
    assert chosen == sample(list(reversed(examples)), 10)
    assert len(sample(examples, 99)) == 50


def test_completions_are_read(tmp_path: Path) -> None:
    """Rows of prompt and completion become examples that know that they are none with roles."""
    rows = pa.table({"prompt": ["1+1=", "2+2="], "completion": ["2", "4"]})
    pq.write_table(rows, tmp_path / "train.parquet")
    first, second = load_split(tmp_path, "train")
    assert first.is_completion
    assert (first.prompt[0]["content"], second.answer) == ("1+1=", "4")
    assert first.key != second.key
    assert not example("a").is_completion


@pytest.mark.parametrize(("prompt", "completion"), [("", "2"), ("1+1=", ""), (None, "2")])
def test_empty_completion_is_named(
    tmp_path: Path, prompt: str | None, completion: str | None
) -> None:
    """A text that is missing is an error with its row."""
    rows = pa.table({"prompt": ["a", prompt], "completion": ["b", completion]})
    pq.write_table(rows, tmp_path / "train.parquet")
    with pytest.raises(DataError, match=r"row 1: (prompt|completion) must be a text"):
        load_split(tmp_path, "train")
