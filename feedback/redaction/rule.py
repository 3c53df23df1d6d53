"""What a rule of redaction is: an entity, a quick hint, and where the entity stands in a text.

A rule names spans and replaces nothing; the redactor joins the spans of all rules. Most texts
hold nothing, so each rule has a hint that is many times quicker than its pattern. Every pattern
is bounded, possessive, or starts only where a word starts, so that no text makes it slow. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Place = tuple[int, int]  # start, and the end after it
Hint = Callable[[str, str], object]  # of the text, and of the text in lower case
Find = Callable[[str], Iterator[Place]]

FOUR_DIGITS, SIX_DIGITS, SEVEN_DIGITS, NINE_DIGITS, THIRTEEN_DIGITS = (
    b"9" * number for number in (4, 6, 7, 9, 13)
)
LONG_WORD_CHARS = 15  # the shortest token that the forms of secrets tell
CONTEXT_CHARS = 40  # how far before a number its meaning is looked for


@dataclass(frozen=True, slots=True)
class Rule:
    """`find` is tried only on a text in which `hint`, which is quicker, finds something.

    `digits`: so many nines; a text that has fewer in a row, as `sift.look` sees it, is passed by.
    """

    entity: str
    hint: Hint
    find: Find
    digits: bytes = b""


def whole(pattern: re.Pattern[str], is_it: Callable[[re.Match[str]], object] | None = None) -> Find:
    """Return what finds each match of `pattern` for which `is_it` holds."""
    return _of_group(pattern, 0, is_it)


def part(pattern: re.Pattern[str], is_it: Callable[[re.Match[str]], object] | None = None) -> Find:
    """Return what finds the part `it` of each match of `pattern` for which `is_it` holds."""
    return _of_group(pattern, "it", is_it)


def starting(
    first: re.Pattern[str],
    pattern: re.Pattern[str],
    is_it: Callable[[re.Match[str]], object] | None = None,
) -> Find:
    """Return what finds `pattern` where `first` does: a search for one character is far quicker."""

    def find(text: str) -> Iterator[Place]:
        end = 0
        for start in first.finditer(text):
            match = pattern.match(text, start.start()) if start.start() >= end else None
            if match is not None:
                end = match.end()
                if is_it is None or is_it(match):
                    yield match.span()

    return find


def finds(pattern: str) -> Hint:
    """Return a hint that searches for a pattern."""
    search = re.compile(pattern).search
    return lambda text, _lowered: search(text)


def has_any(*words: str) -> Hint:
    """Return a hint that looks for lower-case words: many times quicker than such a pattern."""

    def hint(_text: str, lowered: str) -> bool:
        for word in words:  # noqa: SIM110 - `any` takes twice as long, and this runs on every text
            if word in lowered:
                return True
        return False

    return hint


def has_long_word(text: str, _lowered: str) -> bool:
    """Hint of a token: letters, digits, dots, hyphens and underscores in a row."""
    return _LONG_WORD in narrow(text).translate(_TO_W)


def both(first: Hint, second: Hint) -> Hint:
    """Return a hint that asks for two."""
    return lambda text, lowered: first(text, lowered) and second(text, lowered)


def always(_text: str, _lowered: str) -> bool:
    """Return True: the hint of a rule that has none."""
    return True


def lower(text: str) -> str:
    """Return `text` in lower case, as long as it was: the places in both are the same."""
    return text.replace("İ", "I").lower()  # the one letter that would become two


def narrow(text: str) -> bytes:
    """Return `text` in one byte a character, which is quick to sift; ? for what Latin-1 lacks."""
    return text.encode() if text.isascii() else text.encode("latin-1", "replace")


def before(match: re.Match[str]) -> str:
    """Return the text before a match, as far as it tells what the match is."""
    return match.string[max(0, match.start() - CONTEXT_CHARS) : match.start()]


_TO_W = bytes(
    ord("w") if chr(byte).isalnum() or chr(byte) in "_-." else ord(" ") for byte in range(256)
)
_LONG_WORD = b"w" * LONG_WORD_CHARS


def _of_group(
    pattern: re.Pattern[str], group: int | str, is_it: Callable[[re.Match[str]], object] | None
) -> Find:
    def find(text: str) -> Iterator[Place]:
        for match in pattern.finditer(text):
            if is_it is None or is_it(match):
                yield match.span(group)

    return find
