"""The same records twice and in any order, over several spools: the store has each once."""

from __future__ import annotations

import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlmodel import select

from core.ids import new_id
from feedback.events import (
    FEEDBACK_TOPIC,
    INTERACTIONS_TOPIC,
    FeedbackGiven,
    InteractionFinished,
    encode,
)
from feedback.log.protocol import NewRecord
from feedback.log.slots import ProcessLog
from feedback.log.spool import SpoolLimits
from feedback.store import Store
from feedback.tables import Feedback, Interaction
from tests.stack.fault_world import ROOT

pytestmark = pytest.mark.stack

INTERACTIONS = 300
SPOOLS = 3
BEGAN = datetime(2026, 3, 1, 12, tzinfo=UTC)


def _records(number: int) -> list[NewRecord]:
    """Return an interaction with two votes of one subject; the later one is a thumb up."""
    interaction = InteractionFinished(
        event_id=new_id(),
        interaction_id=new_id(),
        application="shop",
        subject="ann",
        endpoint="/v1/chat/completions",
        requested_model="shop",
        answer=f"answer {number}",
        latency_s=0.1,
        started_at=BEGAN + timedelta(seconds=number),
    )
    key = interaction.interaction_id
    votes = [
        FeedbackGiven(
            event_id=new_id(),
            client_id=f"vote-{place}",
            interaction_id=key,
            application="shop",
            subject="ann",
            kind="thumbs",
            thumbs=place == 1,
            given_at=BEGAN + timedelta(seconds=number + place + 1),
        )
        for place in range(2)
    ]
    records = [NewRecord(FEEDBACK_TOPIC, key, encode(vote)) for vote in votes]
    return [NewRecord(INTERACTIONS_TOPIC, key, encode(interaction)), *records]


def test_duplicates_in_any_order_are_stored_once(tmp_path: Path) -> None:
    """Everything comes two or three times, shuffled, and lies in the spools of three processes."""
    chance = random.Random(8)
    records = [record for number in range(INTERACTIONS) for record in _records(number)]
    delivered = [record for record in records for _ in range(chance.choice((2, 3)))]
    chance.shuffle(delivered)
    limits = SpoolLimits(64 << 20, segment_bytes=1 << 18)
    for spool in range(SPOOLS):
        log = ProcessLog(tmp_path / "data" / "spool", f"gateway-{spool}", limits, durable=True)
        mine = delivered[spool::SPOOLS]
        for start in range(0, len(mine), 50):
            log.append(mine[start : start + 50])
        log.close()
    file = tmp_path / "ratchet.toml"
    file.write_text(
        f'data_dir = "{tmp_path / "data"}"\n[applications.shop]\napi_key = "k"\n'
        "[log]\ningest_batch = 37\n"
    )
    command = (sys.executable, "-m", "loop.cli", "--settings", str(file), "ingest", "--once")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    store = Store(f"sqlite:///{tmp_path / 'data' / 'store.db'}")
    with store.session() as session:
        interactions = session.exec(select(Interaction.answer)).all()
        votes = session.exec(select(Feedback)).all()
    store.close()
    assert sorted(interactions) == sorted(f"answer {number}" for number in range(INTERACTIONS))
    assert len(votes) == 2 * INTERACTIONS
    assert all(vote.effective == (vote.client_id == "vote-1") for vote in votes)
