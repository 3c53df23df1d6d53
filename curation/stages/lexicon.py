"""CURATE: the lexicons of `lexicons/*.txt`, read once and made one regular expression each.

A lexicon's categories are named groups of its expression, so a match tells its category. Words
match as wholes, in any case. The same source also gives the wider pattern with which Arrow finds
the rows worth a look. Words are looked for as the encoding stage leaves them, in NFC.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files

FOLDER = files("curation.stages") / "lexicons"
_ANY_ENDING = r"[^\W\d_]*"
_EDGE = r"[^\p{L}\p{N}_]"  # RE2 has no border of words but of ASCII's
_DEFINITION = re.compile(r"(group) (\w+) (\w+): (.+)|(trait|pattern) (\w+): (.+)")


@dataclass(frozen=True, slots=True)
class Lexicon:
    """What is looked for. `sign` is for Arrow: it is found in all that `pattern` is."""

    pattern: re.Pattern[str]
    sign: str

    def find(self, text: str) -> Iterator[re.Match[str]]:
        """Yield the matches; a match's `lastgroup` is its category."""
        return self.pattern.finditer(text)


def of_words(lexicons: Mapping[str, Iterable[str]]) -> Lexicon:
    """Return the lexicon of words and phrases by category."""
    found = {category: list(map(_word, words)) for category, words in lexicons.items()}
    sign = "|".join(pattern for patterns in found.values() for pattern in patterns)
    return Lexicon(_compiled(found), sign.replace(_ANY_ENDING, ""))


def words_of(name: str) -> tuple[str, ...]:
    """Return the words and phrases of a file."""
    return tuple(_lines(name))


def of_statements(name: str) -> Lexicon:
    """Return the lexicon of a file of groups, traits and patterns."""
    groups: dict[tuple[str, str], list[str]] = {}
    traits: dict[str, str] = {}
    patterns: dict[str, list[str]] = defaultdict(list)
    for line in _lines(name):
        match = _DEFINITION.fullmatch(line)
        if match is None:
            raise ValueError(f"{name}: {line!r} is no group, trait or pattern")
        if match[1]:
            groups[match[2], match[3]] = [_word(word) for word in match[4].split("|")]
        elif match[5] == "trait":
            traits[match[6]] = _any(map(_word, match[7].split("|")))
        else:
            patterns[match[6]].append(match[7])
    found: dict[str, list[str]] = defaultdict(list)
    for (category, language), names in groups.items():
        for pattern in patterns[language]:
            whole = pattern.replace("{group}", _any(names)).replace("{trait}", traits[language])
            found[category].append(whole)
    # Whole statements are too large for a quick search: Arrow looks for the groups
    every = "|".join(name for names in groups.values() for name in names)
    return Lexicon(_compiled(found), rf"(?:\A|{_EDGE})(?:{every})(?:{_EDGE}|\z)")


def _compiled(categories: Mapping[str, list[str]]) -> re.Pattern[str]:
    named = "|".join(f"(?P<{name}>{'|'.join(patterns)})" for name, patterns in categories.items())
    return re.compile(rf"(?i)(?<!\w)(?:{named})(?!\w)")


def _lines(name: str) -> Iterator[str]:
    text = (FOLDER / name).read_text("utf-8")
    lines = (line.strip() for line in text.splitlines())
    return (line for line in lines if line and not line.startswith("#"))


def _any(patterns: Iterable[str]) -> str:
    return f"(?:{'|'.join(patterns)})"


def _word(word: str) -> str:
    """Return a pattern of a word or phrase, in which ' is any apostrophe and * any ending."""
    parts = (re.escape(part).replace("'", "['\u2019]") for part in word.strip().split())
    return r"\s+".join(parts).replace(r"\*", _ANY_ENDING)
