"""Times as people write them: `90d`, `12h`, `30m`, `10s`. Pure."""

from __future__ import annotations

import re
from datetime import timedelta

from core.errors import RequestError

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def duration(text: str, option: str) -> timedelta:
    """Return the time that `text` names: a whole number and s, m, h or d.

    Raises: RequestError.
    """
    match = re.fullmatch(r"(\d{1,6})([smhd])", text.strip())
    if match is None:
        raise RequestError(
            f"--{option} is {text!r}: write a number and s, m, h or d, such as 90d", field=option
        )
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
