"""CARD and IBAN: numbers that money moves by, told by their check digits.

People write them in groups, with other numbers beside them: each longest row of groups that is
one counts. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from feedback.redaction.check_digits import luhn, mod_97
from feedback.redaction.rule import SEVEN_DIGITS, THIRTEEN_DIGITS, Find, Place, Rule, finds

_IBAN_RUN = re.compile(
    r"\b[A-Za-z]{2}\d{2}"
    r"(?:[A-Za-z0-9]{11,30}+|(?: [A-Za-z0-9]{4}){2,7}+(?: [A-Za-z0-9]{1,3}\b)?)"
)
_IBAN_SHAPE = re.compile(r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}")
_CARD_RUN = re.compile(r"\d(?<![\w.].)(?:(?:[ -]|\r?\n)?\d){12,}+")
# Visa, Mastercard, Diners Club, American Express, Discover, UnionPay: the issuers' own ranges.
_CARD_SHAPE = re.compile(
    r"4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}|2[2-7]\d{14}|3[47]\d{13}|3[0689]\d{12}|6\d{15,18}"
)
_GROUP = re.compile(r"[A-Za-z0-9]+")
MAX_GROUPS = 9  # an IBAN of 34 characters in fours; a card has fewer
MIN_CODE_CHARS = 13  # the shortest card; the shortest IBAN has 15


def _is_card(digits: str) -> bool:
    return _CARD_SHAPE.fullmatch(digits) is not None and luhn(digits)


def _is_iban(text: str) -> bool:
    code = text.upper()
    return _IBAN_SHAPE.fullmatch(code) is not None and mod_97(code)


def _within(pattern: re.Pattern[str], is_it: Callable[[str], bool]) -> Find:
    """Return what finds, in each run that `pattern` finds, the longest rows of groups."""

    def find(text: str) -> Iterator[Place]:
        for run in pattern.finditer(text):
            groups = list(_GROUP.finditer(text, *run.span()))
            if text[run.end() : run.end() + 1].isalnum():  # the last group is part of a word
                groups.pop()
            yield from _rows(groups, is_it)

    return find


def _rows(groups: list[re.Match[str]], is_it: Callable[[str], bool]) -> Iterator[Place]:
    first = 0
    while first < len(groups):
        after = _row_end(groups, first, is_it)
        if after is None:
            first += 1
        else:
            yield groups[first].start(), groups[after - 1].end()
            first = after


def _row_end(groups: list[re.Match[str]], first: int, is_it: Callable[[str], bool]) -> int | None:
    """Return the group after the longest row from `first` that `is_it`, None if none is."""
    for after in range(min(len(groups), first + MAX_GROUPS), first, -1):
        code = "".join(group.group() for group in groups[first:after])
        if len(code) < MIN_CODE_CHARS:
            return None
        if is_it(code):
            return after
    return None


RULES = (
    Rule("IBAN", finds(r"\d\d(?<=\b[A-Za-z]{2}\d\d)"), _within(_IBAN_RUN, _is_iban), SEVEN_DIGITS),
    Rule(
        "CARD", finds(r"\d(?:(?:[ -]|\r?\n)?\d){12}"), _within(_CARD_RUN, _is_card), THIRTEEN_DIGITS
    ),
)
