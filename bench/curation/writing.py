"""Texts as people and models write them, put together from `phrases`; the same for the same seed.

Sentences have gaps that are filled anew each time, with names and numbers that hardly come twice,
so that two texts of a topic are alike but not the same. Knows nothing of rows or plants.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from random import Random

from bench.curation.phrases import FOREIGN, SHARED, SHORT_SYSTEMS, SYSTEMS, TOPICS, USUAL

Message = dict[str, str]

LONG_SYSTEM_SHARE = 0.2
SHORT_SYSTEM_SHARE = 0.3
MULTI_TURN_SHARE = 0.2
RARE_WORDS = 150_000  # a language's long tail: names, products, slips
TOPIC_NAMES = tuple(TOPICS)

_GAP = re.compile(r"\{(\w+)\}")
_HEADS = (
    *("b", "br", "c", "ch", "d", "dr", "f", "fl", "g", "gr", "h", "j", "k", "kl", "l", "m", "n"),
    *("p", "pr", "qu", "r", "s", "sh", "st", "t", "tr", "v", "w", "z"),
)
_HEARTS = ("a", "e", "i", "o", "u", "ai", "ea", "io", "ou")
_TAILS = ("", "l", "m", "n", "r", "s", "t", "x", "nd", "rn")

Parts = tuple[str, ...]  # literals at even places, names of gaps at odd ones


class Writer:
    """Writes texts, drawing from `random`."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._lists: dict[str, Mapping[str, Sequence[Parts]]] = {
            topic: {name: [_parted(text) for text in texts] for name, texts in lists.items()}
            for topic, lists in ((topic, {**SHARED, **TOPICS[topic]}) for topic in TOPIC_NAMES)
        }
        self._foreign = {code: [_parted(text) for text in texts] for code, texts in FOREIGN.items()}
        tail = Random(7)  # the same words whatever the seed: a language does not change
        self._rare = [_made_up(tail) for _ in range(RARE_WORDS)]

    def topic(self) -> str:
        """Return a topic; the first come most often."""
        return TOPIC_NAMES[int(len(TOPIC_NAMES) * self._random.random() ** 1.3)]

    def question(self, topic: str, asides: int = 1) -> str:
        """Return what somebody asks: about 90 characters, and 65 for each aside."""
        words = [self._say(topic, "greeting"), self._say(topic, "ask"), ". "]
        for _ in range(asides):
            words += [self._say(topic, "aside"), " "]
        words.append(self._say(topic, "wish"))
        text = "".join(words)
        return text[0].upper() + text[1:]

    def answer(self, topic: str, sentences: int) -> str:
        """Return an answer of so many sentences, and an opening and an end."""
        replies = self._lists[topic]["reply"]
        first = int(len(replies) * self._random.random())
        said = [
            self._filled(replies[(first + 3 * number) % len(replies)], topic)  # none twice
            for number in range(sentences)
        ]
        return self._say(topic, "opener") + " ".join([*said, self._say(topic, "closer")])

    def conversation(self, topic: str) -> list[Message]:
        """Return a prompt: perhaps a system message, perhaps a turn before, and a question."""
        draw = self._random.random
        messages: list[Message] = []
        kind = draw()
        if kind < LONG_SYSTEM_SHARE:
            messages.append(_message("system", SYSTEMS[int(len(SYSTEMS) * draw())]))
        elif kind < LONG_SYSTEM_SHARE + SHORT_SYSTEM_SHARE:
            messages.append(_message("system", SHORT_SYSTEMS[int(len(SHORT_SYSTEMS) * draw())]))
        if draw() < MULTI_TURN_SHARE:
            messages.append(_message("user", self.question(topic)))
            messages.append(_message("assistant", self.answer(topic, 2)))
        messages.append(_message("user", self.question(topic, 1 + int(2 * draw()))))
        return messages

    def usual(self) -> str:
        """Return a question that many people ask in the same words."""
        return USUAL[int(len(USUAL) * self._random.random() ** 2)]

    def foreign(self, code: str) -> str:
        """Return an answer in another language."""
        return " ".join(self._filled(parts, TOPIC_NAMES[0]) for parts in self._foreign[code])

    def word(self) -> str:
        """Return a made-up word; some come often and most hardly ever."""
        return self._rare[int(RARE_WORDS * self._random.random() ** 3)]

    def _say(self, topic: str, name: str) -> str:
        options = self._lists[topic][name]
        return self._filled(options[int(len(options) * self._random.random())], topic)

    def _filled(self, parts: Parts, topic: str) -> str:
        if len(parts) == 1:
            return parts[0]
        filled = list(parts)
        for place in range(1, len(parts), 2):
            filled[place] = self._gap(parts[place], topic)
        return "".join(filled)

    def _gap(self, name: str, topic: str) -> str:
        if name == "word":
            return self.word()
        if name == "count":
            return str(2 + int(88 * self._random.random()))
        if name == "number":
            return str(10_000 + int(989_999 * self._random.random()))
        return self._say(topic, name)


def _message(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _parted(text: str) -> Parts:
    return tuple(_GAP.split(text))


def _made_up(random: Random) -> str:
    syllables = [
        random.choice(_HEADS) + random.choice(_HEARTS) + random.choice(_TAILS)
        for _ in range(random.choice((2, 2, 3)))
    ]
    word = "".join(syllables)
    return word.capitalize() if random.random() < 0.5 else word
