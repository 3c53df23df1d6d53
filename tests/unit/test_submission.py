"""What `POST /v1/feedback` accepts as a body, and which field it names when it does not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.errors import RequestError
from feedback.submission import (
    KINDS,
    MAX_TEXT_CHARS,
    Claim,
    Fact,
    parse_batch,
    parse_submission,
    read_submission,
)

INTERACTION = "01960000-0000-7000-8000-000000000001"


def parse(**changes: Any) -> Any:
    """Parse a good body with changes; a value of `...` leaves the field out."""
    body = {"receipt": "a.b", "kind": "thumbs", "value": True, **changes}
    kept = {name: value for name, value in body.items() if value is not ...}
    return parse_submission(json.dumps(kept).encode())


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("thumbs", True),
        ("thumbs", False),
        ("rating", 1),
        ("rating", 5),
        ("comment", "too long"),
        ("correction", "Press the button for 5 seconds."),
        ("comment", "x" * MAX_TEXT_CHARS),
    ],
)
def test_each_kind_takes_its_value(kind: str, value: Any) -> None:
    """The value arrives unchanged and with its type."""
    submission = parse(kind=kind, value=value)
    fact = submission.fact
    assert submission.kind == kind
    assert not submission.retracted
    given = [
        v for v in (fact.thumbs, fact.rating, fact.number, fact.text, fact.other) if v is not None
    ]
    assert given == [value]
    assert type(given[0]) is type(value)


@pytest.mark.parametrize(
    ("kind", "changes", "name", "fact"),
    [
        ("score", {"value": 1, "name": "helpfulness"}, "helpfulness", Fact(number=1.0)),
        ("score", {"value": -0.5, "name": "a.b-c_1"}, "a.b-c_1", Fact(number=-0.5)),
        ("preference", {"value": {"over": INTERACTION}}, None, Fact(other=INTERACTION)),
        ("flag", {"value": ..., "name": "harmful"}, "harmful", Fact()),
        ("flag", {"value": True}, None, Fact()),
        ("regenerated", {"value": {"by": "a.b"}}, None, Fact(other="a.b")),
        ("regenerated", {"value": ...}, None, Fact()),
        ("copied", {"value": ...}, None, Fact()),
        ("task_completed", {"value": True}, None, Fact()),
    ],
)
def test_named_and_implicit_kinds(
    kind: str, changes: dict[str, Any], name: str | None, fact: Fact
) -> None:
    """Scores and flags have names, preferences another answer, signals nothing."""
    submission = parse(kind=kind, **changes)
    assert (submission.kind, submission.name, submission.fact) == (kind, name, fact)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_taken_back(kind: str) -> None:
    """With `retract` and no value; of scores and flags also one name."""
    submission = parse(kind=kind, value=..., retract=True)
    assert (submission.retracted, submission.fact, submission.name) == (True, Fact(), None)
    if kind in {"score", "flag"}:
        assert parse(kind=kind, value=..., retract=True, name="x").name == "x"


def batch(value: Any) -> bytes:
    """Return JSON."""
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    "body",
    [{}, {"feedback": {}}, {"feedback": []}, {"feedback": [1] * 4}, {"feedback": [1], "x": 1}],
)
def test_a_batch_that_is_none_is_refused(body: Any) -> None:
    """Empty, too long, no list, or with something beside it."""
    with pytest.raises(RequestError) as caught:
        parse_batch(batch(body), 3)
    assert caught.value.field == "feedback"


def test_a_batch_is_its_items() -> None:
    """They are judged later, each by itself."""
    assert parse_batch(batch({"feedback": [1, {"a": 2}]}), 3) == [1, {"a": 2}]
    with pytest.raises(RequestError, match="send a JSON object"):
        read_submission(1)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("thumbs", 1),
        ("thumbs", "true"),
        ("thumbs", None),
        ("thumbs", ...),
        ("rating", True),
        ("rating", 0),
        ("rating", 6),
        ("rating", 3.0),
        ("rating", "3"),
        ("rating", 10**30),
        ("rating", None),
        ("comment", True),
        ("comment", ""),
        ("comment", " \n"),
        ("comment", ["a"]),
        ("correction", "x" * (MAX_TEXT_CHARS + 1)),
        ("correction", {"a": 1}),
        ("correction", "nul \x00"),
        ("preference", INTERACTION),
        ("preference", {"by": INTERACTION}),
        ("preference", {"over": INTERACTION, "by": INTERACTION}),
        ("regenerated", "again"),
        ("copied", False),
        ("accepted", 1),
    ],
)
def test_a_value_of_another_type_or_range_is_refused(kind: str, value: Any) -> None:
    """The error names the field `value`."""
    with pytest.raises(RequestError) as caught:
        parse(kind=kind, value=value)
    assert caught.value.field == "value"
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("colour", {"colour": "red"}),
        ("", {"": 1}),
        ("kind", {"kind": "applause"}),
        ("kind", {"kind": ["thumbs"]}),
        ("kind", {"kind": ...}),
        ("kind", {"kind": None}),
        ("receipt", {"receipt": 5}),
        ("receipt", {"receipt": ...}),
        ("receipt", {"receipt": ""}),
        ("receipt", {"receipt": "x" * 5_000}),
        ("interaction_id", {"interaction_id": INTERACTION}),
        ("interaction_id", {"receipt": ..., "interaction_id": "latest"}),
        ("interaction_id", {"receipt": ..., "interaction_id": 5}),
        ("user", {"user": "ann"}),
        ("user", {"receipt": ..., "interaction_id": INTERACTION, "user": 5}),
        ("id", {"id": 5}),
        ("id", {"id": ""}),
        ("id", {"id": "x" * 129}),
        ("retract", {"retract": "yes"}),
        ("value", {"retract": True}),
        ("name", {"name": "x"}),
        ("name", {"kind": "score", "value": 1}),
        ("name", {"kind": "score", "value": 1, "name": "With Spaces"}),
        ("value", {"kind": "score", "value": "high", "name": "x"}),
        ("value", {"kind": "score", "value": True, "name": "x"}),
        ("value.over", {"kind": "preference", "value": {"over": 5}}),
    ],
)
def test_a_wrong_field_is_named(field: str, changes: dict[str, Any]) -> None:
    """Unknown, missing, contradicting and wrongly typed fields get an error with their name."""
    with pytest.raises(RequestError) as caught:
        parse(**changes)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"nonsense", b"\xff", b'"\\ud800"', b"[" * 100_000, b"[]", b"null", b"3"]
)
def test_a_body_that_is_no_json_object_is_refused(raw: bytes) -> None:
    """Whatever the bytes are, the client gets an error and not a crash."""
    with pytest.raises(RequestError, match="body"):
        parse_submission(raw)


def test_the_clients_id_is_kept_and_a_missing_one_is_new_each_time() -> None:
    """An application that sends ids may repeat a call; others get one for each call."""
    assert parse(id="vote-1").client_id == "vote-1"
    assert parse(id=None).client_id != parse(id=None).client_id


def test_a_claim_holds_the_interaction_and_the_user() -> None:
    """The interaction's id is brought to the form in which it was given out."""
    submission = parse(receipt=..., interaction_id=INTERACTION.upper(), user="ann")
    assert submission.about == Claim(INTERACTION, "ann")
