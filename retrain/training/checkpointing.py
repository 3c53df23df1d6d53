"""Checkpoints by the clock, beside those by steps: what a spot machine loses is at most so much.

A recipe's `checkpoint_every_minutes` goes in; TRL's trainers are told to save. Imports
transformers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback


class EveryMinutes(TrainerCallback):
    """Asks for a checkpoint when the last one is older than `minutes`."""

    def __init__(self, minutes: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._every_s = minutes * 60.0
        self._clock = clock
        self._saved_s = clock()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock."""
        self._saved_s = self._clock()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask, when it is time."""
        if self._clock() - self._saved_s >= self._every_s:
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start anew, whoever asked for this one."""
        self._saved_s = self._clock()
