"""Several processes of one run share its batches, and the first that fails tells why."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import TrainingError
from retrain.recipe import load_recipe
from retrain.runs.ranks import (
    WORDS_FILE,
    LastWords,
    Ranks,
    forget_words,
    last_words,
    leave_words,
    read_ranks,
    shared,
)


def test_a_process_knows_its_rank_from_torchs_launcher() -> None:
    """Without it the process is the only one, and the first."""
    assert read_ranks({}) == Ranks(0, 1)
    assert read_ranks({}).first
    other = read_ranks({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"})
    assert other == Ranks(3, 4, local=1, started=True)
    assert not other.first


@pytest.mark.parametrize(
    ("batch", "accumulation", "processes", "expected"),
    [(8, 4, 1, (8, 4)), (8, 4, 2, (8, 2)), (8, 1, 2, (4, 1)), (8, 3, 4, (2, 3))],
)
def test_a_step_learns_from_as_much_whoever_shares_it(
    batch: int, accumulation: int, processes: int, expected: tuple[int, int]
) -> None:
    """Accumulation is divided, and where that is impossible the batch."""
    update = {"batch_size": batch, "gradient_accumulation": accumulation}
    recipe = shared(load_recipe("sft-lora").model_copy(update=update), processes)
    assert (recipe.batch_size, recipe.gradient_accumulation) == expected
    assert batch * accumulation == processes * expected[0] * expected[1]


def test_what_cannot_be_shared_is_refused_with_the_mend() -> None:
    """Three batches of five examples for two processes."""
    update = {"batch_size": 5, "gradient_accumulation": 3}
    with pytest.raises(TrainingError, match=r"gradient_accumulation 3 nor batch_size 5.*by 2"):
        shared(load_recipe("sft-lora").model_copy(update=update), 2)


def test_the_first_words_are_kept_until_the_run_begins_anew(tmp_path: Path) -> None:
    """Those that fail since another one did have nothing to say."""
    assert last_words(tmp_path) is None
    leave_words(tmp_path, "data_invalid: no rows", Ranks(1, 2))
    leave_words(tmp_path, "connection closed", Ranks(0, 2))
    assert last_words(tmp_path) == LastWords(1, "data_invalid: no rows")
    (tmp_path / WORDS_FILE).write_text('{"rank"')
    assert last_words(tmp_path) is None
    forget_words(tmp_path)
    forget_words(tmp_path)
    assert not (tmp_path / WORDS_FILE).exists()
