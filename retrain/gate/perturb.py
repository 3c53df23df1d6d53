"""Prompts as people really type them: the same question with slips, for tests of robustness. Pure.

Texts and a seed go in, other texts come out; equal seeds give equal ones. What is between
backticks, in an address or a number stays, since a slip there asks for something else.

Source: the fine-tuning guide, "Benchmark Suite Creation" (edge cases); Belinkov and Bisk 2018,
arXiv 1711.02173, for keyboard slips, swaps and missing letters.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping

SLIP_SHARE = 0.1  # of words; Belinkov and Bisk's natural noise has 5 to 15 %
MIN_WORD = 4  # shorter ones become other words

# Neighbours on a QWERTY keyboard.
NEIGHBOURS = {
    "a": "qs", "b": "vn", "c": "xv", "d": "sf", "e": "wr", "f": "dg", "g": "fh", "h": "gj",
    "i": "uo", "j": "hk", "k": "jl", "l": "k", "m": "n", "n": "bm", "o": "ip", "p": "o",
    "q": "wa", "r": "et", "s": "ad", "t": "ry", "u": "yi", "v": "cb", "w": "qe", "x": "zc",
    "y": "tu", "z": "x",
}  # fmt: skip

_PLAIN_WORD = re.compile(r"(?<![\w`@./:-])[^\W\d_]{4,}(?![\w`@/:-])")
_PUNCTUATION = re.compile(r"(?<=\w)[,;:](?=\s)|(?<=\w)[.!?](?=\s|$)")


def typos(text: str, seed: int) -> str:
    """Return the text with slips in a tenth of its longer words, and in one at least."""
    draw = random.Random(f"typos {seed} {text}")
    words = list(_PLAIN_WORD.finditer(text))
    if not words:
        return text
    chosen = draw.sample(words, max(1, round(SLIP_SHARE * len(words))))
    for word in sorted(chosen, key=lambda found: -found.start()):
        text = text[: word.start()] + _slip(word.group(), draw) + text[word.end() :]
    return text


def lower_case(text: str, seed: int) -> str:
    """Return the text as somebody writes it who never presses shift."""
    return text.lower()


def upper_case(text: str, seed: int) -> str:
    """Return the text as somebody writes it who is angry."""
    return text.upper()


def unpunctuated(text: str, seed: int) -> str:
    """Return the text without the signs between and after its words."""
    return _PUNCTUATION.sub("", text)


def spaced(text: str, seed: int) -> str:
    """Return the text with odd spaces and line breaks, as pasted from elsewhere."""
    draw = random.Random(f"spaced {seed} {text}")
    return re.sub(r"(?<=\w) (?=\w)", lambda _: draw.choice((" ", " ", "  ", "\n")), text) + " \n"


PERTURBATIONS: Mapping[str, Callable[[str, int], str]] = {
    "typos": typos,
    "lower_case": lower_case,
    "upper_case": upper_case,
    "unpunctuated": unpunctuated,
    "spaced": spaced,
}


def _slip(word: str, draw: random.Random) -> str:
    """Return the word with one slip; its first letter stays, by which people know it."""
    at = draw.randrange(1, len(word) - 1)
    letter = word[at]
    kind = draw.choice(("swap", "drop", "double", "neighbour"))
    if kind == "swap" and letter != word[at + 1]:
        return word[:at] + word[at + 1] + letter + word[at + 2 :]
    if kind == "drop":
        return word[:at] + word[at + 1 :]
    near = NEIGHBOURS.get(letter.lower())
    if kind == "neighbour" and near:
        return word[:at] + draw.choice(near) + word[at + 1 :]
    return word[:at] + letter + word[at:]
