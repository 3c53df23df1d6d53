"""NAME: what a name is, and how one is found after the words that announce it.

A name is up to four capitalised words with particles between them ("Anna van der Berg"), cut
before the first word that is a team, a trade or a nationality, and no brand. Which words announce
one is in `cues`; a name that nothing announces stays. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from feedback.redaction.name_words import BRANDS, CLEAR, GIVEN, NO_NAME, SMALL_WORDS
from feedback.redaction.rule import Find, Place, lower

Accept = Callable[[str, str, str], bool]  # of the name, the text after it, and its cue

AFTER_CHARS = 12  # as far as an ending is looked for
_UPPER = "A-ZÀ-ÖØ-Þ" + "".join(c for c in map(chr, range(0x100, 0x180)) if c.isupper())
_TOKEN = (
    rf"(?:[{_UPPER}]['\u2019][{_UPPER}]\w{{1,30}}+"  # O'Neill
    rf"|[{_UPPER}]\w{{1,30}}+(?:-\w{{1,30}}+|['\u2019][{_UPPER}]\w{{1,30}}+){{0,2}}"
    rf"|[{_UPPER}]\.)"
)
_PARTICLES = r"(?:(?:von|van|de|der|den|del|della|la|di|da|dos|du|bin|ben|al|el|zu|ter|ten) ){0,2}"
_FULL_NAME = re.compile(rf"{_PARTICLES}{_TOKEN}(?: {_PARTICLES}{_TOKEN}){{0,3}}(?!\w)")
_CAPITALISED = re.compile(rf"[{_UPPER}](?<![\w@.-].)\w{{2,20}}+(?= [{_UPPER}\w][\w.])")
_SENTENCE_END = re.compile(r"[,.!?\n]|$")
_CLAUSE_END = re.compile(r"[,.!?\n]|$| (?:from|speaking|calling|here|and|aus|de)\b")
_SPEAKING = re.compile(r",? (?:from|speaking|calling|here|aus|de)\b")
_GREETING_END = re.compile(r"\s{0,2}[,!:;.?\n\u2013-]|\s{0,2}$| (?:and|und|et|y)\b")
_LINE_END = re.compile(r"[ \t]{0,3}[,.]?[ \t]{0,3}(?:\n|$)")


def after(cue: str, accept: Accept | None = None) -> Find:
    """Return what finds a name right after `cue`, a pattern of small letters, if it is accepted."""
    pattern = re.compile(cue)

    def find(text: str) -> Iterator[Place]:
        for match in pattern.finditer(lower(text)):
            start = match.end()
            name = _name_at(text, start)
            end = start + len(name)
            follows, told = text[end : end + AFTER_CHARS], text[match.start() : start]
            if len(name) > 1 and (accept is None or accept(name, follows, told)):
                yield start, end

    return find


def in_small_letters(cue: str) -> Find:
    """Return what finds "my name is john smith": a given name first, no small word second."""
    pattern = re.compile(cue + r"(?P<it>[^\W\d_]{2,20}+)(?P<more> [^\W\d_]{2,20}+)?")

    def find(text: str) -> Iterator[Place]:
        for match in pattern.finditer(lower(text)):
            if match["it"] in GIVEN and not text[match.start("it")].isupper():
                second = match["more"] or ""
                more = 0 if second.strip() in SMALL_WORDS else len(second)
                yield match.start("it"), match.end("it") + more

    return find


def by_given_name(text: str) -> Iterator[Place]:
    """Find a clear given name with a capitalised word after it."""
    end = 0
    for match in _CAPITALISED.finditer(text):
        if match.start() >= end and match.group().lower() in CLEAR:
            name = _name_at(text, match.start())
            if " " in name:
                end = match.start() + len(name)
                yield match.start(), end


def is_word_too(value: str) -> bool:
    """Tell a lone name that is a word as well, such as May: it is not sought in other texts."""
    return " " not in value and value.lower() not in CLEAR


# ---- what is accepted after a cue --------------------------------------------------------------
def has_capital(_name: str, _follows: str, cue: str) -> bool:
    """Titles only: "300 ms", "5 m." and "MS Access" are none."""
    return (cue[:1].isupper() and cue != "MS ") or cue.lower().startswith(("mons", "mada", "señ"))


def is_clear(name: str, follows: str, _cue: str) -> bool:
    """A given name, or two words that end where a sentence may."""
    if _begins_given(name) or (name.lower() in GIVEN and _SENTENCE_END.match(follows)):
        return True
    return " " in name and not name.isupper() and _CLAUSE_END.match(follows) is not None


def speaks(name: str, follows: str, _cue: str) -> bool:
    """After "this is": a given name, or one that is "speaking" or "from" somewhere."""
    return _begins_given(name) or _SPEAKING.match(follows) is not None


def is_two_or_given(name: str, _follows: str, _cue: str) -> bool:
    """After "my wife" and the like: two words, or a given name."""
    return " " in name or name.lower() in GIVEN


def ends_greeting(_name: str, follows: str, _cue: str) -> bool:
    """A greeting ends with a comma or its like."""
    return _GREETING_END.match(follows) is not None


def ends_line(_name: str, follows: str, _cue: str) -> bool:
    """A signature has the line for itself."""
    return _LINE_END.match(follows) is not None


def _name_at(text: str, start: int) -> str:
    """Return the longest row of capitalised words that can be a person; "" if there is none."""
    full = _FULL_NAME.match(text, start)
    kept: list[str] = []
    for word in full.group().split(" ") if full else ():
        if word.lower().rstrip(".") in NO_NAME and word.lower() not in CLEAR:
            break
        kept.append(word)
    while kept and not kept[-1][0].isupper():  # a particle without what follows it
        kept.pop()
    name = " ".join(kept)
    return "" if name.lower() in BRANDS else name


def _begins_given(name: str) -> bool:
    first = re.split(r"[ -]", name.lower(), maxsplit=1)[0]
    return first in CLEAR or (first in GIVEN and " " in name)
