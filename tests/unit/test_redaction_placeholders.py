"""Placeholders: one value, one number, over a whole conversation and its corrections."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from core.settings import ApplicationSettings, RedactionMode
from feedback.redaction.placeholders import aligned, fingerprint
from feedback.redaction.redactor import Redactor
from feedback.redaction.writing import Redactors, Writing

KEY = b"a key for tests"
REDACTOR = Redactor()


def writing(mode: RedactionMode = "redacted", interaction_id: str = "one") -> Writing:
    application = ApplicationSettings(api_key=SecretStr("key"), redaction=mode)
    return Redactors({"desk": application}, KEY).writing("desk", interaction_id)


def redacted(*texts: str) -> list[str]:
    """Return the texts of one conversation, redacted."""
    return list(REDACTOR.conversation().redact_all(texts))


def test_numbers_go_by_first_appearance_over_all_texts() -> None:
    """The place in the conversation counts, not which rule found it first."""
    texts = ["from a@x.example to b@x.example, 10.1.2.3", "b@x.example, 10.1.2.4, a@x.example"]
    assert redacted(*texts) == [
        "from [EMAIL_1] to [EMAIL_2], [IP_1]",
        "[EMAIL_2], [IP_2], [EMAIL_1]",
    ]


def test_the_next_request_of_a_conversation_has_the_same_numbers() -> None:
    """What was said before keeps its placeholders, whatever is said after."""
    texts = ["I am Anna Smith, ann@x.example", "Hello Anna Smith", "and bob@x.example, 10.1.2.3"]
    assert redacted(*texts[:2]) == redacted(*texts)[:2]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ann@X.Example", "ann@x.example"),
        ("4111 1111 1111 1111", "4111-1111-1111-1111"),
        ("DE89 3704 0044 0532 0130 00", "de89370400440532013000"),
        ("+49 30 901820", "0049 30/901820"),
        ("SSN 219-09-9999", "SSN 219 09 9999"),
        ("Dear Anna Smith,", "Dear ANNA SMITH,"),
    ],
)
def test_equal_values_share_a_placeholder_however_they_are_written(one: str, other: str) -> None:
    """Case, spaces and hyphens do not make another value."""
    first, second = redacted(one, other)
    assert first[first.index("[") :] == second[second.index("[") :]


def test_what_was_found_once_is_found_again_without_its_words() -> None:
    """A name or number that only its context told is replaced in later texts too."""
    others = "NgoziNgozi Obis and aX4RTBPFW4 are others."
    assert redacted(
        "my name is Ngozi Obi, passport X4RTBPFW4",
        "The parcel of Ngozi Obi (X4RTBPFW4) waits.",
        others,
    )[1:] == ["The parcel of [NAME_1] ([NATIONAL_ID_1]) waits.", others]


def test_a_name_that_is_a_word_is_not_sought_elsewhere() -> None:
    """Somebody called Mark does not take a verb out of all texts."""
    assert redacted("Dear Mark,", "Mark it as done.") == ["Dear [NAME_1],", "Mark it as done."]


def test_a_number_that_the_text_uses_is_skipped() -> None:
    """What a person wrote as [EMAIL_1] is text: no value gets that number."""
    assert redacted("[EMAIL_1] is not ann@x.example") == ["[EMAIL_1] is not [EMAIL_2]"]
    assert redacted("[LINK_1] and [EMAIL_0]", "a@x.example") == [
        "[LINK_1] and [EMAIL_0]",
        "[EMAIL_1]",
    ]


def test_fingerprints_tell_equal_values_of_one_interaction_only() -> None:
    """Twelve hex characters, keyed, by entity, and bound to the interaction."""
    one, same, other = writing(), writing(), writing(interaction_id="other")
    one.text("ann@x.example, bob@x.example")
    same.text("BOB@x.example")
    other.text("ann@x.example, bob@x.example")
    assert one.redactions()["[EMAIL_2]"] == same.redactions()["[EMAIL_1]"]
    assert set(one.redactions().values()).isdisjoint(other.redactions().values())
    assert one.redactions()["[EMAIL_1]"] == fingerprint(KEY, "one", "EMAIL", "ann@x.example")
    assert all(len(mark) == 12 and int(mark, 16) >= 0 for mark in one.redactions().values())
    assert fingerprint(KEY, "one", "NAME", "x") != fingerprint(KEY, "one", "EMAIL", "x")
    assert fingerprint(b"another", "one", "NAME", "x") != fingerprint(KEY, "one", "NAME", "x")


def test_a_text_is_aligned_with_another_by_fingerprints() -> None:
    """Shared values get the other's placeholder, new ones the next free number."""
    own = {"[EMAIL_1]": "b", "[EMAIL_2]": "c", "[NAME_1]": "n"}
    theirs = {"[EMAIL_1]": "a", "[EMAIL_2]": "b"}
    text = "[EMAIL_1] [EMAIL_2] [NAME_1] [EMAIL_1] [EMAIL_3] [LINK_1]"
    assert aligned(text, own, theirs) == "[EMAIL_2] [EMAIL_4] [NAME_1] [EMAIL_2] [EMAIL_3] [LINK_1]"


def test_aligning_changes_nothing_without_redactions_of_its_own() -> None:
    """A text that hides nothing, and one that is numbered alike, stay."""
    assert aligned("[EMAIL_1]", {}, {"[EMAIL_1]": "a"}) == "[EMAIL_1]"
    assert aligned("[EMAIL_1]", {"[EMAIL_1]": "a"}, {"[EMAIL_1]": "a"}) == "[EMAIL_1]"
    assert aligned("[EMAIL_1]", {"[EMAIL_1]": "a"}, {}) == "[EMAIL_1]"


def test_a_correction_aligned_reads_like_its_interaction() -> None:
    """End to end: two writings of one interaction number alike once aligned."""
    asked, corrected = writing(), writing()
    asked.text("ann@x.example wrote to bob@x.example")
    text = corrected.text("Tell bob@x.example, ann@x.example and eve@x.example")
    assert aligned(text, corrected.redactions(), asked.redactions()) == (
        "Tell [EMAIL_2], [EMAIL_1] and [EMAIL_3]"
    )


@pytest.mark.parametrize(
    ("mode", "expected", "hidden"),
    [
        ("full", "I am bob@x.example", 0),
        ("redacted", "I am [EMAIL_1]", 1),
        ("metadata_only", "", 0),
    ],
)
def test_each_mode_writes_as_much_as_it_says(
    mode: RedactionMode, expected: str, hidden: int
) -> None:
    """All, the redacted text, or nothing; only redacted texts have redactions."""
    desk = writing(mode)
    assert desk.text("I am bob@x.example") == expected
    assert [*desk.texts(["I am bob@x.example", ""])] == [expected, ""]
    assert len(desk.redactions()) == hidden


PARAMETERS = {
    "temperature": 0.5,
    "seed": None,
    "parallel_tool_calls": True,
    "reasoning_effort": "low",
    "stop": ["ann@x.example", "\n"],
    "tool_choice": "auto",
    "tools": [{"function": {"name": "mail", "description": "Mail ann@x.example or Mr Brown"}}],
}


def test_parameters_hide_what_texts_hide() -> None:
    """Stop texts, tools and schemas may hold personal data; they number on after the texts."""
    desk = writing()
    desk.text("I am bob@x.example")
    assert desk.parameters(PARAMETERS) == {
        **PARAMETERS,
        "stop": ["[EMAIL_2]", "\n"],
        "tools": [
            {"function": {"name": "mail", "description": "Mail [EMAIL_2] or Mr [NAME_1]"}},
        ],
    }
    assert writing("full").parameters(PARAMETERS) == PARAMETERS


def test_without_texts_parameters_are_numbers_and_fixed_words() -> None:
    """Metadata holds nothing that a person or an application could have written."""
    assert writing("metadata_only").parameters(PARAMETERS) == {
        "temperature": 0.5,
        "seed": None,
        "parallel_tool_calls": True,
        "reasoning_effort": "low",
    }
