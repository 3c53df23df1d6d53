"""The hidden truth of the demo: what a good answer of the support desk is.

In come `desk.toml` and, for what customers turn to later, `desk-turn.toml`; out come facts and a
judge that says good or bad, always the same for the same answer. Only the simulated users and the
final report may know it: Ratchet learns from ratings and corrections alone. Knows nothing of
models, HTTP or time.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from core.errors import DataError

DESK_FILE = Path(__file__).with_name("desk.toml")
TURN_FILE = Path(__file__).with_name("desk-turn.toml")  # nobody asks of it before the turn

_KEYS = frozenset({"id", "topic", "answer", "must", "spoiled", "phrasings", "heldout"})
_OPTIONAL_KEYS = frozenset({"must_not"})
# Curly quotes become straight, Markdown's marks vanish: neither changes what an answer says.
_PLAIN = {0x2019: "'", 0x2018: "'", 0x201C: '"', 0x201D: '"', **dict.fromkeys(map(ord, "*_`"))}


@dataclass(frozen=True)
class Fact:
    """One fact or answer rule of the desk, with the questions that ask for it."""

    id: str
    topic: str
    answer: str  # the ideal answer
    spoiled: str  # a wrong answer that reads well
    must: tuple[tuple[re.Pattern[str], ...], ...]  # every group has to match, by any pattern
    must_not: tuple[re.Pattern[str], ...]  # none may match
    phrasings: tuple[str, ...]  # asked in traffic
    heldout: tuple[str, ...]  # asked only to measure, never rated


@dataclass(frozen=True)
class Desk:
    """The support desk of one invented company."""

    company: str
    facts: tuple[Fact, ...]

    @cached_property
    def by_id(self) -> Mapping[str, Fact]:
        """The facts by their id."""
        return {fact.id: fact for fact in self.facts}

    def heldout(self, limit: int | None = None) -> list[tuple[Fact, str]]:
        """Return held-out questions with their facts; `limit` of them spread over all facts.

        The first question of every fact comes first, then every second one, and so on; a
        limit below one round takes facts at even distances.
        """
        rounds = max(len(fact.heldout) for fact in self.facts)
        pairs = [
            (fact, fact.heldout[index])
            for index in range(rounds)
            for fact in self.facts
            if index < len(fact.heldout)
        ]
        if limit is None or limit >= len(pairs):
            return pairs
        if limit >= len(self.facts):
            return pairs[:limit]
        return [pairs[index * len(self.facts) // limit] for index in range(limit)]


def load_desk(file: Path = DESK_FILE) -> Desk:
    """Return the desk that `file` describes.

    Raises: DataError that names the fact and the key that is wrong.
    """
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"desk file {file} cannot be read: {error}") from error
    rows = document.get("fact", [])
    if not rows or not isinstance(document.get("company"), str):
        raise DataError(f"desk file {file} needs a company and at least one [[fact]]")
    facts = tuple(_fact(row) for row in rows)
    if len({fact.id for fact in facts}) != len(facts):
        raise DataError(f"desk file {file} names a fact twice: give each its own id")
    return Desk(document["company"], facts)


def judge(fact: Fact, answer: str) -> bool:
    """Return whether `answer` says what the fact demands and nothing that it forbids."""
    plain = " ".join(answer.translate(_PLAIN).split())
    says_all = all(any(pattern.search(plain) for pattern in group) for group in fact.must)
    return says_all and not any(pattern.search(plain) for pattern in fact.must_not)


def _fact(row: dict[str, Any]) -> Fact:
    wrong = (_KEYS - row.keys()) | (row.keys() - _KEYS - _OPTIONAL_KEYS)
    if wrong:
        raise DataError(
            f"fact {row.get('id', '?')!r}: missing or unknown keys {', '.join(sorted(wrong))}"
        )
    must = tuple(tuple(_pattern(row, text) for text in group) for group in row["must"])
    if not must or not all(must):
        raise DataError(f"fact {row['id']!r}: must needs at least one group, none of them empty")
    return Fact(
        id=row["id"],
        topic=row["topic"],
        answer=row["answer"],
        spoiled=row["spoiled"],
        must=must,
        must_not=tuple(_pattern(row, text) for text in row.get("must_not", [])),
        phrasings=tuple(row["phrasings"]),
        heldout=tuple(row["heldout"]),
    )


def _pattern(row: dict[str, Any], text: str) -> re.Pattern[str]:
    """Return `text` as a pattern in any case that begins and ends at the edges of words."""
    try:
        return re.compile(rf"(?<!\w)(?:{text})(?!\w)", re.IGNORECASE)
    except re.error as error:
        raise DataError(f"fact {row['id']!r}: pattern {text!r} is not valid: {error}") from error
