"""Answers that refuse: marked by the gateway, counted by monitoring, measured by the gate. Pure.

Beginnings by which models refuse, of our own collection; only the first sentence is looked at,
since an answer may say later what it cannot know. English only.
"""

from __future__ import annotations

import re

LOOKED_AT_CHARS = 400  # no refusal of the collection begins later; bounds the work on one answer
_REFUSAL = re.compile(
    r"""
    \b(?:i\s*(?:am|['\u2019]m)\s+(?:sorry|afraid|unable|not\s+able)   # I'm sorry, I am unable
    |i\s+(?:can\s*not|can['\u2019]?t|won['\u2019]?t|will\s+not|must\s+(?:decline|refuse))
    |as\s+an?\s+(?:ai|language\s+model|assistant)
    |i\s+(?:do\s+not|don['\u2019]?t)\s+(?:feel\s+comfortable|have\s+the\s+ability)
    |(?:this|that|your)\s+request\s+(?:is\s+against|violates))\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s|\n")


def refuses(answer: str) -> bool:
    """Return whether the answer begins by refusing."""
    start = answer.lstrip()[:LOOKED_AT_CHARS]
    first = _SENTENCE_END.split(start, maxsplit=1)[0]
    return _REFUSAL.search(first) is not None
