"""Shows a set-up step by step: one living line on a terminal, a few plain lines elsewhere."""

from __future__ import annotations

import sys
import time

ERASE_LINE = "\r\x1b[K"


class Progress:
    """Numbers the steps, `[2/6] …`, and says how long each took."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._number = 0
        self._title = ""
        self._started = time.monotonic()
        self._live = sys.stdout.isatty()

    def begin(self, title: str) -> None:
        """Start the next step."""
        self._number += 1
        self._title = f"[{self._number}/{self._steps}] {title}"
        self._started = time.monotonic()
        self._print(self._title, passing=True)

    def note(self, text: str, *, passing: bool = True) -> None:
        """Show what the step is at; a `passing` note is only for people who watch."""
        self._print(f"{self._title}: {text}", passing=passing)

    def done(self) -> None:
        """Close the step with the time it took."""
        self._print(f"{self._title}: {time.monotonic() - self._started:.0f} s", passing=False)

    def end_line(self) -> None:
        """Leave the living line, so that what follows starts on its own."""
        if self._live:
            print(flush=True)

    def _print(self, text: str, *, passing: bool) -> None:
        if self._live:
            print(f"{ERASE_LINE}{text[:110]}", end="" if passing else "\n", flush=True)
        elif not passing:
            print(text, flush=True)
