"""Each metric of the gate by its name: what it gives 1, what 0, and what it cannot score."""

from __future__ import annotations

from typing import Any

import pytest

from retrain.gate.metrics.overlap import token_f1
from retrain.gate.scores import BY_ANSWER, METRICS, NEEDS_REFERENCE, gathered, over_all, score
from retrain.gate.suite import Answer, Item, Question, Suite, SuiteScores, changed, plain

SCHEMA = {"type": "object", "required": ["city"]}
LOOP = "please try again later thank you so much " * 4


def suite(metric: str, **values: Any) -> Suite:
    """Return a suite with that metric."""
    return Suite("asked in tests", "test", metric, name="quiz", **values)


def question(reference: str = "", schema: dict[str, Any] | None = None) -> Question:
    """Return a question with a reference."""
    return Question(({"role": "user", "content": "Where?"},), reference, schema)


@pytest.mark.parametrize(
    ("metric", "answer", "reference", "expected"),
    [
        ("exact_match", "In Paris.", "in paris", 1.0),
        ("exact_match", "In Rome.", "in paris", 0.0),
        ("token_f1", "in Paris now", "in Paris", 0.8),
        ("bleu", "the cat sat on the mat", "the cat sat on the mat", 1.0),
        ("rouge_1", "a b", "a b", 1.0),
        ("rouge_2", "a b", "b a", 0.0),
        ("rouge_l", "a b", "a b", 1.0),
        ("contains", "It is Mount Everest.", "Everest", 1.0),
        ("contains", "It is the sea.", "Everest", 0.0),
        ("contains", "Twenty-one", "one hundred", 0.0),
        ("within_length", "a b c", "a b c d", 1.0),
        ("within_length", "a", "a b c d", 0.0),
        ("unlike_flagged", "You are a fool", "You are a fool", 0.0),
        ("unlike_flagged", "I'm sorry, I can't say that.", "I'm sorry, I can't say that.", 1.0),
        ("unlike_flagged", "Have a nice day", "You are a fool", 1.0),
        ("json_as_reference", '{"city": "Rome"}', '{"city": "Paris"}', 1.0),
        ("json_as_reference", '{"town": "Rome"}', '{"city": "Paris"}', 0.0),
        ("json_as_reference", "[1]", '{"city": "Paris"}', 0.0),
        ("json_as_reference", "[2, 3]", "[1]", 1.0),
        ("json_as_reference", "Rome", '{"city": "Paris"}', 0.0),
        ("json_as_reference", "Rome", "Paris", None),
        ("json_as_reference", "3", "3", None),
        ("token_f1", "anything", "", None),
        ("valid_json", "{}", "", 1.0),
        ("refuses", "I cannot help with that.", "", 1.0),
        ("does_not_refuse", "I cannot help with that.", "", 0.0),
        ("sound", "A short answer.", "", 1.0),
        ("sound", "  ", "", 0.0),
        ("sound", LOOP, "", 0.0),
    ],
)
def test_metric_scores(metric: str, answer: str, reference: str, expected: float | None) -> None:
    """A metric's name and an answer give the number that the metric is known for."""
    found = score(suite(metric), [question(reference)], [Answer(answer, 3, 0.1)])
    assert found == [pytest.approx(expected) if expected is not None else None]


def test_metrics_with_values_of_their_suite() -> None:
    """Labels, patterns and schemas come from the suite and its questions; a cut answer ends not."""
    named = suite("accuracy", labels=("yes", "no"))
    assert score(named, [question("yes")], [Answer("Yes, sir", 2, 0.1)]) == [1.0]
    shaped = suite("fits_pattern", pattern=r"\d+")
    assert score(shaped, [question()], [Answer("42", 1, 0.1)]) == [1.0]
    fits = suite("fits_schema")
    asked = [question(schema=SCHEMA), question(schema=SCHEMA), question()]
    said = [Answer('{"city": 1}', 5, 0.1), Answer("{}", 1, 0.1), Answer("{}", 1, 0.1)]
    assert score(fits, asked, said) == [1.0, 0.0, None]
    cut = [Answer("on and", 2, 0.1, cut=True), Answer("done", 1, 0.1)]
    assert score(suite("finishes"), [question(), question()], cut) == [0.0, 1.0]


def test_only_what_both_can_be_scored_by_is_compared() -> None:
    """A question without a score for one model is left out for both, and counted."""
    asked = [question(text) for text in ("a", "b", "c", "d")]
    both = gathered(suite("token_f1"), asked, [1.0, None, 0.5, float("nan")], [0.2, 0.3, 0.4, 0.5])
    assert (both.candidate, both.other, both.unscored) == ((1.0, 0.5), (0.2, 0.4), 2)
    assert both.keys == (asked[0].key, asked[2].key)
    alone = gathered(suite("sound"), asked, [1.0, 0.0, None, 1.0], None)
    assert (alone.candidate, alone.other) == ((1.0, 0.0, 1.0), ())


def test_suite_without_a_scored_question_says_so() -> None:
    """Nothing to score is no pass with an empty table."""
    none: SuiteScores = gathered(suite("json_as_reference"), [question("Paris")], [None], [None])
    assert none.skipped == "json_as_reference scores none of its 1 questions"


def test_numbers_over_all_answers() -> None:
    """BLEU of the corpus and macro-F1 are of all answers together; other metrics have none."""
    asked, said = [question("the cat sat on the mat")], [Answer("the cat sat on the mat", 6, 0.1)]
    assert over_all(suite("bleu"), asked, said)["corpus_bleu"] == pytest.approx(1.0)
    named = suite("accuracy", labels=("yes", "no"))
    yes = [question("yes")]
    assert over_all(named, yes, [Answer("yes", 1, 0.1)]) == {"macro_f1": 1.0}
    assert over_all(suite("token_f1"), asked, said) == {}


def test_questions_are_known_by_their_words() -> None:
    """Keys are those of training examples, so that review finds what was answered worse."""
    from retrain.examples import Example

    turns = ({"role": "user", "content": "Where?"},)
    example = Example((*turns, {"role": "assistant", "content": "Here."}))
    assert Question(turns, "Here.").key == example.key
    text = Example(
        ({"role": "prompt", "content": "1, 2,"}, {"role": "completion", "content": " 3"})
    )
    assert Question(({"role": "prompt", "content": "1, 2,"},), " 3").key == text.key
    asked = question("Here.")
    assert changed(asked, "where?").prompt == "where?"
    assert changed(asked, "where?").key != asked.key


def test_items_are_conversations() -> None:
    """A prompt is one turn of a user; messages are taken as they are."""
    assert Item(prompt="Hi").conversation == ({"role": "user", "content": "Hi"},)
    turns = ({"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"})
    assert Item(messages=turns).conversation == turns


def test_reports_show_rules_without_questions() -> None:
    """What a suite asks for fits a line; its questions do not."""
    shown = plain(suite("sound", examples=(Item(prompt="Hi"),)))
    assert shown["metric"] == "sound"
    assert "examples" not in shown


def test_every_metric_has_a_place() -> None:
    """A metric that needs a reference says so, and none is two things."""
    assert set(BY_ANSWER) <= METRICS
    assert NEEDS_REFERENCE <= METRICS
    assert token_f1("a", "a") == 1.0
