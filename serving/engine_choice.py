"""SERVE, pure: which of several engines answers a request, and how long a sick one is left alone.

In come the engines' loads, a key (requests that begin alike have the same one) and failures in a
row; out come an engine or a pause in seconds. Requests with the same key meet the same engine,
whose prefix cache holds their beginning, as long as it has not much more to do than the others.
Knows nothing of HTTP, adapters or the clock.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HealthRules:
    """When an engine is left out, and how often it is looked at."""

    check_every_s: float
    eject_after: int
    longest_ejection_s: float


def choose_engine(loads: Mapping[str, int], key: bytes, load_factor: float) -> str:
    """Return an engine of `loads` (name → requests in flight, at least one engine).

    The key's own engine, by rendezvous hashing, while its load stays below `load_factor` times
    the mean; else the least loaded one. An engine that comes or goes moves only its own keys.

    Source: Thaler and Ravishankar 1998 (rendezvous hashing); Mirrokni, Thorup and Zadimoghaddam
    2017, "Consistent Hashing with Bounded Loads", for the bound.
    """
    if len(loads) == 1:
        return next(iter(loads))
    preferred = max(loads, key=lambda engine: _weight(engine, key))
    limit = math.ceil(load_factor * (sum(loads.values()) + 1) / len(loads))
    if loads[preferred] < limit:
        return preferred
    return min(loads, key=lambda engine: (loads[engine], -_weight(engine, key)))


def is_ejected(failures: int, rules: HealthRules) -> bool:
    """Return whether an engine that failed so often in a row gets no requests."""
    return failures >= rules.eject_after


def check_pause_s(failures: int, rules: HealthRules) -> float:
    """Return the seconds until the next look; doubles while the engine stays away."""
    beyond = failures - rules.eject_after
    if beyond <= 0:
        return rules.check_every_s
    longest_s = max(rules.longest_ejection_s, rules.check_every_s)
    return min(longest_s, rules.check_every_s * 2.0 ** min(beyond, 30))


def _weight(engine: str, key: bytes) -> int:
    digest = hashlib.blake2b(engine.encode() + b"\x00" + key, digest_size=8).digest()
    return int.from_bytes(digest, "big")
