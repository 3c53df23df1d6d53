"""Screens: hateful and biased words are found in four languages, and harmless ones are not."""

from __future__ import annotations

import pickle
import re
from typing import Any

import pytest

from core.curation_settings import ScreenSettings
from curation.stages import lexicon, screens
from curation.stages.screens import TOXIC, ScreenWords
from curation.stages.search import messages_with
from tests.unit.candidate_tables import pair, row, table_of


def found(*texts: tuple[str, str], **settings: Any) -> dict[str, tuple[str, str]]:
    """Return reason and detail of those of the prompts and answers that were dropped."""
    table = table_of(*(row(*both, id_=str(number)) for number, both in enumerate(texts)))
    drops = ScreenWords(ScreenSettings(**settings))(table).drops.to_pylist()
    return {
        " / ".join(texts[int(drop["interaction_id"])]): (drop["reason"], drop["detail"])
        for drop in drops
    }


TOXIC_TEXTS = [
    ("You are a FAGGOT.", "slur"),
    ("Du Hurensohn!", "slur"),
    ("espèce d'enculé", "slur"),
    ("Eres un hijo  de puta", "slur"),
    ("You fucking moron, read it!", "insult"),
    ("Ta gueule.", "insult"),
    ("They should all be killed", "threat"),
    ("I'll kill you", "threat"),
    ("I\u2019ll kill you", "threat"),
    ("Ich bring dich um.", "threat"),
    ("Je vais te tuer", "threat"),
    ("Mátate ya", "threat"),
    ("Sieg Heil", "violence"),
    ("Ausländer raus!", "violence"),
    ("Mort aux juifs", "violence"),
    ("muerte a los judíos", "violence"),
    ("two blowjobs", "sexual"),
    ("Kinderpornos", "sexual"),
    ("une partouze", "sexual"),
    ("te voy a follar", "sexual"),
]
HARMLESS_TEXTS = [
    "I want to kill myself. Please help me.",
    "Kill the process, and if it hangs, kill -9 it.",
    "The retardant slows the fire; the retardation is small.",
    "Scunthorpe and Essex are in England; the cocktail is mixed with a dickens of a shake.",
    "A dyke keeps the sea out, spick and span, without a chink in the armour.",
    "Breast cancer and sexual health are medical subjects, as is the penis.",
    "Das ist ein Schwanz eines Hundes, und der Neffe kommt aus Niger.",
    "Un pédalo sur le lac, et une pipe en bois.",
    "La zorra vive en el bosque; el coche negro es de mi tía.",
    "This shit does not work, damn it.",
    "We have vermin in the kitchen, and I am an idiot to have left the bread there.",
]


def test_toxic_words_are_found_in_prompt_and_answer() -> None:
    """Whole words in any case; the drop names the category and the place, never the word."""
    assert found(*(("", text) for text, _ in TOXIC_TEXTS)) == {
        f" / {text}": ("toxic", f"{category}, in the answer") for text, category in TOXIC_TEXTS
    }
    assert found(*((text, "Fine.") for text, _ in TOXIC_TEXTS)) == {
        f"{text} / Fine.": ("toxic", f"{category}, in the prompt") for text, category in TOXIC_TEXTS
    }
    assert found(*(("", text) for text, _ in TOXIC_TEXTS), toxicity=False) == {}


def test_harmless_words_stay() -> None:
    """Cries for help, computing, medicine, parts of words, mild swearing."""
    assert found(*((text, text) for text in HARMLESS_TEXTS)) == {}


BIASED_TEXTS = [
    ("Women are bad drivers.", "gender"),
    ("As we know, all Muslims are terrorists", "religion"),
    ("Immigrants are just naturally lazy.", "origin"),
    ("Old people can't drive.", "age"),
    ("Gay people are unnatural.", "sexuality"),
    ("Never trust gypsies", "origin"),
    ("Disabled people are a burden.", "disability"),
    ("Poor people are lazy.", "class"),
    ("Frauen können nicht einparken.", "gender"),
    ("Ausländer sind halt kriminell.", "origin"),
    ("Les femmes sont trop émotives.", "gender"),
    ("Les Roms sont tous des voleurs.", "origin"),
    ("Las mujeres son malas conductoras.", "gender"),
    ("Los gitanos son unos ladrones.", "origin"),
]
FAIR_TEXTS = [
    "Women are often paid less than men.",
    "The claim that women are bad drivers is a myth.",
    "It is a stereotype that poor people are lazy.",
    "Das Vorurteil, Frauen sind schlechte Autofahrer, stimmt nicht.",
    "These boys are lazy, those girls are not.",
    "The girls are too emotional in this scene.",
    "Old people are at higher risk of falls.",
    "Comments are useless here. Salesmen are lazy.",
    "Les femmes sont plus nombreuses que les hommes.",
    "Los pobres son más vulnerables.",
]


def test_statements_about_groups_are_biased() -> None:
    """In answers alone: who asks whether it is so may be helped."""
    assert found(*(("", text) for text, _ in BIASED_TEXTS)) == {
        f" / {text}": ("biased", category) for text, category in BIASED_TEXTS
    }
    assert found(*((text, "No.") for text, _ in BIASED_TEXTS)) == {}
    assert found(*(("", text) for text, _ in BIASED_TEXTS), bias=False) == {}


def test_facts_and_objections_are_not_biased() -> None:
    """Statistics, who calls it a prejudice, some people, parts of words."""
    assert found(*((text, text) for text in FAIR_TEXTS)) == {}


def test_own_words_are_added_and_ours_allowed() -> None:
    """An allowed word is allowed in the form it is written in; others of the text still count."""
    coin = ("", "Buy AcmeCoin now"), ("", "acmecoins")
    assert found(*coin, extra_words=("acmecoin",)) == {
        " / Buy AcmeCoin now": ("toxic", "own, in the answer")
    }
    assert len(found(*coin, extra_words=("acmecoin*",), toxicity=False)) == 2
    index = ("", "The MILF index"), ("", "milf hentai")
    assert found(*index, allowed_words=("milf",)) == {
        " / milf hentai": ("toxic", "sexual, in the answer")
    }


def test_lost_answers_may_be_toxic_and_the_stage_can_travel() -> None:
    """A model learns not to say them; empty tables and rows without messages are fine."""
    table = table_of(
        pair("What?", "That.", "You faggot"), {**row("x", "y"), "messages": None}, row("x", "KYS")
    )
    stage = pickle.loads(pickle.dumps(ScreenWords(ScreenSettings())))
    outcome = stage(table)
    assert outcome.kept.num_rows == 2
    assert outcome.drops["detail"].to_pylist() == ["threat, in the answer"]
    assert stage(table.slice(0, 0)).kept.num_rows == 0
    both = table_of(row("x", "Poor people are lazy, kys"))
    assert stage(both).drops["reason"].to_pylist() == ["toxic"]


@pytest.mark.parametrize("file", sorted(TOXIC.values()))
def test_every_word_is_found_by_arrow_and_by_python(file: str) -> None:
    """Also with an ending where it may have one, and with a capital; none is written twice."""
    words = lexicon.words_of(file)
    assert len(set(words)) == len(words) > 30
    whole = lexicon.of_words({"any": words})
    texts = [word.replace("*", "s").capitalize() for word in words]
    table = table_of(*(row("x", text) for text in texts))
    assert messages_with(table, whole.sign, ignore_case=True) == list(range(len(words)))
    for text in texts:
        assert [match.group() for match in whole.find(f"({text})")] == [text]


def test_every_group_is_found_with_a_trait() -> None:
    """Arrow's search passes no statement by, whatever its group's first and last letter."""
    statements = lexicon.of_statements("bias.txt")
    text = (lexicon.FOLDER / "bias.txt").read_text("utf-8")
    says = {"en": "are lazy", "de": "sind faul", "fr": "sont idiots", "es": "son idiotas"}
    claims = [
        f"{name.strip()} {says[language]}"
        for language, names in re.findall(r"(?m)^group \w+ (\w+): (.+)$", text)
        for name in names.split("|")
    ]
    assert len(claims) > 100
    rows = table_of(*(row("x", claim) for claim in claims))
    assert ScreenWords(ScreenSettings())(rows).kept.num_rows == 0
    assert all(next(statements.find(claim), None) for claim in claims)
    assert screens.OWN not in TOXIC
