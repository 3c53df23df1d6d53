"""What is hidden among clean interactions, so that it can be counted afterwards: the plants.

Each plant changes one clean interaction, which everybody praises, and says what became of it.
`SHARES` says how often; rates are those of a log that nobody has looked after. Knows no database.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from bench.curation.edits import edited
from bench.curation.phrases import ACCENTS, FOREIGN, REFUSALS, TOXIC
from bench.curation.writing import Message, Writer

ABOVE = (0.955, 0.995)  # similarity of a near duplicate, with a margin over the threshold of 0.95
BELOW = (0.85, 0.94)
GIGANTIC_CHARS = 250_000
LONG_CHARS = 12_000
SUITE_ITEMS = 200

SHARES: Mapping[str, float] = {
    "duplicate": 0.03,
    "near duplicate": 0.03,
    "similar": 0.02,  # below the threshold: both must stay
    "personal": 0.03,
    "secret": 0.01,
    "toxic": 0.005,
    "refusal": 0.01,
    "repetition": 0.005,
    "mojibake": 0.005,
    "broken": 0.003,
    "gibberish": 0.003,
    "evaluation": 0.002,
    "foreign": 0.02,
    "corrupt": 0.001,
    "gigantic": 0.0001,
    "too long": 0.002,
}
COPIES = frozenset({"duplicate", "near duplicate", "similar"})  # of an earlier interaction

CORRUPT: tuple[Any, ...] = (
    "not a list",
    None,
    {"role": "user", "content": "no list around"},
    [{"role": "user"}],
    [{"role": 5, "content": "a role that is a number"}],
    [["user", "a list in a list"]],
    [{"role": "user", "content": ["parts", "of a text"]}],
)


@dataclass(slots=True)
class Draft:
    """An interaction before it is a row. `told`: what is known of its plant."""

    topic: str
    messages: Any
    answer: str
    told: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def question(self) -> Message:
        """The last message that a person wrote."""
        return self.messages[-1]


@dataclass(frozen=True, slots=True)
class Question:
    """An item of an evaluation suite."""

    prompt: str
    answer: str


def suite(writer: Writer) -> list[Question]:
    """Return the items that nothing may be learnt of."""
    items: list[Question] = []
    for _ in range(SUITE_ITEMS):
        topic = writer.topic()
        items.append(Question(writer.question(topic, 1), writer.answer(topic, 2)))
    return items


class Planter:
    """Plants, drawing from `random`."""

    def __init__(self, writer: Writer, random: Random, items: list[Question]) -> None:
        self._writer = writer
        self._random = random
        self._items = items
        self._ways: Mapping[str, Callable[[Draft], None]] = {
            "personal": self._personal,
            "secret": self._secret,
            "toxic": self._toxic,
            "refusal": self._refusal,
            "repetition": self._repetition,
            "mojibake": self._mojibake,
            "broken": self._broken,
            "gibberish": self._gibberish,
            "evaluation": self._evaluation,
            "foreign": self._foreign,
            "corrupt": self._corrupt,
            "gigantic": self._gigantic,
            "too long": self._too_long,
        }

    def plant(self, kind: str, draft: Draft) -> None:
        """Change a clean draft."""
        self._ways[kind](draft)

    def copy(self, kind: str, of: Draft) -> Draft | None:
        """Return a duplicate, a near duplicate or something similar; None where none is found."""
        messages = [dict(message) for message in of.messages]
        if kind == "duplicate":
            messages[-1]["content"] = self._retyped(messages[-1]["content"])
            return Draft(of.topic, messages, of.answer)
        changed = edited(messages[-1]["content"], *(ABOVE if kind[0] == "n" else BELOW),
                         self._random)  # fmt: skip
        if changed is None:
            return None
        messages[-1]["content"], similarity = changed
        return Draft(of.topic, messages, of.answer, {"similarity": similarity})

    def _retyped(self, text: str) -> str:
        """Return the very words, perhaps with other spaces, capitals or closing signs."""
        way = int(5 * self._random.random())
        return (text, text, text.upper(), text.replace(" ", "  "), text.rstrip("?.!") + "!")[way]

    def _personal(self, draft: Draft) -> None:
        entity = self._random.choice(tuple(PERSONAL))
        sentence, value = PERSONAL[entity](self._random)
        self._say(draft, entity, sentence, value)

    def _secret(self, draft: Draft) -> None:
        prefix, length = self._random.choice(SECRETS)
        value = prefix + _drawn(self._random, string.ascii_letters + string.digits, length) + "7"
        self._say(draft, "SECRET", f"My key is {value} and it is not accepted.", value)

    def _say(self, draft: Draft, entity: str, sentence: str, value: str) -> None:
        draft.question["content"] += f" {sentence}"
        draft.told = {"entity": entity, "value": value}

    def _toxic(self, draft: Draft) -> None:
        draft.answer = self._random.choice(TOXIC) + " " + draft.answer

    def _refusal(self, draft: Draft) -> None:
        draft.answer = self._random.choice(REFUSALS)

    def _repetition(self, draft: Draft) -> None:
        sentence = self._writer.answer(draft.topic, 1)
        draft.answer = "\n".join([sentence] * (8 + int(8 * self._random.random())))

    def _mojibake(self, draft: Draft) -> None:
        mended = self._random.choice(ACCENTS)
        draft.answer += " " + mended.encode().decode("cp1252")
        draft.told = {"mended": mended}

    def _broken(self, draft: Draft) -> None:
        at = int(len(draft.answer) * self._random.random())
        sign = self._random.choice(("\ufffd", "\x00\x01", "\x07\x1b[0m", "\ufffd\ufffd"))
        draft.answer = draft.answer[:at] + sign + draft.answer[at:]

    def _gibberish(self, draft: Draft) -> None:
        draft.answer = _drawn(self._random, string.punctuation + string.digits + "qxzkj", 240)

    def _evaluation(self, draft: Draft) -> None:
        number = int(len(self._items) * self._random.random())
        item = self._items[number].prompt
        way = self._random.choice(("whole", "inside", "edited"))
        if way == "inside":
            item = f"{self._writer.question(draft.topic, 0)} {item}"
        elif way == "edited":
            item = (edited(item, 0.86, 0.97, self._random) or (item,))[0]
        draft.question["content"] = item
        draft.told = {"item": number, "way": way}

    def _foreign(self, draft: Draft) -> None:
        code = self._random.choice(tuple(FOREIGN))
        draft.answer = self._writer.foreign(code)
        draft.told = {"language": code}

    def _corrupt(self, draft: Draft) -> None:
        draft.messages = self._random.choice(CORRUPT)

    def _gigantic(self, draft: Draft) -> None:
        self._lengthen(draft, GIGANTIC_CHARS)

    def _too_long(self, draft: Draft) -> None:
        self._lengthen(draft, LONG_CHARS)

    def _lengthen(self, draft: Draft, chars: int) -> None:
        page = " ".join(self._writer.question(draft.topic, 2) for _ in range(20))
        draft.question["content"] = (page + "\n") * (chars // len(page) + 1)


def _drawn(random: Random, letters: str, length: int) -> str:
    return "".join(random.choices(letters, k=length))


def _digits(random: Random, length: int) -> str:
    return str(1 + int(9 * random.random())) + _drawn(random, string.digits, length - 1)


def _email(random: Random) -> tuple[str, str]:
    value = f"{_drawn(random, string.ascii_lowercase, 7)}.{_digits(random, 2)}@mail.example"
    return f"Please write to {value} when you know more.", value


def _phone(random: Random) -> tuple[str, str]:
    value = f"+49 30 {_digits(random, 3)} {_digits(random, 4)}"
    return f"You can call me on {value} after five.", value


def _card(random: Random) -> tuple[str, str]:
    body = "4" + _digits(random, 14)
    doubled = [sum(divmod(2 * int(digit), 10)) for digit in body[::2]]
    check = -(sum(doubled) + sum(map(int, body[1::2]))) % 10
    value = f"{body[:4]} {body[4:8]} {body[8:12]} {body[12:]}{check}"
    return f"It was charged to my card {value}.", value


def _iban(random: Random) -> tuple[str, str]:
    body = _digits(random, 18)
    check = 98 - int(f"{body}131400") % 97  # D is 13, E is 14, and 00 for the check digits
    value = f"DE{check:02}{body}"
    return f"Send the money to {value} please.", value


def _ip(random: Random) -> tuple[str, str]:
    value = ".".join(str(11 + int(200 * random.random())) for _ in range(4))
    return f"The connection came from {value} each time.", value


def _national_id(random: Random) -> tuple[str, str]:
    area = 100 + int(500 * random.random())
    value = f"{area}-{11 + int(80 * random.random())}-{_digits(random, 4)}"
    return f"My social security number is {value}.", value


def _birth_date(random: Random) -> tuple[str, str]:
    value = f"{1 + int(28 * random.random())} June {1950 + int(50 * random.random())}"
    return f"I was born on {value}.", value


def _address(random: Random) -> tuple[str, str]:
    street = random.choice(("Elm", "Baker", "Mill", "Church", "Station"))
    value = f"{2 + int(300 * random.random())} {street} Street"
    return f"I live at {value}.", value


def _name(random: Random) -> tuple[str, str]:
    first = random.choice(("Anna", "Robert", "Maria", "James", "Laura", "Peter", "Susan"))
    last = random.choice(("Smith", "Miller", "Johnson", "Walker", "Turner", "Bennett"))
    return f"My name is {first} {last}.", f"{first} {last}"


PERSONAL: Mapping[str, Callable[[Random], tuple[str, str]]] = {
    "EMAIL": _email,
    "PHONE": _phone,
    "CARD": _card,
    "IBAN": _iban,
    "IP": _ip,
    "NATIONAL_ID": _national_id,
    "BIRTH_DATE": _birth_date,
    "ADDRESS": _address,
    "NAME": _name,
}
SECRETS = (("sk-", 40), ("ghp_", 36), ("hf_", 34), ("AIza", 34), ("glpat-", 20), ("whsec_", 32))
