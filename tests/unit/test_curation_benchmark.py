"""Curation's benchmark: its corpus and truth, its arithmetic, its independent checks."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from itertools import combinations
from pathlib import Path
from random import Random

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.curation.build import KEYS_READ, ROWS, Mark, Timed, row_stages, spans
from bench.curation.corpus import Corpus, Plant, write_corpus
from bench.curation.edits import (
    alike_pairs,
    closed,
    edited,
    grams,
    jaccard,
    numbered,
    plain,
)
from bench.curation.figures import GOAL_INTERACTIONS, QUICK, fitted, found, goals
from bench.curation.leaks import (
    Example,
    evaluation_leaks,
    near_by_counting,
    near_leaks,
    plants_left,
    prompt_splits,
    read_examples,
)
from bench.curation.memory import tree_memory, watched
from bench.curation.near import THRESHOLD, ours, questions
from bench.curation.pii import spans as redacted_spans
from bench.curation.plants import ABOVE, BELOW, PERSONAL
from bench.curation.report import draw, stage_seconds
from bench.curation.writing import Writer
from curation.dataset_files import SCHEMAS
from curation.table import CANDIDATES, sieve
from feedback.redaction.redactor import Redactor, Span

INTERACTIONS = 600


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Return a small corpus, made once."""
    return write_corpus(tmp_path_factory.mktemp("corpus"), INTERACTIONS)


@pytest.fixture(scope="module")
def writer() -> Writer:
    """Return a writer of texts."""
    return Writer(Random(3))


def messages_of(corpus: Corpus, id_: str) -> list[dict[str, str]]:
    """Return the messages of an interaction in the store."""
    with closing(sqlite3.connect(corpus.folder / "store.db")) as database:
        (raw,) = database.execute(
            "SELECT messages FROM interaction WHERE id = ?", (id_,)
        ).fetchone()
    return msgspec.json.decode(raw)


def test_corpus_holds_what_was_asked_for_and_is_judged(corpus: Corpus) -> None:
    """As many interactions as asked (a second answer may be one more), each with a signal."""
    with closing(sqlite3.connect(corpus.folder / "store.db")) as database:
        count, chars = database.execute(
            "SELECT count(*), avg(length(messages) + length(answer)) FROM interaction"
        ).fetchone()
        judged = database.execute("SELECT count(DISTINCT interaction_id) FROM feedback").fetchone()[
            0
        ]
        people = Counter(dict(database.execute(
            "SELECT subject, count(*) FROM interaction WHERE subject NOT NULL GROUP BY 1"
        ).fetchall()))  # fmt: skip
    assert INTERACTIONS <= count <= INTERACTIONS + 1
    assert judged > 0.9 * count
    assert chars > 400
    assert people.most_common(1)[0][1] > 3 * count / len(people)


def test_corpus_repeats_with_its_seed(corpus: Corpus, tmp_path: Path) -> None:
    """The same seed plants the same; another seed does not."""
    again, other = write_corpus(tmp_path / "a", INTERACTIONS), write_corpus(tmp_path / "b", 600, 6)
    assert again.plants() == corpus.plants()
    assert other.plants() != corpus.plants()


def test_planted_copies_are_as_similar_as_the_truth_says(corpus: Corpus) -> None:
    """The similarity told is that of the two questions' 5-grams, on its side of the threshold."""
    copies = [plant for plant in corpus.plants() if plant.similarity is not None]
    assert {plant.kind for plant in copies} == {"near duplicate", "similar"}
    for plant in copies:
        assert plant.of is not None
        texts = [messages_of(corpus, id_)[-1]["content"] for id_ in (plant.id, plant.of)]
        similarity = jaccard(*map(grams, texts))
        assert similarity == plant.similarity
        low, high = ABOVE if plant.kind == "near duplicate" else BELOW
        assert low <= similarity <= high


def test_planted_personal_data_are_found_by_the_rules() -> None:
    """Each kind that is planted is one that redaction knows by its form."""
    random = Random(1)
    for entity, made in PERSONAL.items():
        sentence, value = made(random)
        found_there = Redactor().spans(sentence)
        assert [(span.entity, sentence[span.start : span.end]) for span in found_there] == [
            (entity, value)
        ]


def test_every_pair_above_the_threshold_is_found(writer: Writer) -> None:
    """The prefix filter gives what comparing all pairs one by one gives."""
    random = Random(2)
    texts = [writer.question("travel") for _ in range(40)]
    texts += [made[0] for text in texts[:20] if (made := edited(text, 0.9, 0.999, random))]
    for threshold in (0.5, 0.8, 0.95):
        expected = {
            (one, other): similarity
            for one, other in combinations(range(len(texts)), 2)
            if (similarity := jaccard(grams(texts[one]), grams(texts[other]))) >= threshold
        }
        assert alike_pairs(texts, threshold) == expected
        assert expected


def test_an_edit_that_cannot_be_made_is_told() -> None:
    """One letter of a short text already changes too much of it."""
    assert edited("hello there", 0.95, 0.999, Random(1)) is None


def test_chains_of_pairs_are_closed() -> None:
    """What a chain connects is one cluster, and all its pairs are in it."""
    assert closed([(1, 2), (2, 5), (7, 8)]) == {(1, 2), (2, 5), (1, 5), (7, 8)}


def test_our_near_dedupe_finds_the_true_pairs(corpus: Corpus) -> None:
    """On a small corpus recall and precision reach their goals."""
    texts = questions(corpus, 500)
    truth = alike_pairs(texts, THRESHOLD)
    judged = found(ours(texts)["pairs"], truth)
    assert len(truth) > 5
    assert judged["recall"] >= 0.98
    assert judged["precision"] >= 0.98


def test_fit_tells_linear_from_quadratic() -> None:
    """A line has power 1 and R² 1, a parabola power 2."""
    sizes = [100.0, 200.0, 400.0]
    line, parabola = fitted(sizes, [1.0, 2.0, 4.0]), fitted(sizes, [1.0, 4.0, 16.0])
    assert line is not None
    assert parabola is not None
    assert (line.exponent, line.r_squared, line.fixed_s) == pytest.approx((1.0, 1.0, 0.0))
    assert parabola.exponent == pytest.approx(2.0)
    assert parabola.r_squared < 0.99
    assert fitted([100.0], [1.0]) is None


def test_recall_and_precision_of_pairs() -> None:
    """Of three pairs given two are right, of four true ones two are found."""
    judged = found([(1, 2), (1, 3), (5, 6)], [(1, 2), (1, 3), (2, 3), (8, 9)])
    assert judged["recall"] == pytest.approx(2 / 4)
    assert judged["precision"] == pytest.approx(2 / 3)


def test_goals_need_the_size_they_speak_of() -> None:
    """A quick run shows no speed, and what was not measured is not met."""
    near = {"ours": {"recall": 1.0, "precision": 0.97}, "to_datasketch": 30.0}
    size = {"wall_s": 500.0, "peak_pss_gb": 3.0}
    fit = {"exponent": 1.02}
    whole = {"near": near, "leaks": {"found": 0}}
    large = {"sizes": {str(GOAL_INTERACTIONS): size}, "fit": fit}
    met = {goal.name: goal.met for goal in goals({**whole, "pipeline": large})}
    assert [*met.values()] == [*[True] * 4, False, True, *[False] * 4, True]
    small = goals({**whole, "pipeline": {"sizes": {"10000": size}, "fit": fit}})
    assert [goal.met for goal in small[:3]] == [False] * 3
    assert all(goal.measured is None for goal in small[:3])
    assert not any(goal.met for goal in goals({}))


def test_one_leak_is_a_missed_goal() -> None:
    """There is no allowance."""
    assert not goals({"leaks": {"found": 1}})[-1].met


def test_spans_leave_the_row_stages_own_progress_out() -> None:
    """Between the engine's marks all is the pass over rows, whatever stages are told there."""
    marks = [("select", 0), (ROWS, 3), ("encoding", 4), ("tokens", 5), (KEYS_READ, 9), ("", 10)]
    told = spans([Mark(name, at, at / 2) for name, at in marks])
    assert {name: own["wall_s"] for name, own in told.items()} == {
        "select": 3, ROWS: 6, KEYS_READ: 1,
    }  # fmt: skip
    assert told[ROWS]["cpu_s"] == 3


def test_a_timed_stage_does_its_work_and_tells_of_it(tmp_path: Path) -> None:
    """The outcome is the stage's own; rows and drops are added up over tables."""
    table = pa.Table.from_pylist([{"candidate_id": "a"}, {"candidate_id": "b"}], CANDIDATES)
    stage = Timed("all", lambda rows: sieve(rows, [None] * rows.num_rows), tmp_path)
    assert stage(table).kept.equals(table)
    stage(table)
    assert row_stages(tmp_path)["all"]["rows"] == 4


def test_memory_of_children_is_seen() -> None:
    """A child that holds 50 MB shows in the peak; a tree that has ended holds nothing."""
    code = "held = bytearray(50_000_000); import time; time.sleep(0.8)"
    child = subprocess.Popen([sys.executable, "-c", code])
    with watched(child.pid) as peak:
        child.wait()
        time.sleep(0.3)
    assert peak.pss_gb > 0.05
    assert tree_memory(child.pid) == (0, 0)


def example(split: str, question: str, *, id_: str = "1", answer: str = "Yes, it is.") -> Example:
    """Return a demonstration."""
    prompt = ("user", plain(question))
    return Example("demonstration", split, id_, None, prompt, (question,), (answer,))


def test_a_near_duplicate_in_two_splits_is_a_leak(writer: Writer) -> None:
    """One letter of a long question changed is found, both by the filter and pair by pair."""
    question = writer.question("health", 3)
    texts = [writer.question("code", 2) for _ in range(30)]
    others = [example("train", text) for text in texts]
    twins = [example("train", question), example("test", question.replace("?", " now?"))]
    assert near_leaks(prompt_splits([*others, *twins]), 1_000)[0] == 1
    assert near_leaks(prompt_splits([*others, *twins[:1]]), 1_000)[0] == 0
    rows = numbered([question, question.replace("?", " now?"), *texts])
    assert near_by_counting([0], range(1, len(rows)), rows) == {(0, 1)}


def test_items_of_the_suite_are_found_whole_and_edited(writer: Writer) -> None:
    """Inside a longer text, and with slips; not in a text about something else."""
    item = writer.question("money", 1)
    slipped = edited(item, 0.86, 0.97, Random(1))
    assert slipped is not None
    assert evaluation_leaks([example("train", f"Hello. {item}")], [item]) == 1
    assert evaluation_leaks([example("train", slipped[0])], [item]) == 1
    assert evaluation_leaks([example("train", writer.question("cooking"))], [item]) == 0


def test_plants_are_right_when_they_are_gone_or_mended() -> None:
    """What must go is right when it is no demonstration, a value when no text holds it."""
    plants = [
        Plant("1", "toxic"),
        Plant("2", "toxic"),
        Plant("3", "personal", entity="EMAIL", value="a@b.example"),
        Plant("4", "personal", entity="EMAIL", value="c@d.example"),
        Plant("5", "near duplicate", of="6"),
        Plant("7", "similar", of="6"),
    ]
    shown = [
        example("train", "Is it?", id_="1"),
        example("train", "Mail a@b.example?", id_="3"),
        example("train", "Mail [EMAIL_1]?", id_="4"),
        example("train", "One?", id_="6"),
        example("train", "Two?", id_="7"),
    ]
    left = plants_left(shown, plants)
    shares = {name: left[name]["share"] for name in ("toxic", "personal", "near duplicate")}
    assert shares == {"toxic": 0.5, "personal": 0.5, "near duplicate": 1.0}
    assert left["similar"]["share"] == 1.0


def test_examples_are_read_from_the_files_of_a_version(tmp_path: Path) -> None:
    """Prompt and answer are parted, and the split is the file's."""
    messages = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
    row = {"interaction_id": "7", "subject": "s", "messages": messages, "example_id": "x"}
    pq.write_table(
        pa.Table.from_pylist([row], SCHEMAS["demonstration"]), tmp_path / "validation.parquet"
    )
    assert [*read_examples(tmp_path)] == [
        Example("demonstration", "validation", "7", "s", ("user", "why"), ("Why?",), ("So.",))
    ]


def test_spans_are_read_off_placeholders() -> None:
    """Where a sign after it is in the value too, the reading that is marked is taken."""
    text = "Mail a.b@c.example. Or x@y.example"
    marked = [Span(5, 18, "EMAIL"), Span(23, 34, "EMAIL")]
    assert redacted_spans(text, "Mail [EMAIL_1]. Or [EMAIL_2]", marked) == marked
    with pytest.raises(ValueError, match="is not"):
        redacted_spans(text, "Post [EMAIL_1]", marked)


def test_stages_share_the_time_of_the_pass_by_their_cpu() -> None:
    """Two stages of one pass of 8 s, of which one took three quarters of the CPU."""
    told = {
        "spans": {"select": {"wall_s": 2.0}, ROWS: {"wall_s": 8.0}},
        "row_stages": {"tokens": {"cpu_s": 9.0}, "keys": {"cpu_s": 3.0}},
    }
    assert stage_seconds(told) == {"tokens": 6.0, "keys": 2.0, "select": 2.0}
    sizes = {"100": {**told, "wall_s": 5.0}, "200": {**told, "wall_s": 10.0}}
    figure = draw({"pipeline": {"sizes": sizes, "fit": None}})
    assert len(figure.axes) == 2


def test_quick_sizes_are_small() -> None:
    """So that a try takes minutes and shows no goal of a million."""
    assert max(QUICK.sizes) < GOAL_INTERACTIONS / 10
