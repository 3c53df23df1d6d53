"""Dataset versions made of a few rows, for the tests of what reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from curation.dataset_files import write_examples
from curation.dataset_version import Draft, write_dataset
from curation.table import with_column
from feedback.store import Store
from feedback.tables import DatasetVersion
from tests.ready_store import ready_store
from tests.unit.candidate_tables import START, keyed, pair, row

Rows = Sequence[dict[str, Any]]
FACTS: dict[str, Any] = {
    "settings": {"curation": {"near_duplicate_similarity": 0.95, "max_tokens": 1024}},
    "settings_hash": "5" * 64,
    "code_hash": "c" * 64,
    "stages": [
        {"name": "select", "before": 9, "after": 6, "changed": 0, "dropped": {"flagged": 3}},
        {"name": "redact", "before": 6, "after": 6, "changed": 2, "dropped": {}},
    ],
    "lineage": {
        "subjects": 5,
        "without_subject": 1,
        "sources": {"thumbs_up": 4, "correction": 2},
        "oldest": START.isoformat(),
        "newest": START.isoformat(),
    },
}
QUESTIONS = (
    "Where is the parcel that I sent on Monday?",
    "How do I change the address of an invoice?",
    "Which of your plans lets me keep two printers?",
    "Why was my card charged twice in April?",
    "When does the shop in Cologne open on Sundays?",
    "Can a colleague sign for the delivery instead?",
)


def some_rows(answer: str = "Here it is.") -> list[dict[str, Any]]:
    """Return six demonstrations, a pair, a label and a safety test."""
    rows = [
        row(text, answer, subject=f"subject {n}" if n < 5 else None, id_=f"i{n}")
        for n, text in enumerate(QUESTIONS)
    ]
    rows.append(pair(QUESTIONS[1], answer, "Nowhere.", subject="subject 1", id_="i1"))
    rows.append(row(QUESTIONS[2], answer, kind="label", label=True, subject="subject 2", id_="i2"))
    rows.append(row("Evil?", "Yes!", kind="safety", category="abuse", subject="s", id_="bad"))
    return rows


SPLITS = {"i4": "validation", "i5": "test", "bad": "safety"}  # all others: train


@dataclass
class Shelf:
    """A store and its folder of datasets."""

    store: Store
    folder: Path
    facts: dict[str, Any] = field(default_factory=lambda: dict(FACTS))

    def put(
        self,
        id: str = "desk--d1",
        rows: Rows | None = None,
        splits: Mapping[str, str] = SPLITS,
        *,
        parent: str | None = None,
        **facts: Any,
    ) -> DatasetVersion:
        """Write a version of these rows, in these splits by interaction, without any check."""
        whole = some_rows() if rows is None else rows
        table = keyed(*whole)
        ids = table["interaction_id"].to_pylist()
        table = with_column(table, "split", [splits.get(id_, "train") for id_ in ids], pa.string())
        seeds = {own["interaction_id"]: own.get("seeds") for own in whole}
        table = with_column(table, "seeds", map(seeds.get, ids), pa.list_(pa.string()))
        table = with_column(table, "is_new", [True] * len(ids), pa.bool_())

        def write(folder: Path) -> dict[str, Any]:
            with TemporaryDirectory() as scratch:
                write_examples(folder, Path(scratch), [table], table.num_rows)
            return {**self.facts, **facts}

        application = id.partition("--")[0]
        draft = Draft(id, application, parent, table, write, START)
        return write_dataset(self.store, self.folder, draft)


def open_shelf(folder: Path) -> Shelf:
    """Return an empty store and an empty folder of datasets."""
    store = ready_store(f"sqlite:///{folder / 'store.db'}")
    datasets = folder / "datasets"
    datasets.mkdir()
    return Shelf(store, datasets)


def spoil(path: Path) -> None:
    """Flip one bit in the middle of a file that is read-only."""
    path.chmod(0o644)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
