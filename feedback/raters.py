"""How much feedback is taken from whom: a person, and an address.

A rater comes in, and passes or is told when to come again. An address is the connection's peer, or
what a trusted proxy says of its own peer; it is kept in memory only, as a hash that nobody can walk
back. Knows nothing of what is said.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from hashlib import blake2b
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from core.errors import RateLimitError
from core.settings import FeedbackSettings
from feedback.limits import MemoryBudget, Quota

FORWARDED = "x-forwarded-for"

Network = IPv4Network | IPv6Network


class RaterLimits:
    """The limits of one gateway; several gateways each have their own."""

    def __init__(self, settings: FeedbackSettings) -> None:
        self._settings = settings
        self._proxies = [ip_network(text) for text in settings.trusted_proxies]
        self._budget = MemoryBudget()
        self._salt = secrets.token_bytes(16)

    async def require_address(self, peer: str | None, headers: Mapping[str, str]) -> None:
        """Take one feedback from the caller's address. Raises: RateLimitError."""
        per_minute = self._settings.per_address_per_minute
        if per_minute is None or peer is None:
            return
        address = client_address(peer, headers.get(FORWARDED, ""), self._proxies)
        digest = blake2b(address.encode(), digest_size=16, key=self._salt).hexdigest()
        await self._take(f"address/{digest}", per_minute, "address")

    async def require_subject(self, application: str, subject: str | None) -> None:
        """Take one feedback from a person; nobody known has no limit. Raises: RateLimitError."""
        per_minute = self._settings.per_subject_per_minute
        if per_minute is not None and subject is not None:
            await self._take(f"subject/{application}/{subject}", per_minute, "person")

    async def _take(self, name: str, per_minute: int, who: str) -> None:
        wait_s = await self._budget.take(name, Quota(per_minute), 1.0)
        if wait_s > 0:
            raise RateLimitError(
                f"one {who} may give {per_minute} feedback a minute, and has: "
                f"try again in {math.ceil(wait_s)} s",
                retry_after_s=wait_s,
            )


def client_address(peer: str, forwarded: str, proxies: list[Network]) -> str:
    """Return the nearest address that is not a trusted proxy's; `forwarded` is the header."""
    address = peer
    for hop in reversed([part.strip() for part in forwarded.split(",") if part.strip()]):
        if not _is_within(address, proxies):
            break
        address = hop
    return address


def _is_within(address: str, networks: list[Network]) -> bool:
    try:
        parsed = ip_address(address)
    except ValueError:  # what a client wrote into the header itself
        return False
    return any(parsed in network for network in networks)
