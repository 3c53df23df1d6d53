"""Items of the review desk: conversations that end in an answer, corrections, comparisons."""

from __future__ import annotations

from typing import Any

from pydantic import SecretStr

from core.curation_settings import ReviewSettings
from core.settings import ApplicationSettings, Settings
from curation.review.comparison import Compared
from curation.review.desk import ReviewDesk
from curation.review.queue import Known, Proposal
from feedback.events import Message
from feedback.store import Store

QUESTION = "Where is my parcel? It was due on Monday."
ANSWER = "Your parcel is in Bern. It comes on Wednesday before noon."
ORIGINAL = "Your parcel is in Basel. It comes on Wednesday."


def desk_of(store: Store, application: str, **rules: Any) -> ReviewDesk:
    """Return a desk of one application with these settings of review."""
    return ReviewDesk(
        store,
        Settings(
            applications={application: ApplicationSettings(api_key=SecretStr("a"))},
            review=ReviewSettings.model_validate({"calibration_share": 0.0} | rules),
        ),
    )


def proposal(number: int, **fields: Any) -> Proposal:
    """Return a proposal; a lower number comes first."""
    turns = (Message("user", f"{number}: {QUESTION}"), Message("assistant", ANSWER))
    usual: dict[str, Any] = {
        "candidate_id": f"c{number}",
        "interaction_id": f"i{number}",
        "messages": turns,
        "because": ("random",),
        "priority": 1 / (1 + number),
    }
    return Proposal(**usual | fields)


def correction(number: int, original: str = ORIGINAL) -> Proposal:
    """Return a proposal of an answer that its user edited."""
    return proposal(number, rejected=original, because=("disputed", "random"))


def compared(number: int) -> Compared:
    """Return two adapters' answers to one prompt."""
    prompt = (Message("user", f"{number}: {QUESTION}"),)
    return Compared(f"i{number}", prompt, "shop--v1", "shop--v2", "From the old.", "From the new.")


def known(number: int) -> Known:
    """Return an item that should be rejected."""
    return Known((Message("user", f"{number}?"), Message("assistant", "Nonsense.")), "reject")
