"""Task scores of answers against references: token-F1 and exact match. Pure.

Source: Rajpurkar et al. 2016 (SQuAD), section 6.1; fine-tuning guide, "Quantitative Evaluation".
Words are runs of letters and digits, so languages without spaces score coarsely.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """Return the words of `text` in lower case, without punctuation."""
    return _WORD.findall(text.lower())


def token_f1(answer: str, reference: str) -> float:
    """Return the harmonic mean of word precision and recall, 0-1; two empty texts agree."""
    given, wanted = words(answer), words(reference)
    if not given or not wanted:
        return float(given == wanted)
    common = (Counter(given) & Counter(wanted)).total()
    return 2.0 * common / (len(given) + len(wanted))


def exact_match(answer: str, reference: str) -> bool:
    """Return whether both have the same words in the same order."""
    return words(answer) == words(reference)


def mean(values: Sequence[float]) -> float:
    """Return the mean, or NaN of nothing."""
    return sum(values) / len(values) if values else float("nan")
