"""The job that keeps the console's hourly metrics up to date.

Parts go in, a line on what was done comes out. The work is `monitoring.hours`. Run as a job, and
by hand with `ratchet console roll-up`.
"""

from __future__ import annotations

from core.clock import utc_now
from loop.wiring import Parts
from monitoring.hours import roll_up


def roll_up_metrics(parts: Parts, *, everything: bool = False) -> str:
    """Make stale hours anew; return how many, or that there were none."""
    hours = roll_up(parts.store, utc_now(), everything=everything)
    return f"{hours} hours of metrics made anew" if hours else "the metrics are up to date"
