"""Items handed to another tool, and decisions taken back into the desk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from curation.review import argilla, label_studio
from curation.review.desk import ReviewDesk
from curation.review.exchange import Told
from curation.review.handover import TakenBack, hand_out, take_back
from curation.review.words import Decision, ReviewVerdict
from feedback.store import Store
from tests.ready_store import ready_store
from tests.unit.review_items import ANSWER, ORIGINAL, compared, correction, desk_of, known, proposal


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with its tables."""
    opened = ready_store(f"sqlite:///{tmp_path / 'store.db'}")
    yield opened
    opened.close()


@pytest.fixture
def desk(store: Store) -> ReviewDesk:
    """A desk of two reviewers an item: a demonstration, a correction, and what stays here."""
    desk = desk_of(store, "shop", reviewers=2)
    desk.fill("shop", [proposal(1), correction(2), proposal(3)])
    desk.compare("shop", [compared(4)])
    desk.calibrate("shop", [known(5)])
    desk.withdraw_absent("shop", {"c1", "c2"})
    return desk


def test_what_waits_is_handed_out(store: Store, desk: ReviewDesk) -> None:
    """With what was said so far; no comparison, no known answer, nothing withdrawn."""
    desk.enter("shop", "c1", "kim", Decision("approve", rubric={"style": 4}, reason="good"))
    with store.session() as session:
        first, second = hand_out(session, "shop")
        assert hand_out(session, "elsewhere") == []
    assert (first.candidate_id, first.answer, first.rejected) == ("c1", ANSWER, None)
    assert first.told == (
        Told("c1", "kim", Decision("approve", rubric={"style": 4}, reason="good")),
    )
    assert (second.candidate_id, second.rejected, second.told) == ("c2", ORIGINAL, ())


@pytest.mark.parametrize("tool", ["label_studio", "argilla"])
def test_people_elsewhere_finish_what_was_begun_here(
    store: Store, desk: ReviewDesk, tool: str
) -> None:
    """Handed out, decided there, taken back once however often it is sent."""
    desk.enter("shop", "c1", "kim", Decision("approve"))
    desk.enter("shop", "c1", "lou", Decision("skip"))
    with store.session() as session:
        items = hand_out(session, "shop")
    if tool == "label_studio":
        raw = json.loads(json.dumps(label_studio.tasks(items)))
        raw[0]["annotations"].append(
            {
                "completed_by": 7,
                "result": [
                    {"from_name": "decision", "value": {"choices": ["correct"]}},
                    {"from_name": "correction", "value": {"text": ["In Thun."]}},
                ],
            }
        )
        told = label_studio.told_in(raw)
    else:
        raw = json.loads(json.dumps(argilla.records(items)))
        responses = {"decision": "correct", "correction": "In Thun."}
        raw[0]["responses"] = {
            name: [{"value": value, "user_id": "u7"}] for name, value in responses.items()
        }
        told = argilla.told_in(raw)
    before = 2 if tool == "label_studio" else 0  # annotations come back as they went
    with store.session() as session:
        assert take_back(session, desk, "shop", told) == TakenBack(1, before, ())
        assert take_back(session, desk, "shop", told) == TakenBack(0, before + 1, ())
    assert desk.outcomes("shop") == {"c1": ReviewVerdict("corrected", "In Thun.")}


def test_what_cannot_be_entered_is_said(store: Store, desk: ReviewDesk) -> None:
    """By candidate; the others are entered all the same."""
    told = [
        Told("c9", "kim", Decision("approve")),
        Told("c1", "kim", Decision("approve")),
        Told("c2", "kim", Decision("correct", text=ANSWER)),
    ]
    with store.session() as session:
        back = take_back(session, desk, "shop", told)
    assert back.entered == 1
    assert [candidate for candidate, _ in back.refused] == ["c9", "c2"]
