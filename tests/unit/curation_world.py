"""A store with rated interactions, and a tiny tokenizer, for the tests of curation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from tokenizers import Tokenizer, models, pre_tokenizers

from core.ids import new_id
from core.settings import CurationSettings, EngineSettings, Settings
from feedback.events import Message
from feedback.store import Store
from feedback.tables import Feedback, Interaction
from tests.ready_store import ready_store

START = datetime(2026, 1, 5, 9, tzinfo=UTC)


def write_tokenizer(folder: Path) -> Path:
    """Write a tokenizer that counts words and signs into `folder` and return `folder`."""
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore[reportAttributeAccessIssue] (setter is untyped)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@dataclass
class World:
    """A store, its settings, and a clock that moves a minute with each interaction."""

    store: Store
    settings: Settings
    application: str = "desk"
    minute: int = field(default=0)

    def say(
        self,
        prompt: str | Sequence[Message],
        answer: str = "An answer.",
        *,
        subject: str | None = None,
        thumbs: bool | None = None,
        rating: int | None = None,
        correction: str | None = None,
        **columns: Any,
    ) -> str:
        """Store one interaction with what `subject` says of it, and return its id."""
        self.minute += 1
        started_at = START + timedelta(minutes=self.minute)
        messages = [Message("user", prompt)] if isinstance(prompt, str) else prompt
        row: dict[str, Any] = {
            "id": f"interaction {self.minute:04}",  # splits go by ids: the same in every run
            "application": self.application,
            "subject": subject,
            "endpoint": "/v1/chat/completions",
            "requested_model": "desk",
            "messages": msgspec.to_builtins(messages),
            "answer": answer,
            "finish_reason": "stop",
            "latency_s": 0.5,
            "started_at": started_at,
            "event_id": new_id(),
        }
        interaction = Interaction(**{**row, **columns})
        values = {
            "thumbs": {"thumbs": thumbs},
            "rating": {"rating": rating},
            "correction": {"text": correction},
        }
        with self.store.session() as session:
            session.add(interaction)
            for kind, value in values.items():
                if None not in value.values():
                    session.add(self.feedback(interaction, kind, **value))
            session.commit()
        return interaction.id

    def feedback(self, interaction: Interaction, kind: str, **value: Any) -> Feedback:
        """Return a row of effective feedback, half a minute after the interaction."""
        row: dict[str, Any] = {
            "event_id": new_id(),
            "client_id": new_id(),
            "interaction_id": interaction.id,
            "application": interaction.application,
            "subject": interaction.subject,
            "kind": kind,
            "given_at": interaction.started_at + timedelta(seconds=30),
        }
        return Feedback(**{**row, **value})

    def crowd(self, people: int, *, first: int = 0) -> None:
        """Let `people` subjects approve two answers each, to questions of their own."""
        for number in range(first, first + people):
            for topic in ("parcel", "invoice"):
                question = f"{name(number)} asks where the {topic} of {name(number + 7)} is"
                self.say(question, f"It is with {name(number)}.", subject=name(number), thumbs=True)


def name(number: int) -> str:
    """Return a word that is unlike that of any other number below 676."""
    return f"{chr(97 + number % 26)}{chr(97 + number // 26)}" * 3


def open_world(folder: Path, **rules: Any) -> World:
    """Return a world whose data are below `folder`; `rules` change the curation settings."""
    model = write_tokenizer(folder / "model")
    wanted: dict[str, Any] = {"min_examples": 4, **rules}
    curation = CurationSettings(**wanted)
    settings = Settings(
        data_dir=folder / "data", engine=EngineSettings(model=model), curation=curation
    )
    store = ready_store(settings.store_address)
    return World(store, settings)
