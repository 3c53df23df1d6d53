"""CURATE: prose that nobody wrote to be read: noise, mashed keys, encoded data.

Letters and digits are counted in bytes, so a letter of another script weighs more: scripts that
Latin's rules know nothing of are never noise. Pure.
"""

from __future__ import annotations

import re

MIN_VISIBLE_CHARS = 40  # our choice: a short answer may be a formula or a face
MIN_WORDS = 8  # our choice: of four letters or more
_ASCII_SIGNS = bytes(byte for byte in range(128) if not chr(byte).isalnum())
_SPACES = b" \t\n\r\x0b\x0c"
# What is no prose and no noise: formulas, code in lines, addresses, tables and rules
_MEANT = re.compile(
    r"\$\$.*?\$\$|\$[^$\n]+\$|\\\[.*?\\\]|\\\(.*?\\\)|`[^`\n]*`|https?://\S+|^\s*\|.*$|[-=_*#.~+|]{3,}",
    re.S | re.M,
)
_DATA_START = ("{", "[", "<")  # JSON, XML or code without a fence
_WORD = re.compile(r"(?<![^\W\d_])[a-z]{4,}(?![^\W\d_])")
# No vowel, y or w (Welsh has both as vowels); or six consonants in a row
_ODD_WORD = re.compile(r"[bcdfghjklmnpqrstvxz]+\Z|[a-z]*?[bcdfghjklmnpqrstvxz]{6}")

_KNOWN = frozenset(
    ("html", "http", "https", "xhtml", "grpc", "smtp", "sftp", "ftps", "dhcp", "mdns", "snmp")
)

# For Arrow: a word of the kind that `odd_word_share` counts
ODD_WORD_SIGN = r"\b[bcdfghjklmnpqrstvxz]{4,}\b|[bcdfghjklmnpqrstvxz]{6}"


def letter_share(prose: str, enough: float) -> float:
    """Return the share of letters and digits in what can be seen; 1 where little can be.

    Below `enough`, what is meant to have signs is left out, and counted again.
    """
    share = _share(prose)
    if share < enough and not prose.lstrip().startswith(_DATA_START):
        return _share(_MEANT.sub(" ", prose))
    return max(share, enough)


def odd_word_share(prose: str) -> float:
    """Return the share of different words that nobody can say; 0 where there are few words."""
    words = set(_WORD.findall(prose))
    if len(words) < MIN_WORDS:
        return 0.0
    odd = sum(_ODD_WORD.match(word) is not None and word not in _KNOWN for word in words)
    return odd / len(words)


def longest_word(prose: str) -> int:
    """Return the characters of the longest word of ASCII that is no address."""
    words = (word for word in prose.split() if word.isascii() and "://" not in word)
    return max(map(len, words), default=0)


def _share(prose: str) -> float:
    visible = prose.encode().translate(None, _SPACES)
    if len(visible) < MIN_VISIBLE_CHARS:
        return 1.0
    return len(visible.translate(None, _ASCII_SIGNS)) / len(visible)
