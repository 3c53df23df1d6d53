"""When a vote was given, so that the later of two on one interaction says so.

Which vote counts goes by when each was given, and a machine's wall clock may be set back between
two of them. A gateway remembers the newest votes' times; one that would come before an earlier
vote on its interaction gets the next instant after it. All others keep the clock's time.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime, timedelta

TICK = timedelta(microseconds=1)  # the finest that the store keeps


class VoteOrder:
    """The time of the last vote on each of the newest `remembered` interactions."""

    def __init__(self, remembered: int) -> None:
        self._remembered = remembered
        self._last: OrderedDict[str, datetime] = OrderedDict()

    def given_at(self, interaction_id: str, now: datetime) -> datetime:
        """Return `now`, or the instant after the interaction's last vote if that is later."""
        last = self._last.pop(interaction_id, None)
        given_at = now if last is None else max(now, last + TICK)
        self._last[interaction_id] = given_at
        if len(self._last) > self._remembered:
            self._last.popitem(last=False)
        return given_at
