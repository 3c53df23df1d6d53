"""CURATE: what the first page of review tells: how far the queue is, and whether people agree.

The desk's counts and agreement come in, words and numbers for the page go out. Who may only review
sees how they did themselves; operators see everybody.
"""

from __future__ import annotations

from typing import Any

from curation.review.agreement import Alpha
from curation.review.desk import ReviewDesk
from loop.console.visitors import Visitor

RELIABLE, TENTATIVE = 0.8, 0.667  # Source: Krippendorff 2004, Content Analysis, 11.4
WHY = {
    "random": "Random audit",
    "uncertain": "The model was unsure",
    "disputed": "Votes disagree",
    "novel": "Unlike what is learnt already",
    "failed_gate": "Failed at the gate",
    "augmented": "Written by a model",
}


def overview(desk: ReviewDesk, caller: Visitor) -> dict[str, Any]:
    """Return what the page of the queue shows to this caller."""
    progress = desk.progress(caller.application, caller.key_id)
    agreement = desk.agreement(caller.application)
    sees_all = caller.may("operate")
    return {
        "progress": progress,
        "total": progress.open + progress.done,
        "reasons": [(WHY[why], count) for why, count in progress.by_reason.items() if count],
        "alphas": [
            _told("Decision", agreement.decisions),
            *[_told(name.capitalize(), alpha) for name, alpha in agreement.rubric.items()],
            _told("Side by side", agreement.preferences),
        ],
        "reviewers": sorted(progress.by_reviewer.items()) if sees_all else [],
        "calibration": {
            row.reviewer: row
            for row in agreement.calibration
            if sees_all or row.reviewer == caller.key_id
        },
    }


def _told(name: str, alpha: Alpha) -> dict[str, Any]:
    return {
        "name": name,
        "value": "" if alpha.value is None else f"{alpha.value:.2f}",
        "reading": _reading(alpha.value),
        "judged": alpha.items,
        "reviewers": alpha.reviewers,
    }


def _reading(value: float | None) -> str:
    if value is None:
        return "not known yet"
    if value >= RELIABLE:
        return "reliable"
    return "tentative" if value >= TENTATIVE else "low"
