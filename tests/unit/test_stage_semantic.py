"""Of rows that mean the same one stays, the preferred; what differs in a number stays too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from core.curation_settings import SemanticSettings
from curation.embedding import HashingEmbedder
from curation.stages.semantic import (
    ANSWER,
    BLOCK_ROWS,
    PROMPT,
    drop_alike,
    novelty,
    semantic_keys,
    vectors,
)
from curation.table import Table, with_column
from tests.unit.candidate_tables import pair, row, table_of

ON = SemanticSettings(model=Path("model"))
QUESTION, ANSWER_TEXT = "how long does a refund take to arrive", "it takes 14 days to your card"


def _keys(*rows: dict[str, Any], topics: list[int] | None = None) -> Table:
    table = with_column(table_of(*rows), "topic", topics or [0] * len(rows), pa.int32())
    return semantic_keys(table, HashingEmbedder())


def _dropped(keys: Table, settings: SemanticSettings = ON) -> list[str]:
    return drop_alike(keys, settings).drops["interaction_id"].to_pylist()


def test_a_row_that_says_the_same_goes_and_the_oldest_stays() -> None:
    """The same words in another order are the same for hashes of words."""
    turned = " ".join(reversed(QUESTION.split()))
    keys = _keys(
        row(turned, ANSWER_TEXT, id_="late", minute=9),
        row(QUESTION, ANSWER_TEXT, id_="early"),
        row("how do I water tomatoes", ANSWER_TEXT, id_="other"),
        row(QUESTION, "nobody can tell you that", id_="answer"),
    )
    outcome = drop_alike(keys, ON)
    assert outcome.kept["interaction_id"].to_pylist() == ["early", "other", "answer"]
    assert outcome.drops.to_pylist() == [
        {
            "candidate_id": "late:demonstration",
            "interaction_id": "late",
            "reason": "alike in meaning",
            "detail": "topic 0",
        }
    ]


def test_what_people_worked_on_is_preferred() -> None:
    """A correction stays though it is newer."""
    keys = _keys(
        row(QUESTION, ANSWER_TEXT, id_="old"),
        row(QUESTION, ANSWER_TEXT, id_="new", minute=5, source="correction"),
    )
    assert _dropped(keys) == ["old"]


def test_other_numbers_kinds_labels_and_topics_are_not_alike() -> None:
    """30 days are not 14; a pair is no demonstration; a good label no bad one."""
    keys = _keys(
        row(QUESTION, ANSWER_TEXT, id_="a"),
        row(QUESTION, ANSWER_TEXT.replace("14", "30"), id_="b"),
        pair(QUESTION, ANSWER_TEXT, "never", id_="c"),
        pair(QUESTION, ANSWER_TEXT, "who knows", id_="d"),
        row(QUESTION, ANSWER_TEXT, id_="e", kind="label", label=True),
        row(QUESTION, ANSWER_TEXT, id_="f", kind="label", label=False),
        row(QUESTION, ANSWER_TEXT, id_="g"),
        topics=[0, 0, 0, 0, 0, 0, 1],
    )
    assert _dropped(keys, SemanticSettings(model=Path("m"), similarity=0.8)) == []


def test_it_is_off_without_a_model() -> None:
    """The default."""
    keys = _keys(*(row(QUESTION, ANSWER_TEXT, id_=str(n)) for n in range(2)))
    assert drop_alike(keys, SemanticSettings()).kept is keys
    assert drop_alike(_keys(), ON).kept.num_rows == 0


def test_a_system_message_makes_no_prompts_alike() -> None:
    """However long the application's text before two questions, they are two."""
    rules = {"role": "system", "content": "you help people with their orders " * 50}

    def asked(id_: str, question: str) -> dict[str, Any]:
        said = [{"role": "user", "content": question}, {"role": "assistant", "content": "yes"}]
        return row("", "", id_=id_, messages=[rules, *said])

    assert _dropped(_keys(asked("a", "may I return shoes"), asked("b", "is tea in stock"))) == []
    assert _dropped(_keys(asked("a", "may I return shoes"), asked("b", "may i return shoes")))


def test_shards_and_blocks_give_what_a_plain_comparison_gives() -> None:
    """A chain of likenesses over three blocks: only what stays stands for another."""
    angle = np.cumsum(np.random.default_rng(1).choice([0.05, 0.3, 0.9], 2 * BLOCK_ROWS + 50))
    points = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    shuffled = np.random.default_rng(2).permutation(len(points))
    points = points[shuffled]
    rows = [row("q", "a", id_=f"{n:05}") for n in range(len(points))]
    keys = _keys(*rows)
    column = pa.FixedSizeListArray.from_arrays(pa.array(points.ravel()), 2)
    for name in (PROMPT, ANSWER):
        keys = keys.drop_columns([name]).append_column(name, column)
    halves = pa.concat_tables([keys.slice(0, 700), keys.slice(700)])
    kept: list[int] = []
    for place in range(len(points)):
        if not kept or (points[kept] @ points[place]).max() < 0.99:
            kept.append(place)
    settings = SemanticSettings(model=Path("m"), similarity=0.99)
    found = drop_alike(halves, settings).kept["interaction_id"].to_pylist()
    assert found == [f"{place:05}" for place in kept]


def test_novelty_is_the_distance_from_the_nearest_of_the_parent() -> None:
    """What the parent has is not new, an unlike text is; without a parent all are."""
    embed = HashingEmbedder().embed
    parent = embed([QUESTION, "how do I water tomatoes", *(["filler"] * BLOCK_ROWS)])
    new = embed([QUESTION, f"please {QUESTION}", "zzz yyy xxx"])
    same, like, unlike = novelty(new, parent).tolist()
    assert same == pytest.approx(0.0, abs=1e-6)
    assert 0.0 < like < 0.2
    assert unlike > 0.7
    assert novelty(new, parent[:0]).tolist() == [2.0] * 3
    assert novelty(new[:0], parent).shape == (0,)


def test_vectors_survive_the_table() -> None:
    """As they were made, shard by shard."""
    keys = _keys(row(QUESTION, ANSWER_TEXT), row("x", "y"))
    joined = pa.concat_tables([keys, keys])
    expected = HashingEmbedder().embed([ANSWER_TEXT, "y"] * 2)
    assert (vectors(joined[ANSWER]) == expected).all()
