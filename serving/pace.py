"""SERVE, pure: how fast the tokens of one stream came.

The moments at which events with text came in, in seconds since the request, go in; time to first
token and mean inter-token latency come out. Knows nothing of what the events said.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Pace:
    """The pace so far. `events` counts those with text; vLLM sends one a token, or for several."""

    first_s: float | None = None
    last_s: float | None = None
    events: int = 0

    def note(self, elapsed_s: float) -> None:
        """Take in that text came, `elapsed_s` after the request."""
        if self.first_s is None:
            self.first_s = elapsed_s
        self.last_s = elapsed_s
        self.events += 1

    def tokens(self, counted: int | None) -> int | None:
        """Return the engine's count, or without it (a stream cut short) what came at least.

        A count of 0 is what some streams begin with, and stays if they are cut short.
        """
        return counted or self.events or counted

    def itl_s(self, counted: int | None) -> float | None:
        """Return the mean time from token to token; None for fewer than two.

        Source: vLLM's bench/serve.py, "TPOT": the time after the first token over the others.
        """
        tokens = self.tokens(counted)
        if self.first_s is None or self.last_s is None or tokens is None or tokens < 2:
            return None
        return (self.last_s - self.first_s) / (tokens - 1)
