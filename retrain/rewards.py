"""What an answer is worth by rule alone: texts go in, numbers from 0 to 1 come out. Pure.

Rewards that can be computed need no reward model, and cannot be talked into anything: RLOO and
GRPO take them alone or beside one. Knows nothing of models.
"""

from __future__ import annotations

import re
from collections.abc import Sequence


def length_reward(answer: str, low: int, high: int) -> float:
    """Return 1 for an answer of `low` to `high` characters, less the further it is from there.

    Below `low` it falls to 0 at nothing said, above `high` to 0 at three times as much.
    """
    length = len(answer)
    if length < low:
        return length / low
    return max(0.0, 1.0 - max(0, length - high) / (2 * high))


def pattern_reward(answer: str, pattern: str) -> float:
    """Return 1 for an answer in which the regular expression is found, else 0."""
    return float(re.search(pattern, answer) is not None)


def length_rewards(answers: Sequence[str], bounds: tuple[int, int]) -> list[float]:
    """Return the length reward of each answer."""
    return [length_reward(answer, *bounds) for answer in answers]


def pattern_rewards(answers: Sequence[str], pattern: str) -> list[float]:
    """Return the pattern reward of each answer."""
    return [pattern_reward(answer, pattern) for answer in answers]
