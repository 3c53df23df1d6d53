"""CURATE: what changed between two texts, word by word, for the pages of review.

Two texts in, pieces that stayed, went and came out, in reading order; joined they are the texts
again. Pure. Knows no page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

EXACT_WORDS = (
    1_000  # up to here every word may match; 0.15 s at worst on one core (a word repeated)
)
MAX_WORDS = 20_000  # of both: above it nobody reads a difference; 0.2 s
MIN_LIKENESS = 0.3  # below it two texts share little but small words: show both. Our choice

Change = Literal["same", "gone", "new"]

_WORD = re.compile(r"\s*\w+|\s*[^\w\s]|\s+")  # with the space before it, so that none is lost


@dataclass(frozen=True, slots=True)
class Piece:
    """Words that stayed, went or came."""

    change: Change
    text: str


def difference(before: str, after: str) -> list[Piece] | None:
    """Return what changed; None where the texts are too long or too different for that to help."""
    old, new = _WORD.findall(before), _WORD.findall(after)
    words = len(old) + len(new)
    if words > MAX_WORDS:
        return None
    matcher = SequenceMatcher(None, old, new, autojunk=words > 2 * EXACT_WORDS)
    kept = sum(block.size for block in matcher.get_matching_blocks())
    if words and 2 * kept / words < MIN_LIKENESS:
        return None
    return list(_pieces(matcher, old, new))


def _pieces(
    matcher: SequenceMatcher[str], old: Sequence[str], new: Sequence[str]
) -> Iterator[Piece]:
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag == "equal":
            yield Piece("same", "".join(old[a:b]))
            continue
        gone, came = "".join(old[a:b]), "".join(new[c:d])
        space = _space(gone) if _space(gone) == _space(came) else ""  # words stand apart
        yield from _filled("same", space)
        yield from _filled("gone", gone[len(space) :])
        yield from _filled("new", came[len(space) :])


def _filled(change: Change, text: str) -> Iterator[Piece]:
    if text:
        yield Piece(change, text)


def _space(text: str) -> str:
    return text[: len(text) - len(text.lstrip())]
