"""The people of the demo: who asks what, and what they do about an answer.

Pure. In come the desk's truth and habits with a seed, out come users with their questions and,
for each answer, a reaction (nothing, thumbs, an edited answer). Equal seeds give equal people.
Knows nothing of HTTP, adapters or time: `users.py` lets these people act.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from loop.demo.desk import Desk, Fact, judge


@dataclass(frozen=True)
class Habits:
    """How a crowd is made up and how its people behave; shares are 0-1."""

    seed: int = 0
    offset: int = 0  # index of the first user
    max_users: int | None = None
    user_prefix: str = "user"
    questions_max: int = 2  # a user asks 1 to this many
    stream_share: float = 0.3
    rate_share: float = 0.6
    edit_share: float = 0.35  # of bad answers
    careless_share: float = 0.06  # of users
    persona: Literal["customer", "spoiler"] = "customer"
    limit: int | None = None  # of held-out questions, spread over the facts
    turn_share: float = 0.0  # of questions, those of the topic that customers turn to


@dataclass(frozen=True)
class Ask:
    """One question that a user will ask, and the chance that decides what the user does then."""

    fact: Fact
    question: str
    stream: bool
    will: float  # 0-1: below the edit share the user edits a bad answer, below the rate share rates
    coin: float  # 0-1: decides for a careless user


@dataclass(frozen=True)
class Visit:
    """One user's questions; without a `user` nobody rates (held-out measurement)."""

    user: str | None
    careless: bool
    asks: tuple[Ask, ...]


@dataclass(frozen=True)
class Reaction:
    """What a user does about an answer; None means nothing."""

    thumbs: bool | None = None
    correction: str | None = None


def traffic(desk: Desk, habits: Habits, turn: Desk | None = None) -> Iterator[Visit]:
    """Yield users for ever, or `max_users` of them; equal seeds and offsets give equal users.

    Questions come from shuffled rounds through all training phrasings, so that a short demo
    asks for every fact about equally often. So many as `turn_share` says are of `turn` instead.
    """
    questions, turned = _phrasings(desk), _phrasings(turn) if turn else []
    index = habits.offset
    while habits.max_users is None or index < habits.offset + habits.max_users:
        rng = random.Random(f"{habits.seed}:{index}")
        positions = range(index * habits.questions_max, (index + 1) * habits.questions_max)
        asked = positions[: rng.randint(1, habits.questions_max)]
        asks = tuple(
            _ask(
                *_drawn(_either(questions, turned, rng, habits), habits.seed, position), rng, habits
            )
            for position in asked
        )
        careless = rng.random() < habits.careless_share
        yield Visit(f"{habits.user_prefix}-{index:05d}", careless, asks)
        index += 1


def _phrasings(desk: Desk) -> list[tuple[Fact, str]]:
    return [(fact, phrasing) for fact in desk.facts for phrasing in fact.phrasings]


def _either(
    questions: list[tuple[Fact, str]],
    turned: list[tuple[Fact, str]],
    rng: random.Random,
    habits: Habits,
) -> list[tuple[Fact, str]]:
    """Return where the next question comes from; without a turn no chance is drawn."""
    if not turned or not habits.turn_share:
        return questions
    return turned if rng.random() < habits.turn_share else questions


def heldout(desk: Desk, habits: Habits) -> Iterator[Visit]:
    """Yield one nameless visit for each held-out question."""
    rng = random.Random(habits.seed)
    for fact, question in desk.heldout(habits.limit):
        yield Visit(None, False, (_ask(fact, question, rng, habits),))


def react(ask: Ask, answer: str, habits: Habits, *, careless: bool) -> Reaction:
    """Return what a user does about `answer`.

    The share of users who rate is the same for good and bad answers (as long as the edit share
    is below the rate share): who edits would have rated anyway.
    """
    if habits.persona == "spoiler":
        return _spoil(ask.fact, answer)
    good = judge(ask.fact, answer)
    if not good and ask.will < habits.edit_share:
        sloppy = careless and ask.coin < 0.5
        return Reaction(False, _truncated(ask.fact.answer) if sloppy else ask.fact.answer)
    if ask.will >= habits.rate_share:
        return Reaction()
    return Reaction(ask.coin < 0.5 if careless else good)


def _spoil(fact: Fact, answer: str) -> Reaction:
    """Return the act of one who wants the wrong answer: praise it, or write it in."""
    if fact.spoiled.lower() in answer.lower():
        return Reaction(True)
    return Reaction(False, fact.spoiled)


def _truncated(text: str) -> str:
    words = text.split()
    return " ".join(words[: len(words) // 2])


def _drawn(questions: list[tuple[Fact, str]], seed: int, position: int) -> tuple[Fact, str]:
    """Return the question at `position` of an endless row of shuffled rounds."""
    round_number, place = divmod(position, len(questions))
    return questions[_shuffled(len(questions), seed, round_number)[place]]


@lru_cache(maxsize=8)  # users walk through one round after the other, of either topic
def _shuffled(count: int, seed: int, round_number: int) -> list[int]:
    return random.Random(f"{seed}:round:{round_number}").sample(range(count), count)


def _ask(fact: Fact, question: str, rng: random.Random, habits: Habits) -> Ask:
    stream = rng.random() < habits.stream_share
    return Ask(fact, question, stream, will=rng.random(), coin=rng.random())
