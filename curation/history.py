"""CURATE: what earlier dataset versions of an application decided, which the next must honour.

Rows of versions and members come in; the parent, and the split of every interaction, subject and
prompt that ever was in one, go out. An adapter may have been trained on any of them, so what was
in train never becomes test, and what was in test never becomes train.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

import msgspec
from sqlmodel import Session, col, select

from curation.candidates import BATCH_ROWS, Candidate, redacted_messages
from curation.similarity import prompt_key, rendered
from feedback.events import Message
from feedback.redaction.redactor import Redactor
from feedback.tables import DatasetMember, DatasetVersion, Interaction

Split = Literal["train", "validation", "test"]

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class History:
    """The splits of all that was in a version; the newest version speaks last."""

    parent: DatasetVersion | None
    interactions: Mapping[str, Split]
    subjects: Mapping[str, Split]
    prompts: Mapping[str, Split]  # by prompt key
    prompt_texts: Mapping[str, str]  # by prompt key

    def preference(self, candidate: Candidate) -> int:
        """Return 0 for what a version held, 1 for what may join, 2 for what would leak.

        Among candidates that teach the same, the lowest is kept, so that a version grows.
        """
        if candidate.interaction_id in self.interactions:
            return 0
        of_subject = self.subjects.get(candidate.subject or "")
        of_prompt = self.prompts.get(candidate.prompt_key)
        return 1 if of_subject is None or of_prompt in (None, of_subject) else 2


def read_history(session: Session, application: str, redactor: Redactor) -> History:
    """Return what the versions of `application` hold, from the oldest to the newest."""
    versions = session.exec(
        select(DatasetVersion).where(DatasetVersion.application == application)
    ).all()
    ordered = sorted(versions, key=version_number)
    interactions: dict[str, Split] = {}
    subjects: dict[str, Split] = {}
    for version in ordered:
        members = select(DatasetMember).where(DatasetMember.dataset_id == version.id)
        for member in session.exec(members.execution_options(yield_per=BATCH_ROWS)):
            split = cast(Split, member.split)
            interactions[member.interaction_id] = split
            if member.subject is not None:
                subjects[member.subject] = split
    prompts = _prompts(session, interactions, redactor)
    return History(
        parent=ordered[-1] if ordered else None,
        interactions=interactions,
        subjects=subjects,
        prompts={prompt_key(prompt): interactions[id_] for id_, prompt in prompts.items()},
        prompt_texts={prompt_key(prompt): rendered(prompt) for prompt in prompts.values()},
    )


def version_number(version: DatasetVersion) -> int:
    """Return N of `application--dN`."""
    return int(version.id.rpartition("--d")[2])


def _prompts(
    session: Session, interactions: Mapping[str, Split], redactor: Redactor
) -> dict[str, tuple[Message, ...]]:
    """Return the prompt of each interaction that the store still holds, by interaction id.

    Redacted by today's rules, as the candidates are: else one prompt would have two keys.
    """
    prompts: dict[str, tuple[Message, ...]] = {}
    ids = list(interactions)
    for start in range(0, len(ids), BATCH_ROWS):
        batch = ids[start : start + BATCH_ROWS]
        columns = select(Interaction.id, Interaction.messages, Interaction.redactions)
        query = columns.where(col(Interaction.id).in_(batch))
        for id_, messages, redactions in session.exec(query):
            prompt = msgspec.convert(messages, tuple[Message, ...])
            prompts[id_] = redacted_messages(prompt, redactions, redactor)
    return prompts
