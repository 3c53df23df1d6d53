"""CURATE: personal data and secrets replaced in all texts: a second fence behind the gateway's.

Rules get better, and what was logged under older ones must not be learnt. A row is one
conversation over its prompt, answer and lost answer; what is found only now gets none of the
placeholders that the interaction has. A row that still holds a random string as keys are is
dropped. Most rows hold nothing, and are passed by for a tenth of the time that the rules take.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

from core.patterns import checked_pattern
from curation.stages.entropy import LONG_TOKEN, has_random
from curation.stages.search import read, rows_with
from curation.stages.signs import ANY_SIGN
from curation.table import Outcome, Table, Why, conversations, sieve, with_conversations
from feedback.redaction import sift
from feedback.redaction.redactor import Redactor

# Placeholders are masked before the rules look, which signs know nothing of
_SUSPECT = rf"\[[A-Z][A-Z0-9_]*_[1-9]|{ANY_SIGN}"


@dataclass(frozen=True, slots=True)
class RedactPersonal:
    """Replaces what is personal or secret. `patterns`: the application's own, by name.

    Raises: SettingsError that names a pattern which cannot be used.
    """

    patterns: Mapping[str, str] | None = None
    drop_secrets: bool = True

    def __call__(self, table: Table) -> Outcome:
        """Return the table redacted, with the number of rows that it altered."""
        redactor, own = _rules(tuple((self.patterns or {}).items()))
        rows = conversations(table)
        changed = 0
        reserved = table["placeholders"].to_pylist()
        for row in suspects(table, rows, own):
            texts = redacted(rows[row], reserved[row] or (), redactor)
            if texts != rows[row]:
                rows[row] = texts
                changed += 1
        table = with_conversations(table, rows) if changed else table
        why: list[Why | None] = [None] * table.num_rows
        if self.drop_secrets:
            for row, texts in read(table, rows_with(table, LONG_TOKEN)):
                why[row] = Why("secret") if any(map(has_random, texts)) else None
        return sieve(table, why, changed)


def suspects(
    table: Table, rows: Sequence[Sequence[str]], own: Sequence[re.Pattern[str]]
) -> Iterator[int]:
    """Yield at least the rows in which a rule or one of the application's `own` finds anything."""
    told = set(rows_with(table, _SUSPECT))
    for row, texts in enumerate(rows):
        if row in told or may_name(texts) or _holds(texts, own):
            yield row


def redacted(texts: Sequence[str], placeholders: Iterable[str], redactor: Redactor) -> list[str]:
    """Return the texts of one conversation, with what is personal replaced.

    What stands in any of them as a placeholder is never given to another value.
    """
    literal = chain.from_iterable(map(redactor.literal_placeholders, texts))
    conversation = redactor.conversation(reserved=(*placeholders, *literal))
    return [conversation.redact(text) for text in texts]


def may_name(texts: Sequence[str]) -> bool:
    """Tell whether a rule finds a name in one of the texts. One look at all tells most apart."""
    _, finds = sift.look("\n".join(texts))
    return any(next(find(text), None) for find in finds for text in texts)


def _holds(texts: Sequence[str], own: Sequence[re.Pattern[str]]) -> bool:
    return any(pattern.search(text) for pattern in own for text in texts)


@lru_cache(maxsize=4)
def _rules(patterns: tuple[tuple[str, str], ...]) -> tuple[Redactor, tuple[re.Pattern[str], ...]]:
    own = tuple(checked_pattern(name, pattern) for name, pattern in patterns)
    return Redactor(dict(patterns)), own
