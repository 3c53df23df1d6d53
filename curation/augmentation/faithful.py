"""CURATE, beside real data: whether a text that a model wrote anew may stand for the old one. Pure.

The old and the new text come in, the reason to refuse the new one goes out, or none. What can be
checked is checked: placeholders, numbers, language, length. Meaning is for the people who review.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

from curation.augmentation.languages import language_of
from curation.table import Why
from feedback.redaction.placeholders import PLACEHOLDER

EMPTY = "empty"
SAME = "same as the seed"
PLACEHOLDERS = "placeholders changed"
NUMBERS = "numbers changed"
LANGUAGE = "language changed"
LENGTH = "length far from the seed's"

MAX_GROWTH = 3.0  # a longer text answers the prompt or adds to it. Our choice
SLACK_CHARS = 60  # so that short prompts may still be put in a longer way. Our choice

_NUMBER = re.compile(r"\d+(?:[.,'\u2019]\d+)*")
_THOUSANDS = re.compile(r"\d{1,3}(?:[.,'\u2019]\d{3})+")
_PREAMBLE = re.compile(
    r"\A(?:sure|certainly|of course|here(?:'s| is| are)|(?:the )?(?:re|para)?phras|(?:the )?transl)"
    r"[^\n]{0,120}:\s*\n+(?=\S)",
    re.IGNORECASE,
)
_TAGS = re.compile(r"\A\s*<text>|</text>\s*\Z")
_QUOTES = {'"': '"', "\u201c": "\u201d", "\u00ab": "\u00bb"}


def why_not(seed: str, text: str) -> Why | None:
    """Return why `text` may not stand for `seed`; none if it may."""
    if not text:
        return Why(EMPTY)
    if plain(text) == plain(seed):
        return Why(SAME)
    lost = placeholders(seed) ^ placeholders(text)
    if lost:
        return Why(PLACEHOLDERS, f"{len(lost)} differ")
    if numbers(seed) != numbers(text):
        return Why(NUMBERS)
    if len(text) > MAX_GROWTH * len(seed) + SLACK_CHARS:
        return Why(LENGTH, f"{len(text)} instead of {len(seed)} characters")
    return other_language(seed, text)


def other_language(seed: str, text: str) -> Why | None:
    """Return the reason if both languages can be told, and differ."""
    old, new = language_of(PLACEHOLDER.sub("", seed)), language_of(PLACEHOLDER.sub("", text))
    if old is None or new is None or old == new:
        return None
    return Why(LANGUAGE, f"{old} to {new}")


def placeholders(text: str) -> set[str]:
    """Return the placeholders that stand in the text."""
    return {match[0] for match in PLACEHOLDER.finditer(text)}


def numbers(text: str) -> Counter[str]:
    """Return the numbers of the text: "1,000" as 1000, "1,5" as 1.5, digits of any script."""
    found = _NUMBER.findall(PLACEHOLDER.sub("", text))
    return Counter(_number(number) for number in found)


def plain(text: str) -> str:
    """Return what is equal for texts that differ only in case, spaces and punctuation."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def bare(reply: str, seed: str) -> str:
    """Return a reply without what chat models put around a text: tags, a preamble, quotes."""
    text = _TAGS.sub("", reply).strip()
    if not _PREAMBLE.match(seed):
        text = _PREAMBLE.sub("", text)
    close = _QUOTES.get(text[:1])
    inside = text[1:-1]
    if close and len(text) > 1 and text[-1] == close and close not in inside:
        return inside.strip() if not seed.startswith(text[0]) else text
    return text


def _number(found: str) -> str:
    digits = "".join(
        str(unicodedata.digit(char)) if char.isdigit() else "." for char in found.replace("'", ".")
    )
    return digits.replace(".", "") if _THOUSANDS.fullmatch(found) else digits
