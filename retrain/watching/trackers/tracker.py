"""An experiment tracker: whoever keeps numbers per step, for people to look at.

Knows nothing of trainers or files. What a tracker raises is told once, and it is dropped:
`retrain.watching.tracking`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Subject:
    """What is tracked: a run, as trackers name and describe it."""

    run_id: str
    folder: Path  # of the run
    settings: Mapping[str, Any]  # flat: recipe, data, versions
    resumed: bool  # an attempt went before this one


class Tracker(Protocol):
    """Keeps the numbers of one run. A run that goes on after a crash goes on there too."""

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Keep finite numbers of an optimiser step, named as `train/loss`."""
        ...

    def finish(self, *, ok: bool) -> None:
        """Write what is not written yet, and say whether the training ended well."""
        ...
