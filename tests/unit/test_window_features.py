"""What one interaction tells, what many together: pure features, topics, distances, summaries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from monitoring.windows.answer_format import format_valid
from monitoring.windows.features import Asked, Vote, features_of, prompt_of
from monitoring.windows.language import language_of
from monitoring.windows.nearness import distances, distances_among, far
from monitoring.windows.summary import Counts, summarise
from monitoring.windows.topics import NEW, Topics, fit_topics, label

SCHEMA = {"schema": {"type": "object", "required": ["name"]}}


@pytest.mark.parametrize(
    ("wanted", "answer", "valid"),
    [
        (None, "text", None),
        ({"type": "text"}, "text", None),
        ({"type": "json_object"}, '{"a": 1}', True),
        ({"type": "json_object"}, '```json\n{"a": 1}\n```', True),
        ({"type": "json_object"}, "[1]", False),
        ({"type": "json_object"}, '{"a": ', False),
        ({"type": "json_schema", "json_schema": SCHEMA}, '{"name": "x"}', True),
        ({"type": "json_schema", "json_schema": SCHEMA}, '{"title": "x"}', False),
        ({"type": "json_schema", "json_schema": SCHEMA}, "[1]", False),
        ({"type": "json_schema", "json_schema": SCHEMA}, "name", False),
        ({"type": "json_schema"}, "[1]", True),
        ({"type": "json_schema", "json_schema": {"schema": {"type": "array"}}}, "[1]", True),
    ],
)
def test_an_answer_has_the_format_that_was_asked_for(
    wanted: Any, answer: str, valid: bool | None
) -> None:
    """JSON, in a fence too; of a schema the type and the required names; else nothing is told."""
    parameters = {} if wanted is None else {"response_format": wanted}
    assert format_valid(parameters, answer) is valid


def asked(*turns: tuple[str, Any], answer: str = "Yes.", **values: Any) -> Asked:
    """Return an interaction."""
    messages = [{"role": role, "content": content} for role, content in turns]
    return Asked("i", messages, answer, **values)


def test_a_row_tells_lengths_language_refusal_and_its_last_vote() -> None:
    """The prompt is what the user said last, its length all that the model was given."""
    one = asked(
        ("system", "Be kind."),
        ("user", "Hello"),
        ("assistant", "Hi"),
        ("user", "Where?"),
        answer="I'm sorry, I cannot tell.",
        status="ok",
    )
    votes = [Vote("thumbs", thumbs=True), Vote("copied"), Vote("rating", rating=3)]
    told = features_of(one, votes, lambda text: f"language of {text}")
    assert (told.prompt_chars, told.answer_chars) == (21, 25)
    assert told.language == "language of Where?"
    assert (told.refusal, told.error, told.rating) == (True, False, 0)


def test_an_error_has_no_answer_and_a_training_example_no_status() -> None:
    """What is not there is None, not nought."""
    broken = features_of(asked(("user", "Where?"), answer="", status="error"), (), str)
    assert (broken.error, broken.answer_chars, broken.refusal) == (True, None, None)
    example = features_of(asked(("prompt", "Once upon")), (), str)
    assert (example.error, example.rating, example.language) == (None, None, "Once upon")
    silent = features_of(asked(("user", ["parts"]), refused=True, status="ok"), (), str)
    assert (silent.prompt_chars, silent.refusal) == (None, True)
    assert prompt_of([]) == ""


def test_languages_are_told_where_there_is_enough_text() -> None:
    """By a model that is in a package."""
    assert language_of("Where is the parcel that I ordered last week?") == "en"
    assert language_of("Wo ist das Paket, das ich letzte Woche bestellt habe?") == "de"
    assert language_of("ok") == "unknown"


def around(*middles: int, rows: int = 30, seed: int = 1) -> Any:
    """Return unit vectors, some around each of the axes."""
    random = np.random.default_rng(seed)
    parts = [np.eye(16)[axis] + random.normal(0, 0.05, (rows, 16)) for axis in middles]
    vectors = np.concatenate(parts).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_a_topic_that_is_none_yet_has_a_name() -> None:
    """People read "new" where the feature is -1; languages and other topics are as they are."""
    assert [label(value) for value in (NEW, 0, 12, "en")] == ["new", "0", "12", "en"]


def test_topics_are_the_groups_of_the_reference() -> None:
    """Three groups, three topics; the same whenever they are fitted."""
    rows = around(0, 5, 9)
    topics = fit_topics(rows, 3)
    found = topics.assign(around(0, 5, 9, seed=2)).reshape(3, 30)
    usual = [set(group.tolist()) - {NEW} for group in found]
    assert [len(group) for group in usual] == [1, 1, 1]
    assert set.union(*usual) == {0, 1, 2}
    assert np.array_equal(fit_topics(rows, 3).centres_K_D, topics.centres_K_D)


def test_what_is_like_nothing_in_the_reference_is_new() -> None:
    """Two new subjects among usual rows have the topic of none."""
    topics = fit_topics(around(0, 5, 9), 3)
    window = np.concatenate([around(0, 5), around(12, rows=20), around(14, rows=8)])
    found = topics.assign(window)
    assert set(found[60:].tolist()) == {NEW}
    assert np.mean(found[:60] == NEW) < 0.2


@pytest.mark.parametrize("rows", [20, 100, 1_000])
def test_more_of_the_same_is_hardly_ever_new(rows: int) -> None:
    """However small the reference is: its own rows do not say how far others of the kind are."""
    random = np.random.default_rng(rows)
    both = random.normal(size=(2 * rows, 64)).astype(np.float32)
    both /= np.linalg.norm(both, axis=1, keepdims=True)
    found = fit_topics(both[:rows], 12).assign(both[rows:])
    assert np.mean(found == NEW) <= 0.05


def test_no_rows_and_equal_rows_make_no_trouble() -> None:
    """Nothing has no topics; a hundred equal prompts have one."""
    empty = np.empty((0, 16), np.float32)
    assert len(fit_topics(empty, 5).centres_K_D) == 0
    assert fit_topics(empty, 5).assign(around(0, rows=2)).tolist() == [NEW, NEW]
    assert Topics(around(0, rows=1), 0.1).assign(empty).tolist() == []
    assert fit_topics(around(0, rows=1), 5).far == 0.0
    same = np.repeat(around(3, rows=1), 100, axis=0)
    assert len(fit_topics(same, 5).centres_K_D) == 1


def test_distance_is_to_the_nearest_example() -> None:
    """In blocks as in one piece; a row's own does not count among themselves."""
    known, rows = around(0, 5, rows=600), around(0, 9, rows=400, seed=3)
    expected = 1.0 - (rows @ known.T).max(axis=1)
    assert distances(rows, known) == pytest.approx(expected, abs=1e-6)
    near = rows @ rows.T
    np.fill_diagonal(near, -1.0)
    assert distances_among(rows) == pytest.approx(1.0 - near.max(axis=1), abs=1e-6)
    assert distances_among(rows[:1]).tolist() == [1.0]
    assert distances(rows[:0], known).tolist() == []
    assert far(distances(rows[:0], known)) is None


def test_a_summary_leaves_out_what_has_no_values() -> None:
    """Means, quantiles, histograms, shares; nothing of columns that are all null."""
    names = ("prompt_chars", "answer_chars", "prompt_tokens", "answer_tokens", "novelty")
    columns: dict[str, list[Any]] = {
        name: [None] * 4
        for name in (*names, "latency_s", "ttft_s", "cost", "refusal", "format_valid", "topic")
    }
    columns |= {
        "interaction_id": list("abcd"),
        "novelty": [0.1, 0.2, 0.9, None],
        "error": [False, True, False, False],
        "language": ["en", "en", "de", None],
        "rating": [1, None, 0, None],
    }
    told = summarise(columns, Counts({"thumbs": 2, "copied": 1}, novel_beyond=0.5))
    assert set(told["numbers"]) == {"novelty"}
    assert told["numbers"]["novelty"]["rows"] == sum(
        told["numbers"]["novelty"]["histogram"]["counts"]
    )
    assert told["shares"] == {"error": 0.25}
    assert told["labels"] == {"language": {"en": 2 / 3, "de": 1 / 3}}
    assert (told["response_rate"], told["good_share"]) == (0.5, 0.5)
    assert told["feedback"] == {"copied": 0.25, "thumbs": 0.5}
    assert told["novelty_rate"] == 1 / 3
    nothing: dict[str, list[Any]] = {name: [] for name in columns}
    empty = summarise(nothing, Counts({}))
    assert (empty["response_rate"], empty["good_share"], empty["numbers"]) == (None, None, {})
