"""Passwords, as they are kept: scrypt's salt and hash in one text, checked in constant time.

Pure but for randomness. A text such as `scrypt$17$8$1$<salt>$<hash>` keeps its own cost, so that a
later Ratchet may raise it for new ones. Knows nothing of users.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import b64decode, b64encode
from threading import BoundedSemaphore

from core.errors import RequestError

# 128 MB and some 0.4 s each. Source: OWASP Password Storage Cheat Sheet, scrypt N=2^17, r=8, p=1
LOG2_COST, BLOCK, LANES = 17, 8, 1
SALT_BYTES, HASH_BYTES = 16, 32
MIN_CHARS = 12  # Source: NIST SP 800-63B-4, 3.1.1.2: 15 alone, 8 with more; OWASP ASVS 5, 6.2.1
MAX_CHARS = 256
_AT_ONCE = BoundedSemaphore(2)  # sign-ins at once: each holds 128 MB


def hash_password(password: str) -> str:
    """Return what is kept of a password. Raises: RequestError when it is too short or long."""
    if not MIN_CHARS <= len(password) <= MAX_CHARS:
        raise RequestError(
            f"the password has {len(password)} characters: take {MIN_CHARS} to {MAX_CHARS}",
            field="password",
        )
    salt = secrets.token_bytes(SALT_BYTES)
    made = _scrypt(password, salt, LOG2_COST, BLOCK, LANES)
    texts = (b64encode(part).decode() for part in (salt, made))
    return "$".join(("scrypt", str(LOG2_COST), str(BLOCK), str(LANES), *texts))


def is_right(password: str, kept: str | None) -> bool:
    """Return whether the password is the one kept; without one as long a time passes, and False."""
    if kept is None:
        _scrypt(password[:MAX_CHARS], b"-" * SALT_BYTES, LOG2_COST, BLOCK, LANES)
        return False
    _, cost, block, lanes, salt, wanted = kept.split("$")
    made = _scrypt(password[:MAX_CHARS], b64decode(salt), int(cost), int(block), int(lanes))
    return hmac.compare_digest(made, b64decode(wanted))


def _scrypt(password: str, salt: bytes, log2_cost: int, block: int, lanes: int) -> bytes:
    plain = password.encode(errors="surrogatepass")
    cost = 1 << log2_cost
    memory = 128 * block * (cost + lanes + 2)
    with _AT_ONCE:
        return hashlib.scrypt(
            plain, salt=salt, n=cost, r=block, p=lanes, maxmem=memory, dklen=HASH_BYTES
        )
