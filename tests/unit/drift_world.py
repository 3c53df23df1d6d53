"""An application with a healthy week, windows and the interactions behind them, on disk.

Files as `monitoring.windows` writes them, made of simulated traffic; each row has its interaction
in the store, with a prompt about its topic.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import SecretStr

from bench.drift.traffic import NEW_TOPIC, Traffic, centres, draw
from core.drift_settings import DriftSettings
from core.settings import ApplicationSettings, Settings
from feedback.drift_tables import FeatureWindow, Reference
from feedback.tables import Application, Interaction
from loop.wiring import Parts, open_parts
from monitoring.drift.sample import Sample
from tests.ready_store import lay_store

START = datetime(2026, 11, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
ADAPTER = "desk--v1"
# a check of a few hundred rows with all that it does, in a tenth of a second
TEST_RULES: dict[str, Any] = {
    "permutations": 9_999,
    "embedding_rows": 150,
    "embedding_features": 64,
    "evidently": "never",
}
SUBJECTS = ("bills", "routers", "contracts", "roaming", "invoices", "phones")
NEW_SUBJECT = "tomatoes"


@dataclass
class DriftWorld:
    """Parts, and what was put into them so far."""

    parts: Parts
    folder: Path
    middles: Any = field(default_factory=lambda: centres(1))
    hours: int = 0
    made: int = 0

    def reference(self, traffic: Traffic, rows: int = 600, kind: str = "healthy_week") -> str:
        """Add a reference and return its id."""
        path = self._write(traffic, rows, f"reference-{kind}")
        row = Reference(
            id=f"reference-{kind}",
            application="desk",
            adapter=ADAPTER,
            kind=kind,
            made_at=START,
            rows=rows,
            path=str(path),
            summary={"end": START.isoformat()} if kind == "healthy_week" else {},
        )
        self._add([row])
        return row.id

    def window(self, traffic: Traffic, rows: int = 400, *, hours_later: int = 0) -> str:
        """Add the window of the next hour, or of a later one, and return its id."""
        self.hours += hours_later
        path = self._write(traffic, rows, f"window-{self.hours}")
        row = FeatureWindow(
            id=f"window-{self.hours}",
            application="desk",
            adapter=ADAPTER,
            start=START + self.hours * HOUR,
            end=START + (self.hours + 1) * HOUR,
            rows=10 * rows,
            sampled_rows=rows,
            path=str(path),
        )
        self.hours += 1
        self._add([row])
        return row.id

    def _write(self, traffic: Traffic, rows: int, name: str) -> Path:
        self.made += 1
        generator = np.random.default_rng(self.made)
        sample = draw(traffic, rows, generator, self.middles, vectors=rows)
        ids = [f"{name}-{row}" for row in range(rows)]
        starts = [START + self.hours * HOUR + row * timedelta(seconds=1) for row in range(rows)]
        path = self.folder / f"{name}.parquet"
        pq.write_table(feature_table(sample, ids, starts), path)
        self._add([interaction(one, sample, row) for row, one in enumerate(ids)])
        return path

    def _add(self, rows: Sequence[Any]) -> None:
        with self.parts.store.session() as session:
            session.add_all(rows)
            session.commit()


def feature_table(sample: Sample, ids: Sequence[str], starts: Sequence[datetime]) -> Any:
    """Return the sample as the table that a window's file holds; missing values are null."""
    flags = {
        name: [None if np.isnan(value) else bool(value) for value in values]
        for name, values in sample.flags.items()
        if name != "rated"  # told by the rating itself
    }
    rating = [None if one is None else int(one) for one in flags.pop("rating")]
    assert sample.embedding is not None
    return pa.table(
        {
            "interaction_id": list(ids),
            "started_at": list(starts),
            **{name: list(values) for name, values in sample.numbers.items()},
            **flags,
            "rating": rating,
            "language": [str(one) for one in sample.labels["language"]],
            "topic": [int(one) for one in sample.labels["topic"]],
            "embedding": [row.tolist() for row in sample.embedding],
        }
    )


def interaction(identity: str, sample: Sample, row: int) -> Interaction:
    """Return the interaction of a row, whose prompt is about its topic."""
    topic = int(sample.labels["topic"][row])
    subject = NEW_SUBJECT if topic == NEW_TOPIC else SUBJECTS[topic % len(SUBJECTS)]
    return Interaction(
        id=identity,
        application="desk",
        adapter=ADAPTER,
        endpoint="chat",
        requested_model="desk",
        messages=[{"role": "user", "content": f"Please tell me about {subject}, case {row}."}],
        answer=f"Here is what we know about {subject}.",
        latency_s=1.0,
        started_at=START,
        event_id=identity,
    )


@contextmanager
def open_world(folder: Path, **rules: Any) -> Generator[DriftWorld]:
    """Open a world in the folder; the rules are the settings of drift."""
    settings = Settings(
        data_dir=folder / "data",
        applications={"desk": ApplicationSettings(api_key=SecretStr("sk-desk-0123456789"))},
        drift=DriftSettings.model_validate(TEST_RULES | rules),
    )
    lay_store(settings.store_address)
    with open_parts(settings) as parts:
        with parts.store.session() as session:
            row = session.get(Application, "desk")
            assert row is not None
            row.live_adapter = ADAPTER
            session.add(row)
            session.commit()
        yield DriftWorld(parts, folder)
