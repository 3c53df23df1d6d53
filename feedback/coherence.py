"""Whether a feedback's values fit its kind; a producer that is not ours may send anything.

An event goes in and comes out, or is refused with a reason. Pure.
"""

from __future__ import annotations

import math
from typing import get_args

from feedback.events import FeedbackGiven, FeedbackKind, ImplicitKind, Received

VALUES = ("thumbs", "rating", "name", "number", "text", "other")
# kind: values that must be there, values that may be
_SHAPES: dict[FeedbackKind, tuple[frozenset[str], frozenset[str]]] = {
    "thumbs": (frozenset({"thumbs"}), frozenset()),
    "rating": (frozenset({"rating"}), frozenset()),
    "score": (frozenset({"name", "number"}), frozenset()),
    "comment": (frozenset({"text"}), frozenset()),
    "correction": (frozenset({"text"}), frozenset()),
    "preference": (frozenset({"other"}), frozenset()),
    "flag": (frozenset(), frozenset({"name"})),
    **{kind: (frozenset(), frozenset()) for kind in get_args(ImplicitKind)},
    "regenerated": (frozenset(), frozenset({"other"})),
}
_RETRACTION = (frozenset[str](), frozenset({"name", "other"}))


def coherent(received: Received) -> Received:
    """Return what was received.

    Raises: ValueError when a feedback's values do not fit its kind.
    """
    event = received.event
    if not isinstance(event, FeedbackGiven):
        return received
    must, may = _RETRACTION if event.retracted else _SHAPES[event.kind]
    given = {name for name in VALUES if getattr(event, name) is not None}
    if not must <= given <= must | may:
        wanted = ", ".join(sorted(must)) or "no value"
        raise ValueError(
            f"a feedback of kind {event.kind} must have {wanted}, not {', '.join(sorted(given))}"
        )
    if event.rating is not None and not 1 <= event.rating <= 5:
        raise ValueError(f"rating is {event.rating}, not 1 to 5")
    if event.number is not None and not math.isfinite(event.number):
        raise ValueError(f"number is {event.number}, not finite")
    return received
