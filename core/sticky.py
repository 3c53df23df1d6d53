"""Where a unit (a subject, or an interaction without one) stands in a rollout: pure, for ever.

The gateway assigns arms by it; monitoring tells by it in which arm a subject will end up.
"""

from __future__ import annotations

import hashlib

_POSITIONS = 1 << 64


def position(application: str, salt: str, unit: str) -> float:
    """Return where `unit` stands in [0, 1): uniform over units, independent between salts.

    It is in the canary arm of a rollout while this is below the canary's share.
    """
    digest = hashlib.sha256(f"{salt}\x00{application}\x00{unit}".encode()).digest()
    # 53 bits, as many as a float holds: with 64 the largest would round up to 1.0
    return (int.from_bytes(digest[:8], "big") >> 11) / (_POSITIONS >> 11)
