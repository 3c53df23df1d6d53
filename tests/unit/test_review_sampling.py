"""Which candidates people see: by chance, and the doubtful ones; the same at every run."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from core.clock import utc_now
from core.curation_settings import ReviewSettings
from core.ids import new_id
from curation.review.sampling import Light, sample
from curation.review.signals import light_rows
from feedback.tables import Feedback
from tests.ready_store import ready_store
from tests.unit.candidate_tables import row, table_of

NONE = {"random_share": 0.0, "uncertain_share": 0.0, "disputed_share": 0.0, "novel_share": 0.0}


def rules(**changes: float) -> ReviewSettings:
    """Return settings that choose nothing but what `changes` say."""
    return ReviewSettings.model_validate({**NONE, "max_open": 100_000, **changes})


def chosen(rows: list[Light], settings: ReviewSettings) -> list[str]:
    """Return whom the sampling picks, in order."""
    return [pick.candidate_id for pick in sample(rows, settings)]


ROWS = [Light(f"c{n}") for n in range(20_000)]


def test_the_audit_takes_its_share_by_chance() -> None:
    """Within four standard deviations, and another seed takes others."""
    picked = chosen(ROWS, rules(random_share=0.07))
    assert abs(len(picked) - 1_400) < 4 * (20_000 * 0.07 * 0.93) ** 0.5
    other = chosen(ROWS, rules(random_share=0.07, seed=1))
    assert len({*picked} & {*other}) < 200


def test_who_was_chosen_stays_chosen_as_the_data_grow() -> None:
    """In any order of the rows."""
    shuffled = ROWS[:10_000]
    random.Random(1).shuffle(shuffled)
    few = {*chosen(shuffled, rules(random_share=0.07))}
    many = {*chosen(ROWS, rules(random_share=0.07))}
    assert few == many & {row.candidate_id for row in ROWS[:10_000]}


def test_the_most_doubtful_of_each_kind_are_chosen() -> None:
    """With what speaks for each; who has no number is not doubted for it."""
    rows = [
        Light("sure", logprob=-0.1),
        Light("unsure", logprob=-3.0, novelty=0.1),
        Light("new", novelty=0.9),
        Light("odd", votes_for=5, votes_against=5),
        Light("praised", votes_for=9),
        Light("mixed", votes_for=1, votes_against=1),
        *(Light(f"plain {n}") for n in range(4)),
    ]
    share = {"uncertain_share": 0.1, "disputed_share": 0.1, "novel_share": 0.1}
    picks = {pick.candidate_id: pick.because for pick in sample(rows, rules(**share))}
    assert picks == {"unsure": ("uncertain",), "odd": ("disputed",), "new": ("novel",)}


def test_failed_and_augmented_ones_are_all_looked_at() -> None:
    """Whatever the shares; one candidate has all its reasons, and comes once."""
    rows = [Light("a", augmented=True, failed_gate=True), Light("b", failed_gate=True), Light("c")]
    picks = {pick.candidate_id: pick.because for pick in sample(rows, rules())}
    assert picks == {"a": ("augmented", "failed_gate"), "b": ("failed_gate",)}


def test_every_reason_has_its_turn_where_room_is_short() -> None:
    """A flood of one kind does not drown the audit."""
    rows = [Light(f"made {n}", augmented=True) for n in range(500)]
    rows += [Light(f"c{n}", novelty=float(n)) for n in range(500)]
    picks = sample(rows, rules(random_share=0.07, novel_share=0.02), room=30)
    reasons = [reason for pick in picks for reason in pick.because]
    assert len(picks) == 30
    assert min(reasons.count(reason) for reason in ("augmented", "random", "novel")) >= 10
    assert [pick.priority for pick in picks] == sorted((p.priority for p in picks), reverse=True)


@given(
    st.lists(
        st.builds(
            Light,
            st.uuids().map(str),
            st.none() | st.floats(-9, 0),
            st.integers(0, 3),
            st.integers(0, 3),
            st.none() | st.floats(0, 2),
            st.booleans(),
            st.booleans(),
        ),
        max_size=40,
    ),
    st.integers(0, 20),
)
def test_nobody_is_chosen_twice_nor_more_than_there_is_room(rows: list[Light], room: int) -> None:
    """And those who are known are not chosen again."""
    first = sample(rows, ReviewSettings(), room=room)
    names = [pick.candidate_id for pick in first]
    assert len(names) == len(set(names)) <= room
    assert all(pick.because for pick in first)
    again = sample(rows, ReviewSettings(), known=set(names), room=room)
    assert not set(names) & {pick.candidate_id for pick in again}


def test_votes_and_doubts_of_candidates_are_gathered(tmp_path: Path) -> None:
    """Only votes that still count; a rating of three is neither for nor against."""
    store = ready_store(f"sqlite:///{tmp_path / 'store.db'}")

    def vote(**columns: Any) -> Feedback:
        kind = "rating" if "rating" in columns else "thumbs"
        fields: dict[str, Any] = {"interaction_id": "i1", "application": "desk", "kind": kind}
        fields |= columns
        return Feedback(event_id=new_id(), client_id=new_id(), given_at=utc_now(), **fields)

    table = table_of(row("q", "a", id_="i1"), row("q", "a", id_="i2", source="synthetic"))
    with store.session() as session:
        session.add_all(
            [
                *(vote(thumbs=True), vote(thumbs=False), vote(rating=5), vote(rating=1)),
                *(vote(rating=3), vote(thumbs=True, effective=False)),
                vote(thumbs=True, interaction_id="other"),
            ]
        )
        session.commit()
        first, second = light_rows(session, table)
        table = table.append_column("logprob", [[-2.5, None]])
        doubted = light_rows(session, table)[0]
    store.close()
    assert first == Light("i1:demonstration", votes_for=2, votes_against=2)
    assert second == Light("i2:demonstration", augmented=True)
    assert doubted.logprob == -2.5
