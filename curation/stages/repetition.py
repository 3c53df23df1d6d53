"""CURATE: whether a text repeats itself, by the rules that Gopher's data were filtered with.

Shares of repeated lines, paragraphs and word n-grams; each has its limit in the paper. Words are
what spaces part, so scripts without spaces are judged by their lines alone. Pure.
Source: Rae et al. 2021, Scaling Language Models (arXiv 2112.11446), appendix A1.1, table A1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

# Gopher's own: of the characters, those in the most frequent n-gram, and in repeated ones
TOP_NGRAM_SHARES = {2: 0.20, 3: 0.18, 4: 0.16}
REPEATED_NGRAM_SHARES = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}
MAX_LINE_CHARS_SHARE = 0.2  # of characters, in repeated lines or paragraphs
MIN_WORDS = 50  # Gopher's shortest document: in fewer words a share of n-grams says nothing
MIN_LINES = 4  # our choice: of three short lines two may be equal
LOOPED_WORDS = 6  # our choice: nobody says a word so often in a row


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a text may be repeated. `lines`: of their number; `ngrams`: 1 is Gopher's."""

    lines: float
    ngrams: float


def repetition(prose: str, limits: Limits) -> str | None:
    """Return which part of `prose` is repeated too often, with its share, or None."""
    words = prose.split()
    if _is_looped(words):
        return "words in a row"
    if limits.lines and "\n" in prose:
        for name, parts in (("lines", prose.split("\n")), ("paragraphs", prose.split("\n\n"))):
            if detail := _repeated(name, parts, limits.lines):
                return detail
    if not limits.ngrams or len(words) < MIN_WORDS:
        return None
    return _repeated_ngrams([word.lower() for word in words], limits.ngrams)


def _is_looped(words: Sequence[str]) -> bool:
    """Tell whether a word follows itself again and again."""
    if len(words) < LOOPED_WORDS or len(words) - len(set(words)) < LOOPED_WORDS - 1:
        return False
    run = 1
    for before, word in pairwise(words):
        run = run + 1 if word == before and word[0].isalpha() else 1
        if run == LOOPED_WORDS:
            return True
    return False


def _repeated(name: str, parts: Iterable[str], max_share: float) -> str | None:
    texts = [text for text in map(str.strip, parts) if any(map(str.isalpha, text))]
    if len(texts) < MIN_LINES:
        return None
    first = set(texts)
    if len(first) == len(texts):
        return None
    share = 1 - len(first) / len(texts)
    chars = sum(map(len, texts))
    chars_share = (chars - sum(map(len, first))) / chars
    if share > max_share:
        return f"{share:.0%} of {name}"
    if chars_share > MAX_LINE_CHARS_SHARE:
        return f"{chars_share:.0%} of characters in repeated {name}"
    return None


def _repeated_ngrams(words: Sequence[str], factor: float) -> str | None:
    lengths = [len(word) for word in words]
    total = sum(lengths)
    for n, limit in TOP_NGRAM_SHARES.items():
        ngram, number = Counter(_ngrams(words, n)).most_common(1)[0]
        share = sum(map(len, ngram)) * number / total if number > 1 else 0.0
        if share > limit * factor:
            return f"{share:.0%} in one {n}-gram"
    for n, limit in REPEATED_NGRAM_SHARES.items():
        share = _repeated_chars(words, lengths, n) / total
        if share > limit * factor:
            return f"{share:.0%} in repeated {n}-grams"
        if share <= REPEATED_NGRAM_SHARES[10] * factor:
            return None  # what repeats in longer n-grams repeats in these too
    return None


def _repeated_chars(words: Sequence[str], lengths: Sequence[int], n: int) -> int:
    """Return the characters of words that stand in an n-gram which came before."""
    seen: set[tuple[str, ...]] = set()
    chars = done = 0  # words before `done` are counted
    for start, ngram in enumerate(_ngrams(words, n)):
        if ngram in seen:
            chars += sum(lengths[max(start, done) : start + n])
            done = start + n
        seen.add(ngram)
    return chars


def _ngrams(words: Sequence[str], n: int) -> Iterable[tuple[str, ...]]:
    return zip(*(words[start:] for start in range(n)), strict=False)
