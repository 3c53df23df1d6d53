"""The second fence: equal to the rules applied to every text, and nothing random stays."""

from __future__ import annotations

import json
import pickle
import random
import re
import string
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import SettingsError
from curation.stages.entropy import is_random
from curation.stages.personal import RedactPersonal, redacted
from curation.stages.signs import SIGNS
from curation.table import conversations, pc
from feedback.redaction.redactor import ENTITIES, Redactor
from tests.unit.candidate_tables import pair, row, table_of

LABELLED = Path(__file__).parents[1] / "data" / "redaction.jsonl"
REDACTOR = Redactor()
KEY = "Zk3vQ9xT1mB7pLw2Rn8sYc4H"

# What the rules look for, in pieces that come together by chance
PIECES = st.lists(
    st.sampled_from(
        [
            *("Dear ", "Anna", " Smith", ",", "my name is ", "Mr. ", "Regards,\n", " ", "\n", ". "),
            *("+49 ", "0151 ", "555-", "1234567", "4111 1111 ", "1111 1111", "2A", "12", ".", "/"),
            *("bob", "@", "example.org", "https://", "user:", "password", " is ", "hunter22", "="),
            *(
                "api_key",
                ": ",
                '"',
                "sk-",
                "abcdefgh1234567890",
                "Bearer ",
                "DE89",
                "AB 12 34 56 C",
            ),
            *(
                "10.0.",
                "12.7",
                "2001:",
                "db8::1",
                "born ",
                "on ",
                "3 May 1980",
                "passport ",
                "C01X",
            ),
            *(
                "12 ",
                "Elm ",
                "Street",
                "Am ",
                "Markt ",
                "5",
                "straße ",
                "rue de ",
                "Calle ",
                "[",
                "]",
            ),
            *("[EMAIL_1]", "NAME_2", "né ", "PIN: ", "\u0663", "\u00a0", ";pwd=", "AKIA", "_", "-"),
        ]
    ),
    max_size=12,
).map("".join)


def labelled() -> Iterator[str]:
    """Yield the labelled texts of the redaction's tests, without their marks."""
    for line in LABELLED.read_text().splitlines():
        if line.strip():
            text = json.loads(line)["text"]
            yield re.sub(r"\[\[\w+\|(.*?)\]\]", r"\1", text, flags=re.S)


def test_every_entity_has_a_sign() -> None:
    """A new kind of rule must come with one, or its rows would be passed by."""
    assert set(SIGNS) == ENTITIES - {"NAME"}


@pytest.mark.parametrize("entity", sorted(SIGNS))
def test_signs_are_in_every_labelled_text_in_which_a_rule_finds(entity: str) -> None:
    """The patterns for Arrow are wider than the rules."""
    texts = [
        text for text in labelled() if any(span.entity == entity for span in REDACTOR.spans(text))
    ]
    assert texts
    found = pc.match_substring_regex(pa.array(texts), SIGNS[entity]).to_pylist()
    assert [text for text, is_told in zip(texts, found, strict=True) if not is_told] == []


def test_labelled_texts_are_redacted_as_by_the_rules() -> None:
    """Each in a conversation of its own."""
    texts = list(labelled())
    table = table_of(*(row("Hello", text) for text in texts))
    outcome = RedactPersonal(drop_secrets=False)(table)
    plain = [redacted(["Hello", text], (), REDACTOR) for text in texts]
    assert conversations(outcome.kept) == plain
    assert outcome.changed == sum(
        new != ["Hello", text] for text, new in zip(texts, plain, strict=True)
    )


@settings(max_examples=20, deadline=None)  # of many rows: the patterns are compiled each time
@given(st.lists(st.tuples(PIECES, PIECES), min_size=20, max_size=60))
def test_passing_rows_by_equals_redacting_all(texts: list[tuple[str, str]]) -> None:
    """Whatever the signs say, the result is that of the rules on every text."""
    table = table_of(*(row(prompt, answer) for prompt, answer in texts))
    kept = RedactPersonal(drop_secrets=False)(table).kept
    assert conversations(kept) == [redacted(both, (), REDACTOR) for both in texts]
    own = {"code": r"rue|12."}
    kept = RedactPersonal(own, drop_secrets=False)(table).kept
    assert conversations(kept) == [redacted(both, (), Redactor(own)) for both in texts]


def test_a_row_is_one_conversation() -> None:
    """Equal values have equal placeholders over prompt, answer and lost answer; others, others."""
    table = table_of(
        pair("I am bob@example.org", "Hello bob@example.org!", "Hi ann@example.org"),
        row("I am bob@example.org", "Is [EMAIL_1] yours too?", placeholders=["[EMAIL_2]"]),
        row("plain", "text"),
    )
    outcome = pickle.loads(pickle.dumps(RedactPersonal()))(table)
    assert conversations(outcome.kept) == [
        ["I am [EMAIL_1]", "Hello [EMAIL_1]!", "Hi [EMAIL_2]"],
        ["I am [EMAIL_3]", "Is [EMAIL_1] yours too?"],
        ["plain", "text"],
    ]
    assert outcome.changed == 2


def test_own_patterns_are_found_in_any_row() -> None:
    """They may look for what has no sign; one that cannot be used is named."""
    table = table_of(row("order abc", "plain"))
    outcome = RedactPersonal({"order": r"\babc\b"})(table)
    assert conversations(outcome.kept) == [["order [ORDER_1]", "plain"]]
    with pytest.raises(SettingsError, match="order"):
        RedactPersonal({"order": "("})(table)


def test_rows_with_a_random_string_are_dropped() -> None:
    """In any text of the row; they may be told to be kept."""
    table = table_of(
        row("What is this?", f"It is {KEY}."),
        pair("What?", "That.", KEY),
        row("What is Wav2Vec2BertSelfAttention?", "A class."),
    )
    outcome = RedactPersonal()(table)
    assert outcome.drops["reason"].to_pylist() == ["secret", "secret"]
    assert outcome.drops["detail"].to_pylist() == ["", ""]
    assert RedactPersonal(drop_secrets=False)(table).drops.num_rows == 0
    assert RedactPersonal()(table.slice(0, 0)).kept.num_rows == 0


def test_random_strings_are_told_from_names_and_digests() -> None:
    """Nine of ten at 24 characters; no identifier, path, commit, UUID or digest."""
    chance = random.Random(5)
    signs = string.ascii_letters + string.digits
    for length, share in ((24, 0.85), (40, 0.97)):
        tokens = ["".join(chance.choices(signs, k=length)) for _ in range(300)]
        assert sum(map(is_random, tokens)) >= share * len(tokens)
    for name in (
        "getUserById2FromHTTPResponse",
        "Qwen3ForSequenceClassification",
        "test_stage_2024_01_05_is_written_Once",
        "d670460b4b4aece5915caf5c68d12f560a9fe3e4",
        "0191e4a4-87a8-727b-8500-0469061b2280",
        "sha384-oqVuAfXRKap7fdgcCY5uykM6R9GqQ8K",
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345",
    ):
        assert not is_random(name), name
