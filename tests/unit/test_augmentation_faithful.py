"""What a rewritten text must keep: placeholders, numbers, language, and about its length."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.augmentation.faithful import (
    EMPTY,
    LANGUAGE,
    LENGTH,
    NUMBERS,
    PLACEHOLDERS,
    SAME,
    bare,
    numbers,
    why_not,
)
from curation.augmentation.languages import language_name, language_of

SEED = "Please send order 4711 to [EMAIL_1] before the end of this week."


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Could order 4711 reach [EMAIL_1] by the end of this week?", None),
        ("", EMPTY),
        ("please  send order 4711 to [EMAIL_1], before the end of this week", SAME),
        ("Could order 4711 be sent to me by the end of this week?", PLACEHOLDERS),
        ("Could order 4711 reach [EMAIL_2] by the end of this week?", PLACEHOLDERS),
        ("Could order 4711 of [PERSON_1] reach [EMAIL_1] by this week?", PLACEHOLDERS),
        ("Could order 4712 reach [EMAIL_1] by the end of this week?", NUMBERS),
        ("Could the order reach [EMAIL_1] by the end of this week?", NUMBERS),
        ("Could order 4711 reach [EMAIL_1] in 7 days, please?", NUMBERS),
        ("Merci d'envoyer la commande 4711 à [EMAIL_1] avant la fin de la semaine.", LANGUAGE),
        ("Could order 4711 reach [EMAIL_1]? " + "It is an important matter. " * 20, LENGTH),
    ],
)
def test_a_text_is_refused_for_what_it_lost(text: str, reason: str | None) -> None:
    """Each fault by its name; a faithful text has none."""
    why = why_not(SEED, text)
    assert (why.reason if why else None) == reason


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1,000 pieces", "1000 pieces"),
        ("1.5 litres", "1,5 litres"),
        ("2'500'000 francs", "2.500.000 francs"),
        ("ticket [CARD_1] and 3", "3 and [CARD_22]"),
        ("٣ days", "3 days"),
    ],
)
def test_numbers_are_equal_in_any_spelling(one: str, other: str) -> None:
    """Separators differ between languages; a placeholder's number is none."""
    assert numbers(one) == numbers(other)


@pytest.mark.parametrize(("one", "other"), [("1.5", "15"), ("3 and 3", "3"), ("10:30", "10:31")])
def test_unlike_numbers_stay_unlike(one: str, other: str) -> None:
    """Neither a lost separator nor a lost repetition passes."""
    assert numbers(one) != numbers(other)


@given(st.text(max_size=80))
def test_no_text_may_stand_for_itself(text: str) -> None:
    """Whatever it holds, an unchanged text is refused."""
    why = why_not(text, text)
    assert why is not None
    assert why.reason in {EMPTY, SAME}


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("  Where is it?\n", "Where is it?"),
        ('"Where is it?"', "Where is it?"),
        ("Sure! Here is the rephrased text:\n\nWhere is it?", "Where is it?"),
        ("<text>\nWhere is it?\n</text>", "Where is it?"),
        ('"A" or "B"', '"A" or "B"'),
        ('"', '"'),
        ("Mend this:\n\nx = 1", "Mend this:\n\nx = 1"),
    ],
)
def test_what_models_put_around_a_text_is_taken_off(reply: str, text: str) -> None:
    """Tags, a preamble and quotes go; a text's own stay."""
    assert bare(reply, "Where?") == text


def test_what_the_seed_has_too_stays() -> None:
    """Quotes and a first line are the text's own where the seed has them."""
    assert bare('"To be"', '"Not to be"') == '"To be"'
    said = "Here is my code:\nx = 1"
    assert bare(said, "Here's some code:\ny = 1") == said


def test_a_language_is_known_or_nothing_is_said() -> None:
    """Short texts and noise have no language."""
    assert language_of("Ich hätte gerne gewusst,\nwann mein Paket ankommt.") == "de"
    assert language_of("ok") is None
    assert language_name("Quando arriva il mio pacco con le scarpe blu?", "English") == "Italian"
    assert language_name("ok", "Welsh") == "Welsh"
