"""Review items as Label Studio's tasks and Argilla's records, and people's decisions back."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree as Xml

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DataError
from curation.review import argilla, label_studio
from curation.review.exchange import OFFERED, Item, Told
from curation.review.words import RUBRIC, Choice, Decision
from feedback.events import Message

KIM, LOU = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"
USERS = {"kim": KIM, "lou": LOU}
TURNS = (Message("user", "Where is my parcel?"), Message("assistant", "In <b>Bern</b> & safe."))

texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=40)
marks: st.SearchStrategy[dict[str, int]] = st.dictionaries(
    st.sampled_from(list[str](RUBRIC)), st.integers(1, 5)
)


@st.composite
def decisions(draw: st.DrawFn) -> Decision:
    """Draw what a person may say."""
    choice: Choice = draw(st.sampled_from(OFFERED))
    text = draw(texts.filter(str.strip)) if choice == "correct" else None
    return Decision(choice, rubric=draw(marks), reason=draw(texts), text=text)


@st.composite
def items(draw: st.DrawFn) -> Item:
    """Draw an item of which two people said something."""
    candidate_id = draw(st.uuids().map(str))
    told = [Told(candidate_id, name, draw(decisions())) for name in ("kim", "lou")]
    turns = (Message("user", draw(texts)), Message("assistant", draw(texts)))
    return Item(candidate_id, turns, draw(st.none() | texts), tuple(told))


def through_json(value: Any) -> Any:
    """Return what another program would read."""
    return json.loads(json.dumps(value))


def by_person(told: list[Told]) -> dict[tuple[str, str], Decision]:
    """Return what was told, in no order."""
    return {(each.candidate_id, each.reviewer): each.decision for each in told}


@given(st.lists(items(), max_size=3))
def test_what_was_said_comes_back_from_label_studio(drawn: list[Item]) -> None:
    """Word for word, of each person."""
    raw = through_json(label_studio.tasks(drawn))
    assert label_studio.told_in(raw) == [told for item in drawn for told in item.told]


@given(st.lists(items(), max_size=3, unique_by=lambda item: item.candidate_id))
def test_what_was_said_comes_back_from_argilla(drawn: list[Item]) -> None:
    """Of everybody who has a user there."""
    raw = through_json(argilla.records(drawn, USERS))
    told = [told for item in drawn for told in item.told]
    assert by_person(argilla.told_in(raw, USERS)) == by_person(told)


def test_label_studio_can_show_every_task() -> None:
    """Each value that its configuration asks for is there, each judgement is of an object."""
    view = Xml.fromstring(label_studio.labelling_config())
    [task] = label_studio.tasks([Item("i1", TURNS)])
    asked = {tag.get("value", "")[1:] for tag in view if tag.get("value", "").startswith("$")}
    assert asked == {"conversation", "answer", "rejected"} <= set(task["data"])
    judged = {tag.get("name") for tag in view if tag.get("toName") == "answer"}
    assert judged == {"decision", *RUBRIC, "reason", "correction"}
    choices = {tag.get("value"): tag.get("hotkey") for tag in view.iter("Choice")}
    assert choices == {"approve": "a", "reject": "r", "correct": "c", "skip": "s"}
    [region] = task["predictions"][0]["result"]
    assert (region["to_name"], region["value"]) == ("answer", {"text": [TURNS[1].content]})


def exported(**changes: Any) -> list[dict[str, Any]]:
    """Return a task as Label Studio exports it, with more in it than we know."""
    annotation = {
        "id": 1001,
        "completed_by": {"id": 7, "email": "kim@example.org", "first_name": ""},
        "was_cancelled": False,
        "lead_time": 4.288,
        "result": [
            {
                "id": "Dx_aB91ISN",
                "from_name": "decision",
                "to_name": "answer",
                "type": "choices",
                "origin": "manual",
                "value": {"choices": ["approve"]},
            },
            {"id": "x", "from_name": "theirs", "type": "labels", "value": {"labels": ["x"]}},
            {"from_id": "x", "to_id": "y", "type": "relation", "direction": "right"},
        ],
    }
    return [
        {
            "id": 9,
            "data": {"candidate_id": "i1"},
            "annotations": [annotation | changes],
            "drafts": [],
        }
    ]


def region(name: str, type_: str, value: Any) -> dict[str, Any]:
    """Return a region of an annotation."""
    return {"from_name": name, "to_name": "answer", "type": type_, "value": value}


def test_an_export_of_label_studio_has_more_than_ours() -> None:
    """What we do not know is passed over; people go by its names."""
    assert label_studio.told_in(exported()) == [
        Told("i1", "label-studio:kim@example.org", Decision("approve"))
    ]
    by_id = label_studio.told_in(exported(completed_by=10))
    assert [told.reviewer for told in by_id] == ["label-studio:10"]
    cancelled = label_studio.told_in(exported(was_cancelled=True, result=[]))
    assert [told.decision.choice for told in cancelled] == ["skip"]


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ({}, "tasks"),
        ([7], "tasks[0], task: is a number"),
        ([{"data": {}}], "tasks[0], data.candidate_id: is null"),
        (exported(completed_by=None), "record i1, annotations[0].completed_by"),
        (exported(result=[]), "record i1, annotations[0].decision: is missing"),
        (exported(result="x"), "annotations[0].result: is a string"),
        (
            exported(result=[region("decision", "choices", {"choices": ["maybe"]})]),
            "record i1, annotations[0].decision: 'maybe' is none of approve",
        ),
        (
            exported(result=[region("decision", "choices", {"choices": []})]),
            "annotations[0].decision: has 0 choices",
        ),
        (
            exported(result=[region("decision", "choices", {"choices": ["correct"]})]),
            "annotations[0].text: text is empty",
        ),
        (
            exported(
                result=[
                    region("decision", "choices", {"choices": ["approve"]}),
                    region("safety", "rating", {"rating": 6}),
                ]
            ),
            "record i1, annotations[0].safety: 6 is no whole number from 1 to 5",
        ),
    ],
)
def test_a_wrong_task_is_told(raw: Any, told: str) -> None:
    """With its id and the field."""
    with pytest.raises(DataError) as error:
        label_studio.told_in(raw)
    assert told in error.value.message


def test_argilla_knows_every_question_of_a_record() -> None:
    """And asks so many people as the settings say."""
    settings = argilla.dataset_settings(reviewers=3)
    questions = {question["name"]: question for question in settings["questions"]}
    fields = {field["name"] for field in settings["fields"]}
    told = Told(
        "i1", "kim", Decision("correct", rubric=dict[str, int].fromkeys(RUBRIC, 5), text="Here.")
    )
    [record] = argilla.records([Item("i1", TURNS, "Lost.", (told,))], USERS)
    assert set(record["fields"]) == fields
    assert set(record["responses"]) <= set(questions)
    assert [name for name, question in questions.items() if question["required"]] == ["decision"]
    options = questions["accuracy"]["settings"]["options"]
    assert options == [{"value": mark} for mark in range(1, 6)]
    assert settings["distribution"] == {"strategy": "overlap", "min_submitted": 3}


def test_people_unknown_to_argilla_are_quoted() -> None:
    """A response of nobody would be refused: what they said is suggested."""
    told = Told("i1", "kim", Decision("reject", reason="wrong"))
    [record] = argilla.records([Item("i1", TURNS, None, (told,))])
    assert record["responses"] == {}
    assert record["suggestions"]["decision"] == {"value": "reject", "agent": "reviewer"}
    assert record["suggestions"]["correction"]["value"] == TURNS[1].content
    assert argilla.told_in(through_json([record])) == []


def responded(status: str | None = None, **values: Any) -> list[dict[str, Any]]:
    """Return a record as Argilla exports it, with more in it than we know."""
    more = {} if status is None else {"status": status}
    responses = {name: [{"value": value, "user_id": KIM, **more}] for name, value in values.items()}
    theirs = {"theirs": [{"value": 1, "user_id": LOU}]}
    return [{"id": "i1", "status": "completed", "responses": responses | theirs, "fields": {}}]


def test_an_export_of_argilla_has_more_than_ours() -> None:
    """Drafts are not said yet; a discard is a skip; users whom we do not know go by their id."""
    [told] = argilla.told_in(responded(decision="approve", correction="as it was", style=4))
    assert told == Told("i1", f"argilla:{KIM}", Decision("approve", rubric={"style": 4}))
    assert argilla.told_in(responded("draft", decision="approve")) == []
    [skipped] = argilla.told_in(responded("discarded", style=4), USERS)
    assert skipped == Told("i1", "kim", Decision("skip"))


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ({}, "records"),
        ([{"fields": {}}], "records[0], id: is null"),
        (responded(style=4), "record i1, responses.decision: None is none of"),
        (responded(decision="approve", style=True), "responses.style: True is no whole number"),
        (responded(decision="approve", reason=5), "record i1, responses.reason: is a number"),
        (responded(decision="correct"), "record i1, responses.text: text is empty"),
        ([{"id": "i1", "responses": {"decision": [{"value": "x"}]}}], "decision.user_id: is null"),
        ([{"id": "i1", "responses": []}], "responses: is an array"),
    ],
)
def test_a_wrong_record_is_told(raw: Any, told: str) -> None:
    """With its id and the field."""
    with pytest.raises(DataError) as error:
        argilla.told_in(raw)
    assert told in error.value.message
