"""What a training learns from and is watched on, whichever trainer takes it. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Material(Generic[T]):
    """Examples as a trainer takes them, and how many there were."""

    train: list[T]
    validation: list[T]
    new_examples: int
    skipped_too_long: int
