"""Selection: which ratings make an interaction an example, and which keep it out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, select, update

from core.ids import new_id
from curation.candidates import Selected, Selection, redact_again, select_candidates
from feedback.events import FeedbackGiven, InteractionFinished, Message, Received
from feedback.redaction.redactor import Redactor
from feedback.rows import write_rows
from feedback.tables import Feedback, Interaction
from tests.unit.curation_world import START, World, candidate, open_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Give a store without interactions."""
    world = open_world(tmp_path)
    yield world
    world.store.close()


def selected(world: World, application: str = "desk", **times: Any) -> Selected:
    """Return what the selection finds in the store."""
    with world.store.session() as session:
        return select_candidates(session, application, Selection(**times))


def reasons(world: World) -> list[str]:
    """Return why the selection left interactions out, once it kept none."""
    found = selected(world)
    assert found.kept == []
    return [drop.reason for drop in found.dropped]


def add(world: World, interaction_id: str, kind: str, **columns: Any) -> None:
    """Store one more feedback on an interaction."""
    with world.store.session() as session:
        interaction = session.get_one(Interaction, interaction_id)
        session.add(world.feedback(interaction, kind, **columns))
        session.commit()


@pytest.mark.parametrize("praise", [{"thumbs": True}, {"rating": 4}, {"rating": 5}])
def test_approved_answer_is_a_demonstration(world: World, praise: dict[str, Any]) -> None:
    """Prompt and served answer are kept, with who rated and when it happened."""
    id_ = world.say("Where is it?", "In the shed.", subject="ann", **praise)
    (kept,) = selected(world).kept
    assert (kept.interaction_id, kept.subject, kept.source) == (id_, "ann", "thumbs_up")
    assert kept.messages == (Message("user", "Where is it?"), Message("assistant", "In the shed."))
    assert kept.started_at == START + timedelta(minutes=1)


@pytest.mark.parametrize("blame", [{}, {"thumbs": False}, {"rating": 1}])
def test_correction_is_learnt_instead_of_the_answer(world: World, blame: dict[str, Any]) -> None:
    """The edited text replaces the served one, whether or not that was rated down as well."""
    world.say("Where is it?", "In the shed.", correction="On the roof.", **blame)
    (kept,) = selected(world).kept
    assert (kept.source, kept.messages[-1].content) == ("correction", "On the roof.")


@pytest.mark.parametrize("blame", [{"thumbs": False}, {"rating": 1}, {"rating": 2}, {"rating": 3}])
def test_answer_that_nobody_approved_stays_out(world: World, blame: dict[str, Any]) -> None:
    """Neither blame nor a middling rating makes an example."""
    world.say("Where is it?", **blame)
    assert reasons(world) == ["not approved and not corrected"]


def test_unrated_interactions_are_not_read(world: World) -> None:
    """An answer without a word from anybody is neither kept nor dropped."""
    world.say("Where is it?")
    assert selected(world) == Selected([], [])


def test_praise_and_blame_for_one_answer_cancel(world: World) -> None:
    """Thumbs up with the worst rating tells of a careless user."""
    world.say("Where is it?", thumbs=True, rating=1)
    assert reasons(world) == ["ratings contradict each other"]


@pytest.mark.parametrize("text", ["", "   \n", None])
@pytest.mark.parametrize("thumbs", [True, False, None])
def test_correction_without_text_is_no_example(
    world: World, text: str | None, thumbs: bool | None
) -> None:
    """Where the text was not kept, the served answer was still edited: neither is learnt."""
    id_ = world.say("Where is it?", "In the shed.", thumbs=thumbs)
    add(world, id_, "correction", text=text)
    assert reasons(world) == ["correction has no text"]


def test_correction_that_changes_nothing_is_none(world: World) -> None:
    """Saving a blamed answer as it was does not bring it in; a praised one stays praised."""
    world.say("Where is it?", "In the shed.", thumbs=False, correction="In the shed. ")
    assert reasons(world) == ["not approved and not corrected"]
    world.say("Where is it?", "On the roof.", thumbs=True, correction="On the roof.")
    assert [kept.source for kept in selected(world).kept] == ["thumbs_up"]


def test_last_of_several_corrections_is_learnt(world: World) -> None:
    """Two people edited one answer; the later text counts."""
    id_ = world.say("Where is it?", correction="On the roof.")
    later = START + timedelta(hours=1)
    add(world, id_, "correction", text="In the attic.", subject="bob", given_at=later)
    assert selected(world).kept[0].messages[-1].content == "In the attic."


def test_flagged_answer_stays_out(world: World) -> None:
    """A flag beats a thumbs-up and a correction."""
    id_ = world.say("Where is it?", thumbs=True, correction="On the roof.")
    add(world, id_, "flag", text="abuse")
    assert reasons(world) == ["flagged"]


def test_retracted_feedback_does_not_count(world: World) -> None:
    """What is no longer effective neither approves nor blames."""
    praised = world.say("Where is it?", thumbs=True)
    blamed = world.say("Who has it?", thumbs=True, rating=1)
    with world.store.session() as session:
        of_praised = col(Feedback.interaction_id) == praised
        of_blamed = (col(Feedback.interaction_id) == blamed) & (col(Feedback.kind) == "rating")
        session.exec(update(Feedback).where(of_praised | of_blamed).values(effective=False))
        session.commit()
    assert [kept.interaction_id for kept in selected(world).kept] == [blamed]


@pytest.mark.parametrize(("votes", "kept"), [((True, False), 0), ((False, True), 1)])
def test_last_vote_of_a_subject_wins(world: World, votes: tuple[bool, ...], kept: int) -> None:
    """Who changes a vote, through the event log's own rows, is heard once, with the last one."""
    asked = InteractionFinished(
        event_id=new_id(),
        interaction_id="i1",
        application="desk",
        subject="ann",
        endpoint="/v1/chat/completions",
        requested_model="desk",
        messages=[Message("user", "Where is it?")],
        answer="In the shed.",
        latency_s=0.5,
        started_at=START,
    )
    given = [
        FeedbackGiven(
            event_id=new_id(),
            client_id=new_id(),
            interaction_id="i1",
            application="desk",
            subject="ann",
            kind="thumbs",
            thumbs=up,
            given_at=START + timedelta(seconds=second),
        )
        for second, up in enumerate(votes)
    ]
    with world.store.session() as session:
        write_rows(session, [Received(event) for event in (asked, *given)])
        session.commit()
    assert len(selected(world).kept) == kept


def test_other_applications_stay_out(world: World) -> None:
    """Neither the interaction of another application nor its word on one of ours gets in."""
    world.say("Where is it?", thumbs=True, application="shop")
    ours = world.say("Who has it?")
    add(world, ours, "thumbs", thumbs=True)
    with world.store.session() as session:
        for row in session.exec(select(Feedback).where(Feedback.interaction_id == ours)):
            row.application = "shop"
        session.commit()
    assert selected(world) == Selected([], [])
    assert [kept.prompt[0].content for kept in selected(world, "shop").kept] == ["Where is it?"]


@pytest.mark.parametrize("status", ["error", "disconnected"])
def test_answer_that_did_not_end_well_stays_out(world: World, status: str) -> None:
    """Half an answer is not learnt, even if somebody liked it."""
    world.say("Where is it?", thumbs=True, status=status)
    assert reasons(world) == ["status is not ok"]


@pytest.mark.parametrize("finish_reason", ["length", "content_filter", "tool_calls"])
def test_answer_that_is_not_whole_stays_out(world: World, finish_reason: str) -> None:
    """A cut answer teaches cutting; its correction is whole."""
    world.say("Where is it?", thumbs=True, finish_reason=finish_reason)
    assert reasons(world) == ["answer is not whole"]
    world.say("Where is it?", correction="On the roof.", finish_reason=finish_reason)
    assert len(selected(world).kept) == 1


def test_messages_of_another_shape_are_dropped(world: World) -> None:
    """A row that older code wrote is left out by name, and its text is not in the drop."""
    world.say("Where is it?", thumbs=True, messages=[{"role": "user", "content": ["private"]}])
    (drop,) = selected(world).dropped
    assert drop.reason == "messages are not a list of role and content"
    assert "private" not in drop.detail


def test_selection_is_half_open_in_time(world: World) -> None:
    """`since` counts in, `until` does not; candidates come oldest first."""
    ids = [world.say(f"Question {number}?", thumbs=True) for number in range(4)]
    first, last = START + timedelta(minutes=2), START + timedelta(minutes=4)
    kept = selected(world, since=first, until=last).kept
    assert [c.interaction_id for c in kept] == ids[1:3]


def test_blamed_answers_are_told_apart(world: World) -> None:
    """They are weighed against approvals, hence known, but are never among the kept."""
    blamed = world.say("Where is it?", "In the shed.", thumbs=False, correction="On the roof.")
    world.say("Where is it?", "In the shed.", thumbs=True, rating=1)
    world.say("Where is it?", "In the shed.", thumbs=False, status="error")
    found = selected(world)
    assert [(c.interaction_id, c.messages[-1].content) for c in found.blamed] == [
        (blamed, "In the shed.")
    ]
    assert [c.messages[-1].content for c in found.kept] == ["On the roof."]


def test_redaction_is_repeated(world: World) -> None:
    """What an older gateway let through is replaced in prompt and answer, and counted."""
    mail = candidate("I am ann@example.org", "Hello ann@example.org")
    plain = candidate("Who are you?")
    redacted = redact_again([mail, plain], Redactor())
    assert [m.content for m in redacted.kept[0].messages] == ["I am [EMAIL_1]", "Hello [EMAIL_1]"]
    assert (redacted.kept[1], redacted.changed, redacted.dropped) == (plain, 1, [])


def test_a_correction_is_numbered_like_its_interaction(world: World) -> None:
    """The same value has the same placeholder in prompt and correction; a new one the next."""
    world.say(
        "I am [EMAIL_1], not [EMAIL_2].",
        "Which?",
        subject="ann",
        redactions={"[EMAIL_1]": "f1", "[EMAIL_2]": "f2"},
    )
    with world.store.session() as session:
        interaction = session.exec(select(Interaction)).one()
        text = "You are [EMAIL_2], not [EMAIL_1]; ask [EMAIL_3]."
        own = {"[EMAIL_1]": "f2", "[EMAIL_2]": "f1", "[EMAIL_3]": "f3"}
        session.add(world.feedback(interaction, "correction", text=text, redactions=own))
        session.commit()
    (kept,) = selected(world).kept
    assert kept.messages[-1].content == "You are [EMAIL_1], not [EMAIL_2]; ask [EMAIL_3]."


def test_a_correction_that_only_numbers_otherwise_changes_nothing(world: World) -> None:
    """What reads alike once aligned is no correction."""
    world.say("[EMAIL_1] or [EMAIL_2]?", "[EMAIL_2].", thumbs=True,
              redactions={"[EMAIL_1]": "f1", "[EMAIL_2]": "f2"})  # fmt: skip
    with world.store.session() as session:
        interaction = session.exec(select(Interaction)).one()
        own = {"[EMAIL_1]": "f2"}
        session.add(world.feedback(interaction, "correction", text="[EMAIL_1].", redactions=own))
        session.commit()
    assert [c.source for c in selected(world).kept] == ["thumbs_up"]


def test_what_is_found_only_now_shares_no_placeholder(world: World) -> None:
    """A number that the gateway gave stays with its value."""
    mail = candidate("I am ann@example.org", "Hello [EMAIL_1]")
    held = replace(mail, placeholders=frozenset({"[EMAIL_1]"}))
    (kept,) = redact_again([held], Redactor()).kept
    assert [m.content for m in kept.messages] == ["I am [EMAIL_2]", "Hello [EMAIL_1]"]


def test_an_applications_own_patterns_are_redacted_again(world: World) -> None:
    """Patterns that were added since the gateway logged the text count too."""
    redactor = Redactor({"customer_number": r"KD-\d{6}"})
    (kept,) = redact_again([candidate("I am KD-123456")], redactor).kept
    assert kept.messages[0].content == "I am [CUSTOMER_NUMBER_1]"


def test_times_come_back_in_utc(world: World) -> None:
    """SQLite forgets zones; candidates know theirs."""
    world.say("Where is it?", thumbs=True, started_at=datetime(2026, 2, 1, 8, tzinfo=UTC))
    assert selected(world).kept[0].started_at.tzinfo is UTC
