"""Classifications by a model that answers in words: which label an answer names. Pure.

Labels, answers and references go in; hits by question, and F1 over all, come out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence


def label_of(answer: str, labels: Sequence[str]) -> str | None:
    """Return the one label that the answer names, in whatever case; None for none or several.

    Of labels within each other ("spam", "not spam") the longest counts.
    """
    found: list[str] = []
    text = answer.casefold()
    for label in sorted(labels, key=lambda name: (-len(name), name)):
        pattern = rf"(?<!\w){re.escape(label.casefold())}(?!\w)"
        if re.search(pattern, text):
            found.append(label)
            text = re.sub(pattern, " ", text)
    return found[0] if len(found) == 1 else None


def accuracy(answer: str, reference: str, labels: Sequence[str]) -> float:
    """Return 1 if the answer names the reference's label and no other, else 0."""
    return float(label_of(answer, labels) == label_of(reference, labels) is not None)


def macro_f1(answers: Sequence[str], references: Sequence[str], labels: Sequence[str]) -> float:
    """Return the mean over labels of F1, 0-1; a label that never occurs and is never named is left
    out.
    """
    hits, named, wanted = Counter[str](), Counter[str](), Counter[str]()
    for answer, reference in zip(answers, references, strict=True):
        given, right = label_of(answer, labels), label_of(reference, labels)
        if given is not None:
            named[given] += 1
        if right is not None:
            wanted[right] += 1
            hits[right] += given == right
    scores = [
        2.0 * hits[label] / (named[label] + wanted[label])
        for label in labels
        if named[label] + wanted[label]
    ]
    return sum(scores) / len(scores) if scores else 0.0
