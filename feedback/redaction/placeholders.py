"""Placeholders: `[EMAIL_1]` for the first e-mail of a conversation, and what two of them share.

A value gets a number when it first appears, in the order of the texts, so that the next request
of a conversation gives the same numbers. A fingerprint of each value, keyed and bound to its
interaction, lets a correction be numbered like the interaction it corrects. Pure.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping

PLACEHOLDER = re.compile(r"\[([A-Z][A-Z0-9_]{0,63})_([1-9]\d{0,5})\]")
FINGERPRINT_HEX_CHARS = 12  # 48 bits: within one interaction no two values will share one
_LETTERS_AND_DIGITS = frozenset({"CARD", "IBAN", "NATIONAL_ID", "BIRTH_DATE", "ADDRESS"})


class Numbering:
    """The placeholders of one conversation; `reserved` are in its texts already."""

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self._reserved = set(reserved)
        self._last: dict[str, int] = {}  # number given last, by entity
        self._of: dict[tuple[str, str], str] = {}  # by entity and normalised value

    def __bool__(self) -> bool:
        """Whether anything has got a number."""
        return bool(self._of)

    def reserve(self, placeholders: Iterable[str]) -> None:
        """Keep these, which stand in a text as text, from being given to a value."""
        self._reserved.update(placeholders)

    def of(self, entity: str, value: str) -> str:
        """Return the placeholder of `value`, a new one if it has none yet."""
        key = (entity, normalised(entity, value))
        placeholder = self._of.get(key)
        if placeholder is None:
            placeholder = self._of[key] = self._next(entity)
        return placeholder

    def fingerprints(self, key: bytes, interaction_id: str) -> dict[str, str]:
        """Return the fingerprint of what each placeholder stands for."""
        return {
            placeholder: fingerprint(key, interaction_id, entity, value)
            for (entity, value), placeholder in self._of.items()
        }

    def _next(self, entity: str) -> str:
        number = self._last.get(entity, 0) + 1
        while f"[{entity}_{number}]" in self._reserved:
            number += 1
        self._last[entity] = number
        return f"[{entity}_{number}]"


def normalised(entity: str, value: str) -> str:
    """Return what is equal for equal values: without case, and without spaces in numbers."""
    if entity == "SECRET":
        return value
    if entity == "PHONE":
        digits = re.sub(r"\D", "", value.replace("(0)", ""))
        return f"+{digits}" if value.startswith("+") else re.sub(r"^00", "+", digits)
    if entity in _LETTERS_AND_DIGITS:
        return re.sub(r"[\W_]", "", value).casefold()
    return " ".join(value.split()).casefold()


def fingerprint(key: bytes, interaction_id: str, entity: str, value: str) -> str:
    """Return the keyed fingerprint of a normalised value, 12 hex characters.

    Bound to its interaction: equal values of two interactions have unlike fingerprints.
    """
    # The zero at the start keeps it apart from subject hashes, which the same key makes
    message = "\x00".join(("", "redaction", interaction_id, entity, value)).encode()
    return hmac.new(key, message, "sha256").hexdigest()[:FINGERPRINT_HEX_CHARS]


def aligned(text: str, own: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    """Return `text`, numbered by its `own` redactions, with the placeholders of `theirs`.

    What both hide gets the placeholder that `theirs` has; what only `text` hides gets the next
    free number. A placeholder that `own` does not know is text, and stays.
    """
    if not own or own == theirs:
        return text
    of_value = {value: placeholder for placeholder, value in theirs.items()}
    as_text = {match[0] for match in PLACEHOLDER.finditer(text)} - set(own)
    fresh = Numbering(reserved={*theirs, *as_text})

    def renumbered(match: re.Match[str]) -> str:
        value = own.get(match[0])
        if value is None:
            return match[0]
        return of_value.get(value) or fresh.of(match[1], value)

    return PLACEHOLDER.sub(renumbered, text)
