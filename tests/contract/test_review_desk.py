"""What the review desk must do on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlmodel import col, select

from core.curation_settings import ReviewSettings
from core.errors import ConflictError, NotFoundError, RequestError
from curation.review.comparison import Compared
from curation.review.desk import Assignment
from curation.review.erasure import erase_reviews, expire_reviews
from curation.review.queue import Filled, Known, propose, shadow_pairs
from curation.review.sampling import Light, sample
from curation.review.words import Decision, ReviewVerdict
from feedback.events import Message
from feedback.store import Store
from feedback.tables import Interaction, Review, ReviewItem, ReviewLease
from tests.unit.candidate_tables import pair, row, table_of
from tests.unit.review_world import (
    APPROVE,
    REJECT,
    Clock,
    desk_of,
    filled,
    proposal,
    review_clock,
    review_store,
    rows,
    taken,
)

__all__ = ["review_clock", "review_store"]  # fixtures


def test_filling_twice_adds_nothing_and_stops_at_the_limit(store: Store) -> None:
    """The most urgent come first, and what was left out comes when there is room."""
    desk = desk_of(store, max_open=3)
    proposals = [proposal(n) for n in reversed(range(5))]
    assert desk.fill("desk", proposals) == Filled(added=3, known=0, no_room=2)
    assert desk.fill("desk", proposals) == Filled(added=0, known=3, no_room=2)
    assert desk.known("desk") == {"c0", "c1", "c2"}
    assert desk.room("desk") == 0
    desk.decide("ann", taken(desk, "ann").token, APPROVE)
    assert desk.room("desk") == 1
    assert desk.fill("desk", proposals) == Filled(added=1, known=3, no_room=1)
    assert desk.fill("shop", proposals).added == 3


def test_the_sampled_rows_of_a_table_become_items_without_personal_data(store: Store) -> None:
    """Pairs keep the answer that lost; texts are redacted around the placeholders in them."""
    desk = desk_of(store)
    table = table_of(
        row("write to [EMAIL_1]", "or to bob@example.org", id_="i1", placeholders=["[EMAIL_1]"]),
        pair("question", "good", "bad", id_="i2", subject="ann"),
        row("nobody picks this", "answer", id_="i3"),
    )
    lights = [Light("i1:demonstration", augmented=True), Light("i2:pair", votes_for=2)]
    picks = sample(lights, ReviewSettings(random_share=1.0))
    assert desk.fill("desk", propose(table, picks)).added == 2
    first, second = desk.items("desk")
    assert (first.candidate_id, first.sampled_because) == (
        "i1:demonstration",
        ["augmented", "random"],
    )
    assert first.messages[1] == {"role": "assistant", "content": "or to [EMAIL_2]"}
    assert (second.kind, second.rejected, second.subject) == ("pair", "bad", "ann")


def test_items_are_given_out_by_priority_and_held_until_decided(store: Store, clock: Clock) -> None:
    """Who asks again has the same item, for longer; nobody else has it."""
    desk = desk_of(store, clock, lease_s=60)
    filled(desk, 2)
    mine = taken(desk, "ann")
    clock.wait(30)
    again = taken(desk, "ann")
    assert (again.token, again.item_id) == (mine.token, mine.item_id)
    assert again.expires_at == clock.now + timedelta(seconds=60)
    assert desk.held("ann", mine.token) == again
    assert mine.prompt == (Message("user", "question 0"),)
    assert mine.answer == "answer 0"
    assert taken(desk, "bob").item_id != mine.item_id
    assert desk.take("desk", "cat") is None
    assert desk.take("shop", "dan") is None


def test_a_lease_that_ended_is_said_to_have_and_its_item_goes_to_another(
    store: Store, clock: Clock
) -> None:
    """What comes too late is not written, whether or not somebody else has the item by now."""
    desk = desk_of(store, clock, lease_s=60)
    filled(desk, 1)
    late = taken(desk, "ann")
    clock.wait(60)
    with pytest.raises(ConflictError, match="its lease has ended"):
        desk.decide("ann", late.token, APPROVE)
    other = taken(desk, "bob")
    assert other.item_id == late.item_id
    with pytest.raises(ConflictError, match="its lease has ended"):
        desk.held("ann", late.token)
    with pytest.raises(ConflictError, match="its lease has ended"):
        desk.decide("ann", late.token, APPROVE)
    assert desk.decide("bob", other.token, APPROVE).item_id == late.item_id
    assert [review.reviewer for review in rows(store, Review)] == ["bob"]


def test_nobody_decides_by_the_token_of_another(store: Store) -> None:
    """Nor gives back what another holds."""
    desk = desk_of(store)
    filled(desk, 1)
    mine = taken(desk, "ann")
    with pytest.raises(ConflictError, match="you hold no item"):
        desk.decide("bob", mine.token, APPROVE)
    assert desk.release("bob", mine.token) is False
    assert desk.held("ann", mine.token) == mine


def test_an_item_given_back_is_free(store: Store) -> None:
    """For whoever asks next, and once only."""
    desk = desk_of(store)
    filled(desk, 1)
    mine = taken(desk, "ann")
    assert desk.release("ann", mine.token) is True
    assert desk.release("ann", mine.token) is False
    assert taken(desk, "bob").item_id == mine.item_id


def test_the_same_decision_again_changes_nothing(store: Store) -> None:
    """A browser that sends twice; another decision by the token is refused."""
    desk = desk_of(store)
    filled(desk, 1)
    token = taken(desk, "ann").token
    first = desk.decide("ann", token, Decision("approve", rubric={"style": 4}, reason="good"))
    again = desk.decide("ann", token, Decision("approve", rubric={"style": 4}, reason="good"))
    assert (first.repeated, again.repeated) == (False, True)
    with pytest.raises(ConflictError, match="decided by this token already"):
        desk.decide("ann", token, REJECT)
    [review] = rows(store, Review)
    assert (review.decision, review.rubric, review.reason) == ("approve", {"style": 4}, "good")


def test_a_majority_decides_and_a_draw_asks_one_more(store: Store) -> None:
    """Two reviewers that disagree are no verdict; the third decides."""
    desk = desk_of(store, reviewers=2)
    filled(desk, 1)
    desk.decide("ann", taken(desk, "ann").token, APPROVE)
    assert desk.take("desk", "ann") is None
    desk.decide("bob", taken(desk, "bob").token, REJECT)
    assert desk.outcomes("desk") == {}
    desk.decide("cat", taken(desk, "cat").token, REJECT)
    assert desk.outcomes("desk") == {"c0": ReviewVerdict("rejected")}
    assert desk.take("desk", "dan") is None


def test_a_correction_is_redacted_and_wins_over_approvals(store: Store) -> None:
    """The verdict carries its text; placeholders of the item keep their meaning."""
    desk = desk_of(store, reviewers=3)
    messages = (Message("user", "mail of [EMAIL_1]?"), Message("assistant", "unknown"))
    desk.fill("desk", [proposal(0, messages=messages)])
    desk.decide("ann", taken(desk, "ann").token, APPROVE)
    words = "[EMAIL_1] or bob@example.org"
    told = Decision("correct", text=words, reason="ask eve@example.org")
    token = taken(desk, "bob").token
    assert desk.decide("bob", token, told).text == "[EMAIL_1] or [EMAIL_2]"
    assert desk.decide("bob", token, told).repeated is True
    desk.decide("cat", taken(desk, "cat").token, APPROVE)
    assert desk.outcomes("desk") == {"c0": ReviewVerdict("corrected", "[EMAIL_1] or [EMAIL_2]")}
    assert "example.org" not in str([review.model_dump() for review in rows(store, Review)])


def test_a_skipped_item_goes_to_others_and_never_comes_back(store: Store) -> None:
    """A skip takes no slot."""
    desk = desk_of(store)
    filled(desk, 1)
    desk.decide("ann", taken(desk, "ann").token, Decision("skip"))
    assert desk.take("desk", "ann") is None
    desk.decide("bob", taken(desk, "bob").token, APPROVE)
    assert desk.outcomes("desk") == {"c0": ReviewVerdict("approved")}


def test_a_wrong_decision_leaves_the_item_with_its_reviewer(store: Store) -> None:
    """The error names the field; nothing is written."""
    desk = desk_of(store)
    filled(desk, 1)
    mine = taken(desk, "ann")
    for decision, field in (
        (Decision("prefer", preferred="first"), "decision"),
        (Decision("approve", rubric={"style": 6}), "rubric"),
        (Decision("correct", text="answer 0"), "text"),
    ):
        with pytest.raises(RequestError) as error:
            desk.decide("ann", mine.token, decision)
        assert error.value.field == field
    assert desk.held("ann", mine.token) == mine
    assert rows(store, Review) == []


def test_candidates_that_are_gone_are_withdrawn_and_may_return(store: Store) -> None:
    """Who holds one is told; what is done stays done."""
    desk = desk_of(store)
    filled(desk, 3)
    desk.decide("ann", taken(desk, "ann").token, APPROVE)
    held = taken(desk, "ann")
    assert desk.withdraw_absent("desk", {"c2"}) == 1
    with pytest.raises(ConflictError, match="was withdrawn while you had it"):
        desk.decide("ann", held.token, APPROVE)
    assert desk.known("desk") == {"c0", "c2"}
    assert desk.fill("desk", [proposal(1)]) == Filled(added=1, known=0, no_room=0)
    assert desk.decide("ann", held.token, REJECT).item_id == held.item_id


def test_calibration_items_come_at_their_share_and_look_like_others(store: Store) -> None:
    """Each reviewer gets each once; their answers count for nobody's verdict."""
    desk = desk_of(store, calibration_share=0.5, max_open=1_000)
    filled(desk, 60)
    items = [
        Known((Message("user", f"known {n}"), Message("assistant", "yes")), "reject")
        for n in range(40)
    ]
    assert (desk.calibrate("desk", items), desk.calibrate("desk", items)) == (40, 0)
    seen: list[Assignment] = []
    for _ in range(50):
        seen.append(taken(desk, "ann"))
        desk.decide("ann", seen[-1].token, REJECT)
    known = [one for one in seen if one.prompt[0].content.startswith("known")]
    assert 15 <= len(known) <= 35
    assert len({one.item_id for one in seen}) == 50
    assert {one.kind for one in seen} == {"demonstration"}
    assert len(desk.outcomes("desk")) == 50 - len(known)
    [ann] = desk.agreement("desk").calibration
    assert (ann.items, ann.right) == (len(known), len(known))
    progress = desk.progress("desk", "ann")
    assert (progress.done, progress.open, progress.mine_done) == (
        50 - len(known),
        10 + len(known),
        50,
    )


def test_two_adapters_are_compared_blind_and_in_random_order(store: Store) -> None:
    """What is written names the adapter, whatever place its answer had."""
    desk = desk_of(store, reviewers=2)
    prompts = [
        Compared(f"i{n}", (Message("user", f"q{n}"),), "desk--v1", None, "long", "short")
        for n in range(12)
    ]
    assert desk.compare("desk", prompts).added == 12
    assert desk.take("desk", "ann", kinds=("demonstration", "pair")) is None
    places: Counter[str] = Counter()
    for reviewer in ("ann", "bob"):
        while (item := desk.take("desk", reviewer)) is not None:
            assert "desk--v1" not in repr(item)
            assert {item.first, item.second} == {"long", "short"}
            places[str(item.first)] += 1
            likes = "first" if item.first == "long" else "second"
            desk.decide(reviewer, item.token, Decision("prefer", preferred=likes))
    assert min(places["long"], places["short"]) > 3
    result = desk.comparison("desk", "desk--v1", None)
    assert (result.a, result.b, result.ties, result.reviews) == (12, 0, 0, 24)
    assert result.p < 0.001
    assert result.first == places["long"]
    mirrored = desk.comparison("desk", None, "desk--v1")
    assert (mirrored.a, mirrored.b, mirrored.first) == (0, 12, places["long"])
    assert desk.outcomes("desk") == {}


def interaction(id_: str, **columns: Any) -> Interaction:
    """Return a row as ingest writes it."""
    fields: dict[str, Any] = {
        "id": id_,
        "application": "desk",
        "subject": "ann",
        "endpoint": "/v1/chat/completions",
        "requested_model": "desk",
        "messages": [{"role": "user", "content": "q"}],
        "answer": f"answer {id_}",
        "latency_s": 0.1,
        "started_at": datetime(2026, 1, 5, tzinfo=UTC),
        "event_id": f"e-{id_}",
        **columns,
    }
    return Interaction(**fields)


def test_answers_given_in_the_shadow_are_found_for_comparison(store: Store) -> None:
    """Of these two adapters only, and only where both answered and differ."""
    with store.session() as session:
        session.add_all(
            [
                interaction("i1"),
                interaction("s1", adapter="v2", shadow_of="i1"),
                interaction("i2", answer="same"),
                interaction("s2", adapter="v2", shadow_of="i2", answer="same"),
                interaction("i3", adapter="v1"),
                interaction("s3", adapter="v2", shadow_of="i3"),
                interaction("i4"),
                interaction("s4", adapter="v2", shadow_of="i4", status="error"),
            ]
        )
        session.commit()
        [found] = shadow_pairs(session, "desk", None, "v2", 10)
    assert (found.interaction_id, found.answer_a, found.answer_b) == (
        "i1",
        "answer i1",
        "answer s1",
    )


def test_what_was_said_in_another_tool_is_entered_by_the_same_rules(store: Store) -> None:
    """Redacted, checked, once a reviewer, and never more than are needed."""
    desk = desk_of(store, reviewers=2)
    filled(desk, 1)
    held = taken(desk, "ann")
    with pytest.raises(NotFoundError, match="'c9' of desk"):
        desk.enter("desk", "c9", "ann", APPROVE)
    with pytest.raises(RequestError, match="does not fit"):
        desk.enter("desk", "c0", "bob", Decision("prefer", preferred="tie"))
    told = Decision("correct", text="ask bob@example.org")
    assert desk.enter("desk", "c0", "ann", told).text == "ask [EMAIL_1]"
    assert desk.decide("ann", held.token, told).repeated is True
    with pytest.raises(ConflictError, match="or was reviewed by ann before"):
        desk.enter("desk", "c0", "ann", APPROVE)
    desk.enter("desk", "c0", "bob", APPROVE)
    with pytest.raises(ConflictError, match="has its 2 reviewers"):
        desk.enter("desk", "c0", "cat", APPROVE)
    assert desk.outcomes("desk") == {"c0": ReviewVerdict("corrected", "ask [EMAIL_1]")}


def test_progress_counts_the_queue_and_who_did_what(store: Store) -> None:
    """With reasons of what waits, and what is left for the one who asks."""
    desk = desk_of(store)
    desk.fill("desk", [proposal(n, because=("random", "novel")) for n in range(4)])
    desk.decide("ann", taken(desk, "ann").token, APPROVE)
    desk.decide("bob", taken(desk, "bob").token, REJECT)
    desk.decide("bob", taken(desk, "bob").token, Decision("skip"))
    taken(desk, "ann")
    progress = desk.progress("desk", "bob")
    assert (progress.open, progress.done, progress.leased) == (2, 2, 1)
    assert (progress.approved, progress.rejected, progress.corrected) == (1, 1, 0)
    assert (progress.reviews, progress.skips) == (3, 1)
    assert (progress.mine_done, progress.mine_left) == (2, 1)
    assert progress.by_reason == {"random": 2, "novel": 2}
    assert progress.by_reviewer == {"ann": 1, "bob": 2}
    assert desk.progress("desk", "ann").mine_left == 2
    assert desk.progress("shop").reviews == 0


def test_a_person_is_erased_with_all_that_was_said_of_them(store: Store) -> None:
    """By their hash and by their interactions; others stay, and other applications."""
    desk = desk_of(store)
    desk.fill("desk", [proposal(0), proposal(1, subject=None), proposal(2, subject="bob")])
    desk.fill("shop", [proposal(0)])
    desk.decide("eve", taken(desk, "eve").token, APPROVE)
    taken(desk, "eve")
    with store.session() as session:
        assert erase_reviews(session, "desk", "ann", ["i1"]) == 3  # two items, one review
        session.commit()
        assert erase_reviews(session, "desk", "ann", ["i1"]) == 0
    left = {(item.application, item.candidate_id) for item in rows(store, ReviewItem)}
    assert left == {("desk", "c2"), ("shop", "c0")}
    assert rows(store, Review) == rows(store, ReviewLease) == []


def test_items_go_with_interactions_that_are_no_longer_kept(store: Store) -> None:
    """Retention's business; calibration items belong to no interaction and stay."""
    desk = desk_of(store)
    desk.fill("desk", [proposal(0), proposal(1)])
    desk.calibrate("desk", [Known((Message("user", "q"), Message("assistant", "a")), "approve")])
    with store.session() as session:
        session.add(interaction("i1"))
        session.commit()
        assert expire_reviews(session, "desk") == 1
        session.commit()
        query = select(ReviewItem.interaction_id).order_by(col(ReviewItem.kind))
        assert list(session.exec(query)) == [None, "i1"]
