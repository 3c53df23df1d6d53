"""CURATE: rows whose form a training can use, and the names of what is wrong with the others.

Schema, role flow, empty, broken and gigantic texts, pairs that prefer nothing, answers that were
cut. Knows nothing of what the texts say. Each check is one search over the table; a row's first
fault is its reason. Source: fine-tuning guide, Data Cleaning, "Validate Schema", and Key
Formatting Principles ("full, well-formed responses").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import get_args

import pyarrow as pa

from curation.stages import fences
from curation.stages.search import (
    contents,
    indices,
    last_texts,
    one_array,
    read,
    read_answers,
    rows_of,
    rows_with,
)
from curation.table import Kind, Outcome, Table, Why, is_taught, pc, roles, sieve

Finding = tuple[int, Why]  # a row, and what is wrong with it

KINDS = get_args(Kind)
ROLES = ("system", "user", "assistant")
# Control characters and U+FFFD, as decoding damage leaves them; surrogates Arrow cannot hold
BROKEN = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x{9f}\x{fffd}]"
_NO_LETTER = r"\A[^0-9A-Za-z]*\z"  # for Arrow: whatever nobody can see has none

# An answer that ends in the middle of a sentence. Precision first, the numbers are our choice: a
# long answer, whose last line is long prose with a whole sentence in it, ends without any sign.
MIN_CUT_CHARS = 500
MIN_CUT_LINE_CHARS = 120
_OPEN_END = r"[\p{L}\p{N},]\z"
_SENTENCE_END = re.compile(r"[.!?…]['\")\u201d\u00bb]? ")
_NO_PROSE = re.compile(r"\s*(?:[-*+•|>#$<{\[]|\d+[.)]\s)|.*(?:https?://\S*|[=;|]\s*\S*)\Z")


@dataclass(frozen=True, slots=True)
class CheckStructure:
    """Leaves out the rows whose form is wrong."""

    max_message_chars: int

    def __call__(self, table: Table) -> Outcome:
        """Return the sound rows, and the others with the first fault of each."""
        why: list[Why | None] = [None] * table.num_rows
        for check in (
            self._ill_formed,
            _wrong_roles,
            _empty,
            _broken,
            self._gigantic,
            _equal,
            _cut,
        ):
            for row, reason in check(table):
                why[row] = why[row] or reason
        return sieve(table, why)

    def _ill_formed(self, table: Table) -> Iterator[Finding]:
        """Find what the columns of its kind do not say."""
        kinds = one_array(table["kind"])
        known = pc.is_in(kinds, value_set=pa.array(KINDS, pa.string()))
        yield from ((row, Why("unknown kind")) for row in indices(pc.invert(known)))
        alone = pc.and_(pc.equal(kinds, "pair"), pc.is_null(one_array(table["rejected"])))
        yield from ((row, Why("pair has one answer")) for row in indices(alone))
        mute = pc.and_(pc.equal(kinds, "label"), pc.is_null(one_array(table["label"])))
        yield from ((row, Why("label is missing")) for row in indices(mute))

    def _gigantic(self, table: Table) -> Iterator[Finding]:
        lengths = pc.utf8_length(contents(table))
        rows = rows_of(table, pc.greater(lengths, self.max_message_chars))
        lost = pc.greater(pc.utf8_length(one_array(table["rejected"])), self.max_message_chars)
        found = sorted({*rows, *indices(lost)})
        for row, texts in read(table, found):
            detail = f"{max(map(len, texts))} characters, at most {self.max_message_chars}"
            yield row, Why("message is gigantic", detail)


def _wrong_roles(table: Table) -> Iterator[Finding]:
    for row, names in enumerate(roles(table)):
        if reason := role_fault(tuple(names)):
            yield row, reason


@lru_cache(maxsize=10_000)
def role_fault(names: tuple[str, ...]) -> Why | None:
    """Return what is wrong with the roles of a conversation, or None."""
    if not names:
        return Why("no messages")
    if any(name not in ROLES for name in names):
        return Why("unknown role")
    turns = names[1:] if names[0] == "system" else names
    if len(turns) % 2 or not turns or turns != ("user", "assistant") * (len(turns) // 2):
        return Why("roles do not alternate")
    return None


def _empty(table: Table) -> Iterator[Finding]:
    rows = rows_with(table, _NO_LETTER)
    for row, texts in read(table, rows):
        if not all(map(has_text, texts)):
            yield row, Why("empty text")


def has_text(text: str) -> bool:
    """Tell whether anything of it can be seen: zero-width and other format characters cannot."""
    return any(char.isprintable() and not char.isspace() for char in text)


def _broken(table: Table) -> Iterator[Finding]:
    yield from ((row, Why("broken text")) for row in rows_with(table, BROKEN))


def _equal(table: Table) -> Iterator[Finding]:
    rejected = pc.utf8_trim_whitespace(one_array(table["rejected"]))
    chosen = pc.utf8_trim_whitespace(last_texts(table))
    yield from ((row, Why("answers are equal")) for row in indices(pc.equal(rejected, chosen)))


def _cut(table: Table) -> Iterator[Finding]:
    """Find the answers that a model would learn to break off."""
    taught = one_array(is_taught(table))
    for pattern, is_cut, detail in _CUTS:
        suspect = pc.match_substring_regex(last_texts(table), pattern)
        rows = indices(pc.and_(taught, suspect))
        for row, text in read_answers(table, rows):
            if is_cut(text):
                yield row, Why("answer is cut", detail)


def ends_amid_sentence(text: str) -> bool:
    """Tell whether a long answer ends in prose whose last sentence has no end."""
    if len(text) < MIN_CUT_CHARS:
        return False
    line = text.rstrip().rpartition("\n")[2]
    if len(line) < MIN_CUT_LINE_CHARS or _NO_PROSE.match(line):
        return False
    return _SENTENCE_END.search(line) is not None


_CUTS: tuple[tuple[str, Callable[[str], bool], str], ...] = (
    (r"```|~~~", fences.is_cut, "code block has no end"),
    (_OPEN_END, ends_amid_sentence, "sentence has no end"),
)
