"""The live adapter's own wins: held-out answers of it that users praised. Reads the store.

Dataset versions and an adapter go in, ids of interactions come out: no texts, so that nothing of
users' lies in a run's folder.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import Session, col, or_, select

from feedback.tables import DatasetMember, Feedback, Interaction

PRAISE = 4  # of 5 stars; as the canary counts them


def find_wins(session: Session, datasets: Sequence[str], adapter: str) -> tuple[str, ...]:
    """Return the interactions in the versions' test splits that `adapter` answered well."""
    praised = (
        select(Feedback.interaction_id)
        .where(
            Feedback.interaction_id == Interaction.id,
            col(Feedback.effective).is_(True),
            or_(col(Feedback.thumbs).is_(True), col(Feedback.rating) >= PRAISE),
        )
        .exists()
    )
    query = (
        select(Interaction.id)
        .join(DatasetMember, col(DatasetMember.interaction_id) == Interaction.id)
        .where(
            col(DatasetMember.dataset_id).in_(datasets),
            DatasetMember.split == "test",
            Interaction.adapter == adapter,
            praised,
        )
        .distinct()
        .order_by(col(Interaction.id))
    )
    return tuple(session.exec(query).all())
