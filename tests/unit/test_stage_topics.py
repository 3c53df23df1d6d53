"""Prompts get the topic of their words, the same in any batch, under names that tell on nobody."""

from __future__ import annotations

import pickle
import random
from collections import Counter
from typing import Any

import pyarrow as pa
import pytest

from curation.stages.topics import (
    OTHER,
    SAMPLE_ROWS,
    AssignTopics,
    Topics,
    fit_topics,
    sample_prompts,
)
from curation.table import Table
from tests.unit.candidate_tables import row, table_of

WORDS = {
    "billing": ["invoice", "refund", "card", "payment", "charge", "receipt", "price", "euro"],
    "garden": ["tomato", "soil", "seeds", "watering", "compost", "pruning", "roses", "harvest"],
    "travel": ["passport", "luggage", "flight", "airport", "visa", "hotel", "boarding", "train"],
}


def _prompts(count: int, subjects: int = 9) -> list[dict[str, Any]]:
    draw = random.Random(5)
    rows: list[dict[str, Any]] = []
    for number in range(count):
        subject = list(WORDS)[number % len(WORDS)]
        said = f"please tell me about the {' and the '.join(draw.sample(WORDS[subject], 3))}"
        person = f"subject{draw.randrange(subjects)}"
        rows.append(row(said, "answer", id_=f"{subject}-{number}", subject=person))
    return rows


def _assigned(topics: Topics, table: Table) -> dict[str, int]:
    kept = AssignTopics(topics)(table).kept
    assert kept.schema.field("topic").type == pa.int32()
    return dict(zip(kept["interaction_id"].to_pylist(), kept["topic"].to_pylist(), strict=True))


@pytest.fixture(scope="module")
def table() -> Table:
    """Return 300 prompts on three subjects."""
    return table_of(*_prompts(300))


@pytest.fixture(scope="module")
def topics(table: Table) -> Topics:
    """Return the topics of the table."""
    return fit_topics(sample_prompts(table), 3)


def test_prompts_on_one_subject_share_a_topic(topics: Topics, table: Table) -> None:
    """Nine in ten of each subject are together, and no two subjects in one topic."""
    found = Counter((id_.split("-")[0], topic) for id_, topic in _assigned(topics, table).items())
    largest = {subject: found.most_common()[at] for at, subject in enumerate(WORDS)}
    assert all(count >= 90 for _, count in largest.values())
    assert len({topic for (_, topic), _ in largest.values()}) == len(WORDS)


def test_names_tell_the_topic(topics: Topics) -> None:
    """Words that a topic has and others have not come first, not those that all share."""
    named = [
        next(subject for subject, own in WORDS.items() if name.split(", ")[0] in own)
        for name in topics.names
    ]
    assert sorted(named) == sorted(WORDS)
    assert topics.name(OTHER) == "other"


def test_the_topic_depends_on_the_row_alone(topics: Topics, table: Table) -> None:
    """One by one, in blocks, or pickled to another process: equal topics."""
    whole = _assigned(topics, table)
    again: Topics = pickle.loads(pickle.dumps(topics))
    for size in (1, 7, 128):
        parts = [table.slice(start, size) for start in range(0, table.num_rows, size)]
        found = {key: topic for part in parts for key, topic in _assigned(again, part).items()}
        assert found == whole


def test_fitting_does_not_depend_on_the_order_of_rows(table: Table) -> None:
    """The sample is ordered by the hash of the candidate's id."""
    turned = table.take(list(reversed(range(table.num_rows))))
    halves = pa.concat_tables(
        [sample_prompts(table.slice(0, 100)), sample_prompts(table.slice(100))]
    )
    one, other, joined = (fit_topics(part, 3) for part in (table, turned, halves))
    assert one.names == other.names == joined.names
    assert (one.centres_B_K == other.centres_B_K).all()
    assert (one.centres_B_K == joined.centres_B_K).all()


def test_a_sample_of_samples_is_the_sample_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """So a sample can be gathered shard by shard in bounded memory."""
    monkeypatch.setattr("curation.stages.topics.SAMPLE_ROWS", 20)
    table = table_of(*_prompts(90))
    parts = [sample_prompts(table.slice(start, 30)) for start in (0, 30, 60)]
    assert sample_prompts(pa.concat_tables(parts)).equals(sample_prompts(table))
    assert sample_prompts(table).num_rows == 20
    assert SAMPLE_ROWS == 20_000


def test_a_word_of_few_people_never_names_a_topic() -> None:
    """Four people say it a hundred times; rows without a subject count as one person."""
    rows = [
        row("zanzibarproject deadline", "a", id_=f"{n}", subject=f"s{n % 3}") for n in range(99)
    ]
    rows += [row("zanzibarproject deadline", "a", id_=f"x{n}") for n in range(20)]
    assert fit_topics(table_of(*rows), 1).names == ("topic 0",)
    rows.append(row("zanzibarproject", "a", id_="fifth", subject="s9"))
    assert fit_topics(table_of(*rows), 1).names == ("zanzibarproject",)


def test_prompts_without_known_words_are_other(topics: Topics) -> None:
    """Nothing said, or nothing said before: no cluster is near."""
    odd = table_of(row("", "a", id_="a"), row("???", "a", id_="b"), row("xylqwv", "a", id_="c"))
    assert set(_assigned(topics, odd).values()) == {OTHER}


def test_there_are_no_more_topics_than_different_prompts() -> None:
    """Three equal prompts are one topic, and none are none."""
    same = table_of(*(row("reset password", "a", id_=str(n)) for n in range(3)))
    assert len(fit_topics(same, 50).names) == 1
    nothing = fit_topics(table_of(), 50)
    assert nothing.names == ()
    assert set(_assigned(nothing, same).values()) == {OTHER}
    assert AssignTopics(nothing)(table_of()).kept.num_rows == 0
