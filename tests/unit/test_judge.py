"""An AI judge: asked in both orders, read strictly, and measured against people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DataError
from curation.augmentation.writer import NOT_ANSWERED, Writer
from curation.contests import Pair, Side, pair_of
from curation.judge import (
    BY_PLACE,
    TIE,
    UNREADABLE,
    Agreement,
    Choice,
    Judgement,
    agreement,
    cohens_kappa,
    judge_pairs,
    judge_settings,
    read_verdict,
)
from curation.table import DROPS, Table
from tests.fakes.writer import FakeWriter
from tests.unit.candidate_tables import pair, row, table_of


@pytest.fixture(scope="module")
def running() -> Iterator[FakeWriter]:
    with FakeWriter() as server:
        yield server


@pytest.fixture
def server(running: FakeWriter) -> FakeWriter:
    running.behave()
    return running


@pytest.fixture
def judge(server: FakeWriter) -> Iterator[Writer]:
    with Writer(judge_settings(server.settings())) as opened:
        yield opened


def decided(number: int, chosen: str, rejected: str, *, newer: bool = False) -> dict[str, Any]:
    """Return a pair of interactions 1 and 2 of that number; the newer one won, or the older."""
    won, lost = (2, 1) if newer else (1, 2)
    return pair(
        f"Question {number}?", chosen, rejected, id_=f"i{number}.{won}", source="preference",
        candidate_id=f"i{number}.{won}:pair:i{number}.{lost}",
    )  # fmt: skip


def pairs(count: int, *, chosen: str, rejected: str, newer: bool = False) -> Table:
    """Return as many pairs of different interactions."""
    return table_of(*(decided(n, chosen, rejected, newer=newer) for n in range(count)))


def people_on(table: Table) -> dict[Pair, Side]:
    """Return what people said of the pairs of a table."""
    return dict(pair_of(row) for row in table.to_pylist())


def test_the_better_answer_wins_whatever_came_in(judge: Writer, server: FakeWriter) -> None:
    """The rule prefers the longer answer: here once the chosen and once the rejected one."""
    agreed = judge_pairs(pairs(6, chosen="a long answer", rejected="short"), judge)
    reversed_ = judge_pairs(pairs(6, chosen="short", rejected="a long answer"), judge)
    assert [one.winner for one in agreed.judgements] == ["a"] * 6
    assert [one.winner for one in reversed_.judgements] == ["b"] * 6
    assert [one.pair for one in agreed.judgements] == [Pair(f"i{n}.1", f"i{n}.2") for n in range(6)]
    assert agreed.drops.num_rows == reversed_.drops.num_rows == 0
    assert len(server.bodies) == 2 * 2 * 6


def test_a_pair_has_one_name_whoever_won(judge: Writer) -> None:
    """The same answers, decided the other way round, get the same words of the judge."""
    older = judge_pairs(pairs(2, chosen="a long answer", rejected="short"), judge)
    newer = judge_pairs(pairs(2, chosen="short", rejected="a long answer", newer=True), judge)
    assert older.judgements == newer.judgements
    correction = pair("Why?", "Because.", "No.", id_="i1", source="correction",
                      candidate_id="i1:pair:0123456789ab")  # fmt: skip
    assert pair_of(correction) == (Pair("i1", "0123456789ab"), "b")
    [said] = judge_pairs(table_of(correction), judge).judgements
    assert said.winner == "b"


def test_only_pairs_are_judged(judge: Writer, server: FakeWriter) -> None:
    """Other rows have no second answer."""
    judged = judge_pairs(table_of(row("Hello?", "Hi."), pair("", "", "", messages=[])), judge)
    assert (judged.drops.num_rows, judged.judgements) == (0, ())
    assert server.bodies == []


def test_people_s_choice_is_hidden_from_the_judge(judge: Writer, server: FakeWriter) -> None:
    """The chosen answer stands first as often as last."""
    judge_pairs(pairs(40, chosen="chosen", rejected="rejected!"), judge)
    said = [body["messages"][0]["content"] for body in server.bodies]
    first = sum(text.split("<answer_A>\n")[1].startswith("chosen") for text in said)
    assert first == 40


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ('{"winner": "A"}', BY_PLACE),
        ('{"winner": "B"}', BY_PLACE),
        ('{"winner": "tie"}', TIE),
        ('The winner is {"winner": "A"}', UNREADABLE),
    ],
)
def test_what_the_judge_cannot_tell_is_no_pair(
    judge: Writer, server: FakeWriter, reply: str, reason: str
) -> None:
    """A verdict that follows the place is a tie, as is a tie; what cannot be read counts so."""
    server.reply = lambda _model, _prompt: reply
    judged = judge_pairs(pairs(3, chosen="yes", rejected="no"), judge)
    assert {one.winner for one in judged.judgements} == {None}
    assert judged.drops["reason"].to_pylist() == [reason] * 3
    assert judged.drops.schema == DROPS
    assert {one.choice for one in judged.judgements} == {"tie"}


def test_a_tie_in_one_order_alone_is_a_tie(judge: Writer, server: FakeWriter) -> None:
    """One order for an answer and the other for none is a disagreement of the orders."""

    def reply(_model: str, prompt: str) -> str:
        return json.dumps({"winner": "A" if "<answer_A>\nyes" in prompt else "tie"})

    server.reply = reply
    table = pairs(2, chosen="yes", rejected="no")
    judged = judge_pairs(table, judge)
    measured = agreement(judged.judgements, people_on(table))
    assert judged.drops["reason"].to_pylist() == [BY_PLACE] * 2
    assert (measured.position_bias, measured.first_favoured, measured.second_favoured) == (1, 0, 0)


def test_an_unanswered_question_is_told_as_such(judge: Writer, server: FakeWriter) -> None:
    """The server's fault is not the judge's: it said nothing, and may be asked again."""
    server.fail_next(500, times=1)
    judged = judge_pairs(pairs(2, chosen="a long answer", rejected="short"), judge)
    assert judged.drops["reason"].to_pylist() == [NOT_ANSWERED]
    assert [one.winner for one in judged.judgements] == ["a"]


def test_the_judge_has_its_own_model_and_does_not_guess(server: FakeWriter) -> None:
    """Likeliest words, of the judge's model where one is named."""
    settings = judge_settings(server.settings(judge_model="judge-70b", temperature=0.9))
    assert (settings.model, settings.temperature) == ("judge-70b", 0.0)
    assert judge_settings(server.settings()).model == "base"


def test_agreement_with_people_is_measured_blind(judge: Writer) -> None:
    """A judge that prefers length agrees with people who do, in six of eight."""
    table = table_of(
        *(decided(n, "the longer answer", "short", newer=n < 3) for n in range(6)),
        *(decided(n + 6, "short", "the longer answer") for n in range(2)),
    )
    judged = judge_pairs(table, judge)
    measured = agreement(judged.judgements, people_on(table))
    assert (measured.compared, measured.share, measured.decided_share) == (8, 0.75, 0.75)
    assert (measured.position_bias, measured.unreadable) == (0.0, 0)
    assert json.loads(json.dumps(measured.as_dict()))["share"] == 0.75


def judgement(number: int, a_first: Choice | None, b_first: Choice | None) -> Judgement:
    return Judgement(Pair(f"c{number}", "other"), a_first, b_first)


def test_every_number_of_an_agreement_is_counted_from_its_own_pairs() -> None:
    """Ties, places, unreadable verdicts and pairs that no person saw, each where it belongs."""
    judged = [
        judgement(0, "a", "a"),
        judgement(1, "b", "b"),
        judgement(2, "a", "b"),  # the first place, twice
        judgement(3, "b", "a"),  # the second place, twice
        judgement(4, "tie", "tie"),
        judgement(5, "a", None),
        judgement(6, "b", "b"),  # that no person has seen
    ]
    said: tuple[Side, ...] = ("a", "a", "b", "a", "b", "a")
    people: dict[Pair, Side] = {
        Pair(f"c{number}", "other"): side for number, side in enumerate(said)
    }
    measured = agreement(judged, people)
    assert measured == Agreement(
        compared=5,
        share=1 / 5,
        decided_share=1 / 2,
        kappa=(1 * 5 - 5) / (5 * 5 - 5),  # by chance 1*3 a and 1*2 b of 5*5
        position_bias=2 / 6,
        first_favoured=1,
        second_favoured=1,
        unreadable=1,
    )


def test_no_pairs_have_no_agreement() -> None:
    """Nothing compared is not the same as nothing in common."""
    measured = agreement([], {})
    assert (measured.share, measured.kappa, measured.position_bias) == (None, None, None)


def ratings(both: int, first: int, second: int, neither: int) -> tuple[list[str], list[str]]:
    """Return two raters' yes and no from a table of four counts."""
    return (
        ["y"] * (both + first) + ["n"] * (second + neither),
        ["y"] * both + ["n"] * first + ["y"] * second + ["n"] * neither,
    )


@pytest.mark.parametrize(
    ("counts", "kappa"),
    [
        ((20, 5, 10, 15), 0.4),
        ((45, 15, 25, 15), 0.1304),  # equal agreement of 60 %, from unlike marginals
        ((25, 35, 5, 35), 0.2593),
        ((10, 0, 0, 10), 1.0),
        ((0, 10, 10, 0), -1.0),
        ((25, 25, 25, 25), 0.0),
    ],
)
def test_kappa_has_its_known_values(counts: tuple[int, int, int, int], kappa: float) -> None:
    """The worked examples that textbooks give, and the ends of the scale."""
    assert cohens_kappa(*ratings(*counts)) == pytest.approx(kappa, abs=5e-5)


def test_kappa_of_three_categories() -> None:
    """Observed 7 of 8; by chance 3*2 + 3*4 + 2*2 of 64."""
    first = ["a", "a", "a", "b", "b", "b", "tie", "tie"]
    second = ["a", "a", "b", "b", "b", "b", "tie", "tie"]
    assert cohens_kappa(first, second) == pytest.approx((7 / 8 - 22 / 64) / (1 - 22 / 64))


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("abc")), min_size=1))
def test_kappa_is_symmetric_and_at_most_one(both: list[tuple[str, str]]) -> None:
    """Neither rater is the true one."""
    first, second = [one for one, _ in both], [other for _, other in both]
    kappa = cohens_kappa(first, second)
    assert kappa == cohens_kappa(second, first)
    if kappa is not None:
        assert -1.0 <= kappa <= 1.0
        assert (kappa == 1.0) == (first == second)


def test_kappa_says_when_it_has_no_value() -> None:
    """Without ratings, or where both say one thing always, chance explains all."""
    assert cohens_kappa([], []) is None
    assert cohens_kappa(["a", "a"], ["a", "a"]) is None
    with pytest.raises(DataError, match="there are 1 and 2"):
        cohens_kappa(["a"], ["a", "b"])


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ('{"winner": "A"}', "A"),
        (' {"winner":"tie"}\n', "tie"),
        ('{"winner": "C"}', None),
        ('{"winner": "a"}', None),
        ('{"winner": "A", "because": "it is longer"}', None),
        ("A", None),
        ("", None),
    ],
)
def test_verdicts_are_read_strictly(reply: str, verdict: str | None) -> None:
    """The asked JSON, or no verdict at all."""
    assert read_verdict(reply) == verdict
