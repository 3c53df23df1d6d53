"""What reviewers said is heeded before anything else: rejected rows go, corrected ones change."""

from __future__ import annotations

import pickle

import pytest

from curation.stages.verdicts import HeedReviews, Verdict
from curation.table import Outcome, Table, answers
from tests.unit.candidate_tables import pair, row, table_of

YES, NO = Verdict(True), Verdict(False)


def table() -> Table:
    """Return two demonstrations, a pair, a label that is wanted and one that is not."""
    return table_of(
        row("q1", "a1", id_="one"),
        row("q2", "a2", id_="two"),
        pair("q3", "a3", "b3", id_="three", source="preference"),
        row("q4", "a4", id_="four", kind="label", label=True),
        row("q5", "a5", id_="five", kind="label", label=False),
    )


def kept(outcome: Outcome) -> list[str]:
    """Return the interactions that stay."""
    return outcome.kept["interaction_id"].to_pylist()


def test_without_a_word_of_reviewers_nothing_changes() -> None:
    """Not a single column is made anew."""
    whole = table()
    outcome = HeedReviews()(whole)
    assert outcome.kept is whole
    assert (outcome.drops.num_rows, outcome.changed) == (0, 0)


def test_what_was_rejected_goes() -> None:
    """By its candidate: the other kinds of the same interaction stay."""
    other = row("q1", "a1", id_="one", kind="label", label=True)
    outcome = HeedReviews({"one:demonstration": NO, "three:pair": YES})(
        table_of(*table().to_pylist(), other)
    )
    assert kept(outcome) == ["two", "three", "four", "five", "one"]
    assert outcome.drops["reason"].to_pylist() == ["rejected by reviewers"]
    assert outcome.drops["detail"].to_pylist() == [""]


def test_a_correction_is_learnt_instead() -> None:
    """Of a demonstration the answer, of a pair the chosen one; the lost one stays."""
    verdicts = {"two:demonstration": Verdict(True, "better"), "three:pair": Verdict(True, "best")}
    outcome = HeedReviews(verdicts)(table())
    assert answers(outcome.kept) == ["a1", "better", "best", "a4", "a5"]
    assert outcome.kept["rejected"].to_pylist()[2] == "b3"
    assert outcome.kept["source"].to_pylist()[:3] == ["thumbs_up", "reviewer", "reviewer"]
    assert outcome.changed == 2
    assert outcome.kept["messages"].to_pylist()[1][0] == {"role": "user", "content": "q2"}


def test_where_review_is_required_only_what_was_let_in_is_taught() -> None:
    """A label that says what not to answer teaches no answer: it needs no review."""
    verdicts = {"one:demonstration": YES, "two:demonstration": NO}
    outcome = HeedReviews(verdicts, required=True)(table())
    assert kept(outcome) == ["one", "five"]
    assert outcome.drops["reason"].to_pylist() == [
        "rejected by reviewers", "not reviewed", "not reviewed",
    ]  # fmt: skip


def test_a_verdict_on_nothing_here_is_no_fault() -> None:
    """Candidates come and go."""
    assert HeedReviews({"gone:demonstration": Verdict(True, "text")})(table()).changed == 0


@pytest.mark.parametrize("required", [True, False])
def test_an_empty_table_passes(required: bool) -> None:
    """And the stage is sent to workers."""
    stage = pickle.loads(pickle.dumps(HeedReviews({"one:demonstration": NO}, required)))
    assert stage(table().slice(0, 0)).kept.num_rows == 0
    assert kept(stage(table().slice(0, 1))) == []
