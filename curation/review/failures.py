"""CURATE: the held-out questions at which the newest adapter was worse than the live model.

A session and an application come in; normalised prompts go out. The gate keeps of each failed
question only a hash, `Adapter.gate["failed"]`; its text is read from the dataset version that held
it. Nothing is found where the gate tells none. Knows no model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from sqlmodel import Session, col, select

from curation.dataset_files import example_file
from curation.keys import prompt_text
from feedback.tables import Adapter
from feedback.versions import dataset_versions

FAILED = "failed"


def failed_prompts(session: Session, application: str) -> list[str]:
    """Return the prompts of the questions that the newest adapter failed, each once.

    Versions whose files are gone are passed over.
    """
    newest = select(Adapter).where(Adapter.application == application)
    adapter = session.exec(newest.order_by(col(Adapter.created_at).desc())).first()
    wanted: set[str] = set(adapter.gate.get(FAILED, ())) if adapter else set()
    found: dict[str, str] = {}
    for version in reversed(dataset_versions(session, application)):
        file = Path(version.path) / example_file("demonstration", "test")
        if len(found) == len(wanted) or not file.is_file():
            continue
        for messages in pq.ParquetFile(file).read(["messages"])["messages"].to_pylist():
            key = question_key(messages)
            if key in wanted and key not in found:
                names, texts = zip(*((m["role"], m["content"]) for m in messages), strict=True)
                found[key] = prompt_text(names, texts)
    return list(dict.fromkeys(found.values()))


def question_key(messages: Sequence[dict[str, Any]]) -> str:
    """Return the hash by which the gate names a held-out conversation, in any version.

    Source: `retrain.examples.Example.key`.
    """
    turns = [[message["role"], message["content"]] for message in messages]
    return hashlib.sha256(json.dumps(turns).encode()).hexdigest()
