"""Quality: poor answers are dropped by the name of their fault, good odd ones stay."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from core.curation_settings import QualitySettings
from curation.stages import gibberish, phrases
from curation.stages.quality import CheckQuality
from curation.stages.repetition import Limits, repetition
from curation.stages.search import answers_with
from tests.unit.candidate_tables import pair, row, table_of

# Sixty words, none of which is a text's
WORDS = [f"{a}{b}" for a in ("bar", "den", "fil", "gor", "kul", "mes") for b in "aeiouyawek"]
VARIED = [f"{word}{number // 7}" for number, word in enumerate(WORDS)]


def faults(*answers: str, prompt: str = "How?", **settings: Any) -> list[tuple[str, str]]:
    """Return reason and detail of the answers that were dropped."""
    table = table_of(*(row(prompt, answer) for answer in answers))
    drops = CheckQuality(QualitySettings(**settings))(table).drops
    return list(zip(drops["reason"].to_pylist(), drops["detail"].to_pylist(), strict=True))


def test_short_answers_are_told_with_their_length() -> None:
    """Two characters are an answer by default."""
    assert faults("y", "ok") == [("too short", "1 characters, at least 2")]
    assert faults("y", min_answer_chars=0) == []


REFUSALS = [
    "I'm sorry, but I can't assist with that.",
    "I\u2019m sorry, but I cannot fulfill this request.",
    "Sorry, I can't help with that request. Is there anything else I can help you with?",
    "As an AI language model, I cannot have personal opinions.",
    "As an AI language model, I am not able to provide that information.",
    "I cannot create content that promotes harmful behaviour. Let me know if you need more.",
    "I'm unable to help you with this.",
    "Unfortunately, I won't be able to assist with this.",
    "Es tut mir leid, aber ich kann dabei nicht helfen.",
    "Tut mir leid, dabei kann ich dir leider nicht weiterhelfen.",
    "Als KI-Sprachmodell kann ich diese Frage nicht beantworten.",
    "Je suis désolé, mais je ne peux pas vous aider avec cette demande.",
    "Lo siento, pero no puedo ayudar con eso.",
    "Mi dispiace, ma non posso aiutarti con questa richiesta.",
    "Desculpe, mas não posso ajudar com isso.",
    "Het spijt me, maar daar kan ik niet mee helpen.",
]
HELP = [
    "I'm sorry to hear that. Restart the router and wait a minute.",
    "I'm sorry, but I can't find that order. Could you send its number?",
    "Unfortunately, I can't help with that, but the shop in the town can.",
    "I can't help with that but you can call the office.",
    "Sorry, I can't open the file. Save it as PDF and send it again.",
    "You can't refuse it: the law says so.",
    "I can help with that.",
    "Das kann ich nicht empfehlen, weil die Leitung zu dünn ist.",
    "Je ne peux pas voir votre commande. Quel est son numéro ?",
    "No puedo ver el pedido, mande el número por favor.",
    "Sorry!",
]


@pytest.mark.parametrize("answer", REFUSALS)
def test_refusals_are_dropped(answer: str) -> None:
    """In seven languages, and only where that is all the answer says."""
    assert faults(answer) == [("refusal", "")]
    assert faults(answer, drop_refusals=False) == []
    assert phrases.is_refusal(answer)
    assert not phrases.is_refusal(answer + " Set the heating from the menu.")
    assert not phrases.is_refusal(answer + "x" * phrases.MAX_REFUSAL_CHARS)


@pytest.mark.parametrize("answer", HELP)
def test_help_that_begins_like_a_refusal_stays(answer: str) -> None:
    """Sorrow, a question, a way round."""
    assert faults(answer) == []


def test_web_pages_are_boilerplate() -> None:
    """Two phrases of a page, unless they were asked for; one may be what the answer is about."""
    page = "Home. This site uses cookies. © 2024 Shop, all rights reserved."
    assert faults(page) == [("boilerplate", "2 phrases of web pages")]
    assert faults(page, prompt="Write a footer: all rights reserved") == []
    assert faults("Please enable JavaScript in the settings of your browser.") == []
    assert faults("Lorem ipsum dolor sit amet.") == [("boilerplate", "1 phrases of web pages")]
    assert faults(page, drop_boilerplate=False) == []


@pytest.mark.parametrize(
    ("broken", "detail"),
    [
        ("See:\n```python\nprint(1)", "code block has no end"),
        ('```json\n{"a": [1, 2\n```', "JSON is not whole"),
        ('```json\n{"a": "}"\n```', "JSON is not whole"),
        ("<div><b>Hello</b>", "tag div is not balanced"),
        ("Hello</b> there", "tag b is not balanced"),
        ('<a href="x">here', "tag a is not balanced"),
    ],
)
def test_broken_markup_is_named(broken: str, detail: str) -> None:
    """Fences, JSON in its fence, tags around text."""
    assert faults(broken) == [("broken markup", detail)]
    assert faults(broken, drop_broken_markup=False) == []


@pytest.mark.parametrize(
    "whole",
    [
        '```json\n{"a": "{[", "b": [1]}\n```',
        '```json\n{"a": 1, // one\n "b": ...}\n```',
        "```python\nx = '<div>'\nif a < b: print([1, (2])\n```",
        "Use the <b> tag, or <div>, and close it with </div>.",
        "`<b>bold` is open, 1 <b and c> 2",
        "<ul><li>one<li>two</ul><p>three<br>four",
        "<B>bold</b>",
        "Dear <name>, see <https://example.org>.",
    ],
)
def test_whole_markup_stays(whole: str) -> None:
    """Examples with gaps, code, tags that a sentence speaks of, tags that need no end."""
    assert faults(whole) == []


GOPHER = Limits(lines=0.3, ngrams=1.0)


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("the end " + "no " * 6, "words in a row"),
        ("\n".join(["one more line"] * 3 + ["a", "b", "c"]), "33% of lines"),
        ("\n\n".join(["one\nmore"] * 3 + ["a\nb", "c\nd"]), "40% of lines"),
        ("\n".join([*"abcdefgh", *["a long line of words"] * 2]),
         "42% of characters in repeated lines"),
        (" ".join(f"tick tock {word}" for word in WORDS[:30]), "67% in one 2-gram"),
        (" ".join([*VARIED, *VARIED[:20]]), "25% in repeated 5-grams"),
    ],
)  # fmt: skip
def test_repetition_is_told_with_its_share(text: str, detail: str) -> None:
    """Words, lines and paragraphs, n-grams, by the paper's limits."""
    assert repetition(text, GOPHER) == detail


@pytest.mark.parametrize(
    ("words", "detail"),
    [(8, None), (9, "13% in repeated 7-grams"), (10, "14% in repeated 6-grams")],
)
def test_longer_ngrams_have_lower_limits(words: int, detail: str | None) -> None:
    """What may be in repeated 5-grams may be too much in longer ones."""
    assert repetition(" ".join([*VARIED, *VARIED[:words]]), GOPHER) == detail


@pytest.mark.parametrize(
    "text",
    [
        " ".join(VARIED),
        "yes yes yes yes yes",
        "- - - - - - - - a",
        "a\nb\na",
        "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |",
        "",
    ],
)
def test_what_repeats_little_stays(text: str) -> None:
    """Short texts, signs and tables have their repetitions."""
    assert repetition(text, GOPHER) is None


def test_rules_of_repetition_can_be_turned_off() -> None:
    """A share of 0, as the settings say."""
    assert repetition("\n".join(["same line"] * 9), Limits(lines=0.0, ngrams=1.0)) is None
    assert repetition("tick tock " * 40, Limits(lines=0.0, ngrams=0.0)) is None
    assert faults("tick tock " * 40, max_repeated_ngram_share=0.0) == []
    assert faults("tick tock " * 40)[0][0] == "repetition"


def test_code_may_repeat() -> None:
    """Only what stands between the blocks is judged."""
    assert faults("So:\n```\n" + "}\n" * 20 + "```\nThat is all.") == []


@pytest.mark.parametrize(
    ("noise", "detail"),
    [
        ("%^&*()!@# ;:<>?{} " * 4 + "a b c", "4% letters and digits"),
        ("sdfgh jklmn wsdf qwrtpsd the house hjkl zxcvb mnbvc then xcvbn dfgh",
         "64% of words cannot be said"),
    ],
)  # fmt: skip
def test_noise_is_gibberish(noise: str, detail: str) -> None:
    """Signs without letters, and letters without vowels."""
    assert faults(noise) == [("gibberish", detail)]
    assert faults(noise, min_letter_share=0.0, max_odd_word_share=0.0) == []


@pytest.mark.parametrize(
    "odd",
    [
        "2x + 3 = 7, hence 2x = 4, hence x = 2, and y = 2x - 1 = 3.",
        "$$\\int_0^1 (x^2 + 1)^{-2} \\, dx = [\\frac{x}{2(x^2+1)}]_0^1 + \\ldots$$ is it.",
        '{"a":1,"b":[{"c":2},{"d":3}],"e":{"f":{"g":[]}},"h":[[],[],[]]}',
        "| a | b |\n|---|---|\n| - | - |\n| - | - |\n| - | - |\n| - | - |",
        "👍👍👍 ❤️",
        "Die Rechtschreibung der Angstschweißtropfen ist wirklich schwierig zu lernen.",
        "Use html, http, https and grpc with the server that you have set up before today.",
        "Strč prst skrz krk, řekl starý pán a smrt mu vzala jeho psa v zimě.",
        "暖气可以在菜单中设置。更改会立即保存。暖气可以在菜单中设置。更改会立即保存。",
        "Оплата проходит через меню, изменения сохраняются сразу же.",
        "See https://example.org/" + "a" * 300,
    ],
)
def test_odd_answers_stay(odd: str) -> None:
    """Mathematics, data, tables, emoji, other languages, addresses."""
    assert faults(odd) == []


def test_long_words_are_encoded_data() -> None:
    """Base64 outside a code block; the detail says how long."""
    assert faults("Here: " + "QUJD" * 60) == [("encoded data", "a word of 240 characters")]
    assert faults("```\n" + "QUJD" * 60 + "\n```") == []


@pytest.mark.parametrize("text", [*REFUSALS, *HELP])
def test_signs_are_in_all_that_they_stand_for(text: str) -> None:
    """Arrow's search passes no refusal by."""
    table = table_of(row("How?", text))
    if phrases.is_refusal(text):
        assert answers_with(table, phrases.REFUSAL_SIGN) == [0]
    assert gibberish.odd_word_share(text) == 0.0


def test_only_answers_are_judged_and_the_stage_can_travel() -> None:
    """A poor prompt or lost answer is no fault; empty tables and rows without messages are fine."""
    table = table_of(
        row("y", "Fine."), pair("How?", "Fine.", "I can't help with that."), row("How?", "y")
    )
    stage = pickle.loads(pickle.dumps(CheckQuality(QualitySettings())))
    assert stage(table).kept.num_rows == 2
    assert stage(table.slice(0, 0)).drops.num_rows == 0
    bare = table_of({**row("x", "y"), "messages": None})
    assert stage(bare).drops["reason"].to_pylist() == ["too short"]
