"""Who the simulated people are and what they do about an answer: shares, seeds, personas."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice

import pytest

from loop.demo.desk import TURN_FILE, load_desk
from loop.demo.people import Ask, Habits, Reaction, heldout, react, traffic

DESK = load_desk()
FACT = DESK.by_id["refund-time"]
BAD = "I do not know."


def _ask(*, will: float, coin: float = 0.0) -> Ask:
    return Ask(FACT, FACT.phrasings[0], stream=False, will=will, coin=coin)


def test_equal_seeds_give_equal_people_and_other_seeds_others() -> None:
    """A demo can be repeated, and two phases can have different people."""
    first = list(traffic(DESK, Habits(seed=1, max_users=20)))
    assert first == list(traffic(DESK, Habits(seed=1, max_users=20)))
    assert first != list(traffic(DESK, Habits(seed=2, max_users=20)))


def test_an_offset_continues_the_same_row_of_people() -> None:
    """A second crowd that begins where the first ended never reuses a user."""
    whole = list(traffic(DESK, Habits(max_users=30)))
    rest = list(traffic(DESK, Habits(max_users=20, offset=10)))
    assert whole[10:] == rest
    assert rest[7].user == "user-00017"


def test_traffic_without_a_number_goes_on_for_ever() -> None:
    """The crowd then ends by a file or a signal alone."""
    assert len(list(islice(traffic(DESK, Habits()), 600))) == 600


def test_a_round_of_traffic_asks_every_training_question_once_and_no_held_out_one() -> None:
    """Questions are shuffled rounds, so that a short demo leaves no fact out."""
    questions = [phrasing for fact in DESK.facts for phrasing in fact.phrasings]
    visits = traffic(DESK, Habits(questions_max=1, max_users=2 * len(questions)))
    asked = Counter(ask.question for visit in visits for ask in visit.asks)
    assert asked == Counter({question: 2 for question in questions})


def test_people_ask_one_to_so_many_questions_and_a_share_of_them_is_careless() -> None:
    """Shares come out as the habits say, within chance."""
    habits = Habits(max_users=2_000, questions_max=2, careless_share=0.06, stream_share=0.3)
    visits = list(traffic(DESK, habits))
    asks = [ask for visit in visits for ask in visit.asks]
    assert {len(visit.asks) for visit in visits} == {1, 2}
    assert sum(visit.careless for visit in visits) / len(visits) == pytest.approx(0.06, abs=0.02)
    assert sum(ask.stream for ask in asks) / len(asks) == pytest.approx(0.3, abs=0.03)


def test_customers_turn_to_a_new_topic_in_the_share_that_is_told() -> None:
    """Before the turn nothing of it is asked, and the people are the same as without it."""
    turn = load_desk(TURN_FILE)
    plain = Habits(seed=3, max_users=900, questions_max=1)
    assert list(traffic(DESK, plain, turn)) == list(traffic(DESK, plain))
    visits = list(traffic(DESK, replace(plain, turn_share=0.45), turn))
    facts = Counter(ask.fact.id for visit in visits for ask in visit.asks)
    assert sum(facts[fact.id] for fact in turn.facts) / 900 == pytest.approx(0.45, abs=0.05)
    assert min(facts[fact.id] for fact in turn.facts) > 40


def test_held_out_visits_are_nameless_and_limited() -> None:
    """Nobody can rate in a measurement."""
    visits = list(heldout(DESK, Habits(limit=10)))
    assert len(visits) == 10
    assert all(visit.user is None and len(visit.asks) == 1 for visit in visits)


@pytest.mark.parametrize(
    ("will", "answer", "reaction"),
    [
        (0.1, FACT.answer, Reaction(True)),
        (0.1, BAD, Reaction(False, FACT.answer)),
        (0.5, BAD, Reaction(False)),
        (0.7, FACT.answer, Reaction()),
        (0.7, BAD, Reaction()),
    ],
)
def test_a_careful_customer_rates_by_the_truth(
    will: float, answer: str, reaction: Reaction
) -> None:
    """The willing edit bad answers, the less willing rate, the others stay silent."""
    habits = Habits(rate_share=0.6, edit_share=0.35)
    assert react(_ask(will=will), answer, habits, careless=False) == reaction


@pytest.mark.parametrize(("coin", "thumbs"), [(0.4, True), (0.6, False)])
def test_a_careless_customer_rates_by_chance(coin: float, thumbs: bool) -> None:
    """Careless thumbs do not depend on the answer."""
    for answer in (FACT.answer, BAD):
        ask = _ask(will=0.5, coin=coin)
        assert react(ask, answer, Habits(), careless=True) == Reaction(thumbs)


def test_a_careless_edit_is_sometimes_cut_off() -> None:
    """Half of the careless edits lack their second half."""
    sloppy = react(_ask(will=0.1, coin=0.4), BAD, Habits(), careless=True)
    whole = react(_ask(will=0.1, coin=0.6), BAD, Habits(), careless=True)
    assert sloppy == Reaction(False, "Refunds are paid within 14")
    assert whole == Reaction(False, FACT.answer)


def test_a_spoiler_writes_the_wrong_answer_in_and_praises_it() -> None:
    """Spoilers always act, and never on the truth's side."""
    habits = replace(Habits(), persona="spoiler")
    ask = _ask(will=0.99)
    assert react(ask, FACT.answer, habits, careless=False) == Reaction(False, FACT.spoiled)
    assert react(ask, f"Well: {FACT.spoiled}", habits, careless=False) == Reaction(True)
