"""Scores of answers, against values that papers and libraries document."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import SchemaError

from retrain.gate.metrics import labels, overlap, refusals, shape

TEXTS = st.text(alphabet="ab cd.", max_size=30)


@settings(deadline=None)  # libraries are imported at the first call
@given(text=TEXTS.filter(lambda text: text.strip(" .") != ""))
def test_a_text_agrees_with_itself(text: str) -> None:
    """Whatever is counted."""
    assert overlap.exact_match(text, text) == 1.0
    assert overlap.token_f1(text, text) == 1.0
    assert overlap.rouge_1(text, text) == 1.0
    assert overlap.rouge_l(text, text) == 1.0
    assert shape.length_ratio(text, text) == 1.0


@settings(deadline=None)
@given(one=TEXTS, other=TEXTS)
def test_scores_are_shares(one: str, other: str) -> None:
    """From nothing to all."""
    for metric in (overlap.bleu, overlap.rouge_1, overlap.rouge_2, overlap.rouge_l):
        assert 0.0 <= metric(one, other) <= 1.0 + 1e-9


def test_known_values_come_out() -> None:
    """Lin's own example of ROUGE-L, and a perfect and a half BLEU."""
    reference = "police killed the gunman"
    assert overlap.rouge_l("police kill the gunman", reference) == pytest.approx(0.75)
    assert overlap.rouge_l("the gunman kill police", reference) == pytest.approx(0.5)
    assert overlap.rouge_2("police killed the dog", reference) == pytest.approx(2 / 3)
    long = "the quick brown fox jumps over the lazy dog"
    assert overlap.bleu(long, long) == pytest.approx(1.0)
    assert overlap.corpus_bleu([long, long], [long, long]) == pytest.approx(1.0)
    assert overlap.bleu("nothing at all", long) < 0.05


def test_bert_score_matches_the_nearest_token() -> None:
    """Equal rows are 1 in any order; half of them right angled are half."""
    rows = np.eye(4, dtype=np.float32)
    assert overlap.bert_score(rows, rows[::-1]) == pytest.approx(1.0)
    assert overlap.bert_score(3 * rows, rows) == pytest.approx(1.0)
    assert overlap.bert_score(rows[:2], rows[1:3]) == pytest.approx(0.5)
    assert overlap.bert_score(rows[:0], rows) == 0.0
    assert overlap.bert_score(rows[:1], rows[1:2]) == 0.0
    assert overlap.bert_score(np.zeros((1, 4), np.float32), rows) == 0.0


def test_a_label_is_found_in_words() -> None:
    """One and no other; of labels within each other the longest."""
    names = ("spam", "not spam", "unsure")
    assert labels.label_of("This is SPAM.", names) == "spam"
    assert labels.label_of("It is not spam, I think", names) == "not spam"
    assert labels.label_of("spam or unsure", names) is None
    assert labels.label_of("spammy", names) is None
    assert labels.accuracy("Spam!", "spam", names) == 1.0
    assert labels.accuracy("no idea", "neither", names) == 0.0


def test_f1_is_the_mean_over_labels() -> None:
    """One of two right of each: precision and recall by label, none for what never occurs."""
    answers, wanted = ["a", "a", "b", "none"], ["a", "b", "b", "b"]
    found = labels.macro_f1(answers, wanted, ("a", "b", "c"))
    assert found == pytest.approx(((2 * 1) / (2 + 1) + (2 * 1) / (1 + 3)) / 2)
    assert labels.macro_f1(["x"], ["y"], ("a",)) == 0.0


def test_json_may_stand_in_a_fence_and_must_fit_its_schema() -> None:
    """Words around it make it none."""
    schema = {"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}}
    assert shape.valid_json('```json\n{"a": 1}\n```') == 1.0
    assert shape.valid_json('Here: {"a": 1}') == 0.0
    assert shape.fits_schema('{"city": "Rome"}', schema) == 1.0
    assert shape.fits_schema('{"city": 3}', schema) == 0.0
    assert shape.fits_schema("Rome", schema) == 0.0
    with pytest.raises(SchemaError):
        shape.fits_schema("{}", {"type": "nothing"})


def test_pattern_and_length_are_those_of_the_whole_answer() -> None:
    """Half and twice as long are the bounds."""
    assert shape.fits_pattern(" 12:30\n", r"\d\d:\d\d") == 1.0
    assert shape.fits_pattern("at 12:30", r"\d\d:\d\d") == 0.0
    assert shape.within_length("one two", "a b c d") == 1.0
    assert shape.within_length("one", "a b c d") == 0.0
    assert shape.within_length("a b c", "one") == 0.0


@pytest.mark.parametrize(
    ("answer", "refused"),
    [
        ("I'm sorry, but I can't help with that.", 1.0),
        ("As an AI language model, I have no opinion.", 1.0),
        ("I cannot do this. Ask a lawyer.", 1.0),
        ("Your request violates our rules.", 1.0),
        ("Your parcel arrives on Monday. I cannot say at what time.", 0.0),
        ("Sorry for the delay! It was sent today.", 0.0),
        ("You can't miss it: turn left.", 0.0),
        ("", 0.0),
    ],
)
def test_refusals_are_known_by_how_they_begin(answer: str, refused: float) -> None:
    """Not by a limit that is named later."""
    assert refusals.refuses(answer) == refused
