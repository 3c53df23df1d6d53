"""A support desk whose users turn to a subject that nobody asked about before.

Questions are the demo desk's; the new subject is gardening. What is asked and rated goes the way
of all traffic: into the event log, and by the real ingest into the store. Shared by the tests of
the chain from windows over drift to a retraining.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache

from core.clock import utc_now
from core.ids import new_id
from feedback.events import (
    FEEDBACK_TOPIC,
    INTERACTIONS_TOPIC,
    FeedbackGiven,
    InteractionFinished,
    Message,
    encode,
)
from feedback.log.protocol import NewRecord
from loop.demo.desk import load_desk
from loop.wiring import Parts

APPLICATION = "desk"
PLANTS = (
    "tomatoes",
    "roses",
    "basil",
    "strawberries",
    "cucumbers",
    "lavender",
    "pumpkins",
    "carrots",
)
ABOUT_PLANTS = (
    "How often should I water my {plant} in summer?",
    "My {plant} have yellow leaves, what is wrong?",
    "Which soil do {plant} need?",
    "when can i plant {plant} in the garden",
    "Something eats the leaves of my {plant}, is it snails?",
    "Do {plant} grow well in a pot on the balcony?",
    "How much fertiliser do {plant} want?",
    "Should I prune {plant} before winter?",
    "what grows well next to {plant}",
    "The {plant} do not bloom, do they need more sun?",
)
OPENINGS = ("", "Hi, ", "Hello there. ", "Please help: ", "Good morning! ")
ENDINGS = ("", " Thanks.", " My order is {number}.", " My account is {number}.")


@dataclass(frozen=True)
class Question:
    """What somebody asks, and what they are told."""

    prompt: str
    answer: str


@lru_cache(maxsize=1)
def known_questions() -> tuple[Question, ...]:
    """Return the demo desk's questions with their right answers."""
    return tuple(
        Question(phrasing, fact.answer) for fact in load_desk().facts for phrasing in fact.phrasings
    )


@lru_cache(maxsize=1)
def garden_questions() -> tuple[Question, ...]:
    """Return what the desk was never asked; it answers with what it knows."""
    known = known_questions()
    prompts = [asked.format(plant=plant) for asked in ABOUT_PLANTS for plant in PLANTS]
    return tuple(
        Question(prompt, known[7 * number % len(known)].answer)
        for number, prompt in enumerate(prompts)
    )


def is_of_the_garden(prompt: str) -> bool:
    """Whether the prompt is about a plant, which no question of the desk is."""
    return any(plant in prompt for plant in PLANTS)


@dataclass
class DriftingDesk:
    """The traffic of one application, as time goes by."""

    parts: Parts
    adapter: str | None = None
    now: datetime = field(default_factory=lambda: utc_now() - timedelta(hours=12))
    chance: random.Random = field(default_factory=lambda: random.Random(5))

    def ask(self, questions: Sequence[Question], count: int, liked: float = 0.85) -> None:
        """Let so many people ask one of the questions each, ten seconds apart; half of them rate.

        `liked` is the share of good ratings.
        """
        records: list[NewRecord] = []
        for _ in range(count):
            self.now += timedelta(seconds=10)
            asked = self._interaction(self.chance.choice(questions))
            records.append(NewRecord(INTERACTIONS_TOPIC, asked.interaction_id, encode(asked)))
            if self.chance.random() < 0.5:
                vote = self._vote(asked, good=self.chance.random() < liked)
                records.append(NewRecord(FEEDBACK_TOPIC, asked.interaction_id, encode(vote)))
        self.parts.log.append(records)
        self.parts.ingest().drain()

    def _interaction(self, question: Question) -> InteractionFinished:
        number = self.chance.randrange(1_000, 100_000)
        opening = self.chance.choice(OPENINGS)
        prompt = f"{opening}{question.prompt}{self.chance.choice(ENDINGS).format(number=number)}"
        return InteractionFinished(
            event_id=new_id(),
            interaction_id=new_id(),
            application=APPLICATION,
            subject=f"subject-{number}",
            adapter=self.adapter,
            endpoint="/v1/chat/completions",
            requested_model=APPLICATION,
            messages=[Message("user", prompt)],
            answer=question.answer,
            prompt_tokens=len(prompt) // 4 + 8,
            completion_tokens=len(question.answer) // 4,
            latency_s=self.chance.lognormvariate(0.0, 0.3),
            started_at=self.now,
        )

    def _vote(self, asked: InteractionFinished, *, good: bool) -> FeedbackGiven:
        return FeedbackGiven(
            event_id=new_id(),
            client_id=new_id(),
            interaction_id=asked.interaction_id,
            application=APPLICATION,
            subject=asked.subject,
            kind="thumbs",
            thumbs=good,
            given_at=self.now + timedelta(seconds=5),
        )
