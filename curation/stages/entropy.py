"""CURATE: strings so random that they may be keys, whatever they are called.

The rules of `feedback.redaction` know keys by their form or by the words before them. This one asks
how a string is made: letters of both cases and digits, mixed as no identifier mixes them. Hashes
and numbers in hexadecimal are left alone, since nothing tells them from a commit or a digest. Pure.
"""

from __future__ import annotations

import re
from collections import Counter
from math import log2

# For Arrow: a token as long as the shortest that counts
LONG_TOKEN = r"[A-Za-z0-9+/_-]{24}"
_TOKEN = re.compile(
    r"(?<![A-Za-z0-9+/_-])(?<!\w\.)[A-Za-z0-9+/_-]{24,512}+={0,2}(?![A-Za-z0-9+/_-]|\.\w)"
)
_DIGEST = re.compile(r"sha\d{3}-")
# Our measurements, over random strings and the identifiers of 4,000 files of Python
MIN_BITS = 3.8  # a character; 24 random letters and digits have 4.3 ± 0.1
MIN_CHANGES = 0.38  # of neighbours, those of unlike class; 0.62 in random letters and digits
MAX_WORDS = 0.3  # of characters, those in words of small letters: Wav2Vec2BertSelfAttention
_CLASSES = str.maketrans(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789bcdefghijklmnopqrstuvwxyz",
    "A" * 26 + "0" * 10 + "a" * 25,
)
_WORD = re.compile(r"[a-z]{4,}")
_CHANGE = re.compile(r"(?=aA|Aa|a0|0a|A0|0A)")


def has_random(text: str) -> bool:
    """Tell whether `text` holds a string that may be a key."""
    return any(is_random(match.group()) for match in _TOKEN.finditer(text))


def is_random(token: str) -> bool:
    """Tell a random string of letters of both cases and digits."""
    if _DIGEST.match(token):
        return False
    classes = token.translate(_CLASSES)
    if not ("a" in classes and "A" in classes and classes.count("0") > 1):
        return False
    changes = len(_CHANGE.findall(classes))
    if changes < MIN_CHANGES * (len(token) - 1):
        return False
    if sum(map(len, _WORD.findall(token))) > MAX_WORDS * len(token):
        return False
    shares = (number / len(token) for number in Counter(token).values())
    return -sum(share * log2(share) for share in shares) >= MIN_BITS
