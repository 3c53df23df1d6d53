"""Answers that refuse, as a number of the gate. Pure; the patterns are `core.refusals`."""

from __future__ import annotations

from core import refusals


def refuses(answer: str) -> float:
    """Return 1 if the answer begins by refusing, else 0."""
    return float(refusals.refuses(answer))
