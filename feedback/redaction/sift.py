"""Which names a text may hold, told in a few microseconds: none, for most texts.

A name has a capital. Without its small letters a text is a quarter as long, and shows whether one
stands where no sentence begins; only then are the words before capitals looked up, in the text
read backwards, for a search that starts from the capitals is the quicker one. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from feedback.redaction.cues import CUES, INTRODUCTIONS, Cue
from feedback.redaction.name_words import CLEAR
from feedback.redaction.names import by_given_name
from feedback.redaction.rule import Find, narrow


def _char(byte: int) -> str:
    return bytes([byte]).decode("latin-1")


def _is_letter(byte: int) -> bool:
    return _char(byte).isalpha()


_LETTERS = [byte for byte in range(256) if _is_letter(byte)]
_SMALL = bytes(byte for byte in _LETTERS if _char(byte).islower())
# Every capital becomes an A: a pattern that begins with one letter is found several times quicker
_TO_A = bytes(65 if _char(byte).isupper() else byte for byte in range(256))
_AMID = re.compile(rb"A(?:(?<=[^.?!]\sA)|(?<=A\.\sA))").search
_TWO = re.compile(rb"A[\s-]{1,3}A").search
_LETTER = b"[%b]" % b"".join(rb"\x%02x" % byte for byte in _LETTERS)
_WORD_BEFORE = re.compile(
    rb"A(?=[\"'(]?\s{1,4}(?:(?:red|ned|nav|nov|ed|al|led)\s){0,2}[^\w\s.?]{0,3}"
    rb"(\.?(?:%b|['?]){1,16}))" % _LETTER
).findall
_FIRST_OF_TWO = re.compile(
    rb"A(%b{2,20})(?=[ -]A| (?:d[aeiou]|van|von|bin|el|al)[ l])" % _LETTER
).findall
_CLEAR_TAILS = frozenset(narrow(name)[1:] for name in CLEAR)
_CUES_OF: dict[bytes, list[Cue]] = {}
for _each in CUES:
    for _word in _each.words:
        for _form in (_word, _word.capitalize(), _word.upper()):
            _CUES_OF.setdefault(narrow(_form).translate(_TO_A)[::-1], []).append(_each)
_CUE_WORDS = frozenset(_CUES_OF)
_GIVEN = (by_given_name,)

# What every rule but those of names needs: a digit, an @, or the lines of a private key
_NO_SIGNS = bytes(set(range(256)) - set(b"0123456789@"))
_KEY_LINE = b"-----"
_OTHER_DIGIT = re.compile(r"[^\x00-\x7f](?<=\d)").search  # of another script
_TO_9 = bytes(ord("9") if chr(byte) in "0123456789" else byte for byte in range(256))
_BETWEEN_DIGITS = b" ()./-+\r\n"  # in any of the rules' patterns
_ANY_DIGITS = b"9" * 99  # so many that no rule is passed by


def look(text: str) -> tuple[bytes | None, Sequence[Find]]:
    """Return the digits of `text`, and what may find names in it.

    Digits are nines, and those between which only signs stand are in a row. None in their place:
    there is none, nor an @, nor a key's line, and nothing but names may be found. One function
    without calls of ours: half of the time that a plain text takes is spent here.
    """
    narrowed = (text.encode() if text.isascii() else narrow(text)).translate(_TO_A)
    bones = narrowed.translate(None, _SMALL)
    digits = None
    if bones.translate(None, _NO_SIGNS) or _KEY_LINE in bones:
        digits = narrowed.translate(_TO_9, _BETWEEN_DIGITS)
    if b"?" in bones and not text.isascii() and _OTHER_DIGIT(text):
        digits = _ANY_DIGITS
    introduced = INTRODUCTIONS if b"name" in narrowed else ()
    if not _AMID(bones):
        return digits, introduced
    words = _WORD_BEFORE(narrowed[::-1])
    has_given = _TWO(bones) and not _CLEAR_TAILS.isdisjoint(_FIRST_OF_TWO(narrowed))
    given = _GIVEN if has_given else ()
    if _CUE_WORDS.isdisjoint(words):
        return digits, (*introduced, *given)
    return digits, (*introduced, *given, *_announced(words, text.lower()))


def _announced(words: Iterable[bytes], lowered: str) -> Iterator[Find]:
    cues = {id(cue): cue for word in words for cue in _CUES_OF.get(word, ())}
    for cue in cues.values():
        if not cue.also or _has_one(lowered, cue.also):
            yield cue.find


def _has_one(lowered: str, parts: Iterable[str]) -> bool:
    for part in parts:  # noqa: SIM110 - as in rule.has_any
        if part in lowered:
            return True
    return False
