"""Windows of features as a job: new interactions of every application → what was made, in a line.

For the scheduler and `ratchet drift windows`. Knows only how to say what was made.
"""

from __future__ import annotations

from core.clock import utc_now
from loop.wiring import Parts
from monitoring.windows.collecting import Collected, collect


def collect_windows(parts: Parts) -> str:
    """Collect the windows that are due, and return what was made.

    Raises: DataError when a stored reference cannot be read, SettingsError without the encoder.
    """
    told = [told_of(one) for one in collect(parts.store, parts.settings, utc_now())]
    return "; ".join(filter(None, told)) or "nothing new"


def told_of(collected: Collected) -> str:
    """Return in words what was made; nothing if nothing was."""
    made = [f"reference {reference.kind}" for reference in collected.references]
    if window := collected.window:
        made.append(f"a window of {window.rows:,} interactions, {window.sampled_rows:,} read")
    scope = collected.scope
    return f"{scope.application}, {scope.name}: {', '.join(made)}" if made else ""
