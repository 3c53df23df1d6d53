"""Mending: damage of encoding and spacing goes, code and meaning stay, the lost is dropped."""

from __future__ import annotations

import pickle

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.stages.encoding import SUSPECT, MendEncoding, mended, mended_conversation
from curation.stages.search import rows_with
from curation.table import conversations
from tests.unit.candidate_tables import pair, row, table_of

# What damage is made of, amid letters: all that the rules speak of, and neighbours
DAMAGED = st.text(
    st.one_of(
        st.sampled_from(
            "aZ .\n\r\t`~\x00\x1b[m\x85\x92\xa0\xad\u200b\u200c\u200d\u2028\ufeff\u0301"
        ),
        st.sampled_from(
            "ÃÂâ€™œžŸ©¶±½\u00d7√≈°│Ø╬вЂГўВα\u1f71\u212bà²µ„Üß가ᄀ\u0958が\U0001f3f4\U000e0067"
        ),
        st.characters(max_codepoint=0x2FFF, exclude_categories=["Cs"]),
    ),
    max_size=30,
)


@pytest.mark.parametrize(
    ("damaged", "good"),
    [
        ("Je vais au cafÃ© demain", "Je vais au café demain"),
        ("Thatâ€™s right", "That\u2019s right"),
        ("GrÃ¼Ã\x9fe", "Grüße"),
        ("it\x92s", "it\u2019s"),
        ("e\u0301te\u0301", "été"),
        ("in\u200bvisible\ufeff, hy\xadphen", "invisible, hyphen"),
        ("no\u200d join", "no join"),
        ("a\x00b\x1b[31mred\x1b[0m", "abred"),
        ("one\r\ntwo\rthree\u2028four", "one\ntwo\nthree\nfour"),
        ("end  \t\n\n\n\n\n\nnext \n", "end\n\n\nnext"),
        ("\n \n  Hello", "Hello"),
    ],
)
def test_damage_is_mended(damaged: str, good: str) -> None:
    """Wrong decoding, unseen characters, line ends and spaces."""
    assert mended(damaged) == good


@pytest.mark.parametrize(
    "good",
    [
        "Größe, „Übersicht“ \u2013 naïve café; «À bientôt» 3 \u00d7 4 = 12 €",
        "👩\u200d💻 and 🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "می\u200cخو\u0627\u0647م",
        "Добро пожаловать. 日本語です。 हिन्दी",
        "Use &amp; for an ampersand, ﬁ and “quotes”.",
        "a hard  \nbreak",
        "  indented:\n    more",
        "```\ncode  \n\n\n\n\nmore\t\n```\nend",
        "def f():\n    pass\n\n\ndef g():\n\tpass",
    ],
)
def test_what_is_meant_stays(good: str) -> None:
    """Other scripts, emoji, entities, Markdown's breaks, indentation, and all within code."""
    assert mended(good) == good


def test_only_line_ends_change_within_code() -> None:
    """Spaces at a line's end may be meant there, as in a diff."""
    assert mended("x \n```diff\r\n \r\n+a  \r\n```\r\ny ") == "x\n```diff\n \n+a  \n```\ny"


def test_a_text_about_encodings_keeps_its_signs() -> None:
    """Who asks why é became Ã© wants to see it, also in the answer."""
    texts = ["Why is UTF-8 shown so?", "You see cafÃ©."]
    assert mended_conversation(texts) == texts
    assert mended_conversation(["Where?", "You see cafÃ©."]) == ["Where?", "You see café."]


def test_rows_are_mended_kept_and_dropped() -> None:
    """Of a pair the lost answer too; U+FFFD cannot be mended."""
    table = table_of(
        row("Where?", "There."),
        pair("Where?", "There. ", "cafÃ©"),
        row("caf\ufffd?", "There.", id_="lost"),
    )
    outcome = pickle.loads(pickle.dumps(MendEncoding()))(table)
    assert conversations(outcome.kept) == [["Where?", "There."], ["Where?", "There.", "café"]]
    assert outcome.changed == 1
    assert outcome.drops.select(["interaction_id", "reason"]).to_pylist() == [
        {"interaction_id": "lost", "reason": "broken text"}
    ]


def test_a_sound_table_is_given_back_as_it_is() -> None:
    """Nothing is made anew; an empty table and rows without messages are no fault here."""
    table = table_of(row("Where?", "There."), {**row("x", "y"), "messages": None})
    assert MendEncoding()(table).kept is table
    assert MendEncoding()(table.slice(0, 0)).kept.num_rows == 0


def test_bytes_that_are_no_utf8_are_dropped_and_told() -> None:
    """Another program's file may hold them; the rows beside them stay."""
    table = table_of(row("Where?", "There."), row("Where?", "abc"), row("Why?", "So."))
    whole = table["messages"].combine_chunks()
    roles, contents = (whole.flatten().field(name) for name in ("role", "content"))
    offsets, data = contents.buffers()[1], contents.buffers()[2].to_pybytes()
    bad = pa.py_buffer(data.replace(b"abc", b"a\xffc"))
    broken = pa.Array.from_buffers(pa.string(), len(contents), [None, offsets, bad])
    both = pa.StructArray.from_arrays([roles, broken], fields=list(whole.type.value_type))
    messages = pa.ListArray.from_arrays(whole.offsets, both)
    at = table.column_names.index("messages")
    outcome = MendEncoding()(table.set_column(at, "messages", messages))
    assert conversations(outcome.kept) == [["Where?", "There."], ["Why?", "So."]]
    assert outcome.drops["reason"].to_pylist() == ["broken text"]


@settings(deadline=None)
@given(DAMAGED)
def test_what_the_search_passes_by_needs_no_mending(text: str) -> None:
    """The quick way equals mending every text."""
    if not rows_with(table_of(row("x", text)), SUSPECT):
        assert mended(text) == text


@settings(deadline=None)
@given(DAMAGED)
def test_mending_twice_is_mending_once(text: str) -> None:
    """A dataset that is curated again stays as it is."""
    once = mended(text)
    assert mended(once) == once
