"""Selection: which signals make an interaction a candidate of which kind, and which none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, select, update

from core.ids import new_id
from curation.selection import Exposures, Selection, exposures, select_candidates
from feedback.events import FeedbackGiven, InteractionFinished, Message, Received
from feedback.rows import write_rows
from feedback.tables import Feedback, Interaction
from tests.unit.curation_world import START, World, open_world


@dataclass
class Found:
    """What the selection found: candidates by kind, and drops."""

    rows: list[dict[str, Any]]
    dropped: list[dict[str, str]]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the candidates of a kind."""
        return [row for row in self.rows if row["kind"] == kind]

    @property
    def kept(self) -> list[dict[str, Any]]:
        """The demonstrations."""
        return self.of("demonstration")


def answer(row: dict[str, Any]) -> str:
    """Return the answer to learn."""
    return row["messages"][-1]["content"]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Give a store without interactions."""
    world = open_world(tmp_path)
    yield world
    world.store.close()


def selected(
    world: World, application: str = "desk", *, anomalies: bool = True, **times: Any
) -> Found:
    """Return what the selection finds in the store."""
    found = Found([], [])
    with world.store.session() as session:
        for outcome in select_candidates(
            session, application, Selection(**times), leave_out_anomalies=anomalies
        ):
            found.rows += outcome.kept.to_pylist()
            found.dropped += outcome.drops.to_pylist()
    return found


def reasons(world: World) -> list[str]:
    """Return why the selection left interactions out, once it kept none."""
    found = selected(world)
    assert found.kept == []
    return [drop["reason"] for drop in found.dropped]


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
    source = "thumbs_up" if "thumbs" in praise else "rating"
    assert (kept["interaction_id"], kept["subject"], kept["source"]) == (id_, "ann", source)
    assert kept["messages"] == [
        {"role": "user", "content": "Where is it?"},
        {"role": "assistant", "content": "In the shed."},
    ]
    assert kept["started_at"] == START + timedelta(minutes=1)


@pytest.mark.parametrize("blame", [{}, {"thumbs": False}, {"rating": 1}])
def test_correction_is_learnt_instead_of_the_answer(world: World, blame: dict[str, Any]) -> None:
    """The edited text replaces the served one, whether or not that was rated down as well."""
    world.say("Where is it?", "In the shed.", correction="On the roof.", **blame)
    (kept,) = selected(world).kept
    assert (kept["source"], answer(kept)) == ("correction", "On the roof.")
    (pair,) = selected(world).of("pair")
    assert (answer(pair), pair["rejected"]) == ("On the roof.", "In the shed.")


@pytest.mark.parametrize("blame", [{"thumbs": False}, {"rating": 1}, {"rating": 2}, {"rating": 3}])
def test_answer_that_nobody_approved_stays_out(world: World, blame: dict[str, Any]) -> None:
    """Neither blame nor a middling rating makes an example."""
    world.say("Where is it?", **blame)
    labels = [row["label"] for row in selected(world).of("label")]
    if blame.get("rating") == 3:
        assert reasons(world) == ["not approved and not corrected"]
    else:
        assert (reasons(world), labels) == ([], [False])


def test_unrated_interactions_are_not_read(world: World) -> None:
    """An answer without a word from anybody is neither kept nor dropped."""
    world.say("Where is it?")
    assert selected(world) == Found([], [])


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
    assert reasons(world) == (["correction has no text"] if thumbs is not False else [])


def test_correction_that_changes_nothing_is_none(world: World) -> None:
    """Saving a blamed answer as it was does not bring it in; a praised one stays praised."""
    world.say("Where is it?", "In the shed.", thumbs=False, correction="In the shed. ")
    assert reasons(world) == []
    world.say("Where is it?", "On the roof.", thumbs=True, correction="On the roof.")
    assert [kept["source"] for kept in selected(world).kept] == ["thumbs_up"]


def test_last_of_several_corrections_is_learnt(world: World) -> None:
    """Two people edited one answer; the later text counts."""
    id_ = world.say("Where is it?", correction="On the roof.")
    later = START + timedelta(hours=1)
    add(world, id_, "correction", text="In the attic.", subject="bob", given_at=later)
    assert answer(selected(world).kept[0]) == "In the attic."


def test_flagged_answer_stays_out(world: World) -> None:
    """A flag beats a thumbs-up and a correction: it makes a safety test, and nothing else."""
    id_ = world.say("Where is it?", thumbs=True, correction="On the roof.")
    add(world, id_, "flag", name="abuse")
    (kept,) = selected(world).rows
    assert (kept["kind"], kept["category"], kept["source"]) == ("safety", "abuse", "flag")


def test_retracted_feedback_does_not_count(world: World) -> None:
    """What is no longer effective neither approves nor blames."""
    praised = world.say("Where is it?", thumbs=True)
    blamed = world.say("Who has it?", thumbs=True, rating=1)
    with world.store.session() as session:
        of_praised = col(Feedback.interaction_id) == praised
        of_blamed = (col(Feedback.interaction_id) == blamed) & (col(Feedback.kind) == "rating")
        session.exec(update(Feedback).where(of_praised | of_blamed).values(effective=False))
        session.commit()
    assert [kept["interaction_id"] for kept in selected(world).kept] == [blamed]


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
    assert selected(world) == Found([], [])
    assert [kept["messages"][0]["content"] for kept in selected(world, "shop").kept] == [
        "Where is it?"
    ]


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
    assert drop["reason"] == "messages are not a list of role and content"
    assert "private" not in drop["detail"]


def test_selection_is_half_open_in_time(world: World) -> None:
    """`since` counts in, `until` does not; candidates come oldest first."""
    ids = [world.say(f"Question {number}?", thumbs=True) for number in range(4)]
    first, last = START + timedelta(minutes=2), START + timedelta(minutes=4)
    kept = selected(world, since=first, until=last).kept
    assert [c["interaction_id"] for c in kept] == ids[1:3]


def test_blamed_answers_are_labels(world: World) -> None:
    """They are weighed against approvals, and never among the demonstrations."""
    blamed = world.say("Where is it?", "In the shed.", thumbs=False, correction="On the roof.")
    world.say("Where is it?", "In the shed.", thumbs=True, rating=1)
    world.say("Where is it?", "In the shed.", thumbs=False, status="error")
    found = selected(world)
    assert [(c["interaction_id"], answer(c), c["label"]) for c in found.of("label")] == [
        (blamed, "In the shed.", False)
    ]
    assert [answer(c) for c in found.kept] == ["On the roof."]


def test_a_preference_is_a_pair(world: World) -> None:
    """The chosen answer over the other one, to the same prompt of the same person."""
    lost = world.say("Where is it?", "In the shed.", subject="ann")
    won = world.say("Where is it?", "On the roof.", subject="ann")
    add(world, won, "preference", other=lost)
    (row,) = selected(world).rows
    assert (row["kind"], row["source"], answer(row), row["rejected"]) == (
        "pair", "preference", "On the roof.", "In the shed.",
    )  # fmt: skip
    assert row["candidate_id"] == f"{won}:pair:{lost}"


@pytest.mark.parametrize(
    "other",
    [
        {"prompt": "Who has it?"},
        {"subject": "bob"},
        {"answer": "On the roof."},
        {"finish_reason": "length"},
        {"status": "error"},
    ],
)
def test_unlike_answers_make_no_pair(world: World, other: dict[str, Any]) -> None:
    """Another prompt, another person, the same answer, or half of one."""
    given: dict[str, Any] = {
        "prompt": "Where is it?",
        "answer": "In the shed.",
        "subject": "ann",
        **other,
    }
    lost = world.say(given.pop("prompt"), given.pop("answer"), **given)
    won = world.say("Where is it?", "On the roof.", subject="ann")
    add(world, won, "preference", other=lost)
    assert reasons(world) == ["no answer to compare with"]


@pytest.mark.parametrize(
    ("signal", "pairs"),
    [("accepted", 1), ("copied", 1), ("task_completed", 1), ("abandoned", 0), ("thumbs", 1)],
)
def test_an_answer_that_was_taken_beats_the_one_before(
    world: World, signal: str, pairs: int
) -> None:
    """Asked again, and then used the new answer: that is a choice too."""
    first = world.say("Where is it?", "In the shed.", subject="ann")
    second = world.say("Where is it?", "On the roof.", subject="ann")
    add(world, first, "regenerated", other=second)
    add(world, second, signal, thumbs=True if signal == "thumbs" else None)
    rows = [row for row in selected(world).of("pair")]
    assert [(answer(row), row["rejected"]) for row in rows] == [
        ("On the roof.", "In the shed.")
    ] * pairs


def test_votes_that_look_odd_are_left_out(world: World) -> None:
    """What anomalies marked counts for nothing, unless the settings say so."""
    id_ = world.say("Where is it?", subject="ann")
    add(world, id_, "thumbs", thumbs=True, anomaly="burst")
    assert reasons(world) == ["votes look odd"]
    assert len(selected(world, anomalies=False).kept) == 1


def test_rare_adapters_weigh_more(world: World) -> None:
    """A canary at a tenth of the answers counts ten times as much, within bounds."""
    for number in range(9):
        world.say(f"Question {number}?", adapter="desk--v1")
    world.say("Where is it?", adapter="desk--v2")
    with world.store.session() as session:
        shown = exposures(session, "desk", Selection())
    assert shown.weight("desk--v1", 10.0) == pytest.approx(10 / 18)
    assert shown.weight("desk--v2", 10.0) == pytest.approx(5.0)
    assert shown.weight("desk--v2", 3.0) == 3.0
    assert Exposures().weight(None, 10.0) == 1.0


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
    assert answer(kept) == "You are [EMAIL_1], not [EMAIL_2]; ask [EMAIL_3]."


def test_a_correction_that_only_numbers_otherwise_changes_nothing(world: World) -> None:
    """What reads alike once aligned is no correction."""
    world.say("[EMAIL_1] or [EMAIL_2]?", "[EMAIL_2].", thumbs=True,
              redactions={"[EMAIL_1]": "f1", "[EMAIL_2]": "f2"})  # fmt: skip
    with world.store.session() as session:
        interaction = session.exec(select(Interaction)).one()
        own = {"[EMAIL_1]": "f2"}
        session.add(world.feedback(interaction, "correction", text="[EMAIL_1].", redactions=own))
        session.commit()
    assert [c["source"] for c in selected(world).kept] == ["thumbs_up"]


def test_times_come_back_in_utc(world: World) -> None:
    """SQLite forgets zones; candidates know theirs."""
    world.say("Where is it?", thumbs=True, started_at=datetime(2026, 2, 1, 8, tzinfo=UTC))
    assert selected(world).kept[0]["started_at"] == datetime(2026, 2, 1, 8, tzinfo=UTC)
