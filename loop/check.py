"""One finding of `ratchet doctor`: what was looked at, whether it is right, how to mend it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One finding. `ok`: True, False (mend it), or None (not there yet, or only advice)."""

    name: str
    ok: bool | None
    detail: str
    mend: str = ""
