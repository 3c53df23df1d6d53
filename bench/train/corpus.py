"""Support conversations as an application has them: a shared system prompt, 1 to 3 questions.

Facts, wordings and answers are those of the demo's desk; around them go a greeting, what the
customer tells unasked, and the house style of an answer. The same count and seed write the same
bytes. Held-out conversations ask in words that no training conversation uses.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet

from loop.demo.desk import Desk, Fact, load_desk

Conversation = list[dict[str, str]]

SEED = 20_261
VALIDATION = 16  # watched by the recipe while it trains

SYSTEM = (
    "You are the support assistant of {company}, a service that keeps people's files online. "
    "Answer in a friendly and factual way, in at most four sentences. Use only the rules of "
    "{company}; when you do not know a rule, say so and offer to pass the question on to a "
    "colleague. Never ask for passwords or card numbers. Do not promise refunds, discounts or "
    "dates that the rules do not name. Answer the last question only, and end with one helpful "
    "next step."
)
GREETINGS = ("", "", "Hi, ", "Hello there. ", "Good morning, ", "hey ", "Dear support team, ")
BACKGROUND = (
    "I have been a customer since 2021 and use the family plan on two laptops and a phone.",
    "We are a small office of nine people, and our accountant keeps asking me about this.",
    "I wrote to you last week already but have not heard anything back so far.",
    "I am travelling at the moment and only have my phone with me.",
    "My sister recommended you, and I moved all my photos over at the weekend.",
    "The app shows version 7.2 on Android, in case that makes any difference.",
    "I looked through the help pages and the settings for half an hour and found nothing.",
    "This is about the account that I use for work, not the private one.",
    "I am not very good with computers, so please keep it simple.",
    "There are about 40,000 files in the folder, most of them pictures from an old camera.",
)
THANKS = ("", "", " Thanks!", " Thank you in advance.", " Best regards, {name}", " cheers, {name}")
NAMES = ("Maren", "Tobias", "Aoife", "Luca", "Priya", "Jonas", "Inês", "Karel", "Yuki", "Omar")
OPENINGS = (
    "Thank you for asking.",
    "Good question, and I am glad to help.",
    "Happy to explain that.",
)
STEPS = {
    "billing": "You find every payment under Settings, Billing, where you can also download it.",
    "account": "If anything looks different in your account, open Settings, Profile and tell me.",
    "files": "Should the app show something else, restart it once and look at its status line.",
}
ANY_STEP = "If that does not settle it, reply here and a colleague will look into your case."


def write_corpus(folder: Path, *, train: int, heldout: int) -> Path:
    """Return `folder` with `train`, `validation` and `test` splits as a dataset version has them.

    `heldout` conversations make up `test`; the recipe's validation questions are others.
    """
    folder.mkdir(parents=True, exist_ok=True)
    desk = load_desk()
    chance = random.Random(SEED)
    asked = [_conversation(desk, fact, text, chance) for fact, text in _cycled(desk, train, chance)]
    unseen = desk.heldout()
    chance.shuffle(unseen)
    apart = [_conversation(desk, fact, text, chance) for fact, text in unseen]
    splits = {
        "train": asked,
        "validation": apart[:VALIDATION],
        "test": apart[VALIDATION : VALIDATION + heldout],
    }
    for split, rows in splits.items():
        table = pa.Table.from_pylist([{"messages": row} for row in rows])
        parquet.write_table(table, folder / f"{split}.parquet")
    return folder


def _cycled(desk: Desk, count: int, chance: random.Random) -> list[tuple[Fact, str]]:
    """Return `count` facts with a wording: each fact as often as any other, wordings in turn."""
    chosen = [
        (fact, fact.phrasings[number // len(desk.facts) % len(fact.phrasings)])
        for number in range(count)
        for fact in (desk.facts[number % len(desk.facts)],)
    ]
    chance.shuffle(chosen)
    return chosen


def _conversation(desk: Desk, fact: Fact, question: str, chance: random.Random) -> Conversation:
    earlier = chance.sample(desk.facts, chance.choice((0, 0, 0, 1, 1, 2)))
    turns = [(other, chance.choice(other.phrasings)) for other in earlier if other is not fact]
    messages: Conversation = [_said("system", SYSTEM.format(company=desk.company))]
    for asked, wording in [*turns, (fact, question)]:
        messages.append(_said("user", _told(wording, chance)))
        messages.append(_said("assistant", _answered(asked, chance)))
    return messages


def _told(question: str, chance: random.Random) -> str:
    unasked: Sequence[str] = chance.sample(BACKGROUND, chance.choice((0, 1, 1, 2)))
    closing = chance.choice(THANKS).format(name=chance.choice(NAMES))
    body = (
        " ".join([*unasked, question]) if chance.random() < 0.7 else " ".join([question, *unasked])
    )
    return chance.choice(GREETINGS) + body + closing


def _answered(fact: Fact, chance: random.Random) -> str:
    return " ".join([chance.choice(OPENINGS), fact.answer, STEPS.get(fact.topic, ANY_STEP)])


def _said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}
