"""CURATE: what a model wrote and people approved, as candidates.

Review items come in, rows of the table of candidates go out, with the seeds that each was written
from: an erasure of any of them takes the product too. What nobody has approved never leaves here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from sqlmodel import Session, col, select

from core.clock import as_utc
from curation.augmentation.cap import WRITTEN
from curation.table import CANDIDATES, Table
from feedback.tables import Interaction, ReviewItem

SEEDS = pa.field("seeds", pa.list_(pa.string()))  # interactions that a product was written from
PRODUCTS = pa.schema([*CANDIDATES, SEEDS])
LET_IN = ("approved", "corrected")


def approved_products(session: Session, application: str) -> Table:
    """Return the products of augmentation that reviewers let in (`PRODUCTS`)."""
    query = (
        select(ReviewItem, Interaction.started_at)
        .join(Interaction, col(Interaction.id) == col(ReviewItem.interaction_id))
        .where(ReviewItem.application == application, ReviewItem.kind == "demonstration")
        .where(col(ReviewItem.verdict).in_(LET_IN))
        .order_by(col(ReviewItem.candidate_id))
    )
    rows = [
        row for item, started_at in session.exec(query) for row in _rows(item, as_utc(started_at))
    ]
    return pa.Table.from_pylist(rows, PRODUCTS)


def source_of(candidate_id: str) -> str | None:
    """Return by which method a candidate was written, or None for a real one."""
    source = candidate_id.split(":")[-2:-1]
    return source[0] if source and source[0] in WRITTEN else None


def _rows(item: ReviewItem, started_at: Any) -> Iterator[dict[str, Any]]:
    source = source_of(item.candidate_id)
    if source is None:
        return
    yield {
        "candidate_id": item.candidate_id,
        "interaction_id": item.interaction_id,
        "kind": "demonstration",
        "source": source,
        "subject": item.subject,
        "started_at": started_at,
        "messages": item.messages,
        "votes": 0,
        "weight": 1.0,
        "placeholders": [],
        "seeds": item.seeds,
    }
