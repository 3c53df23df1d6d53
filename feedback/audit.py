"""What people did, kept: one entry for each human action, in the transaction that carries it out.

A session and what was done come in; an `AuditEntry` is added, and is committed with the action
itself or not at all. Automatic decisions are no human actions: those are in the rollouts' and
runs' own rows. Knows nothing of pages or commands.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlmodel import Session

from core.ids import new_id
from feedback.console_tables import AuditEntry
from feedback.store import Store

MAX_REASON_CHARS = 2_000  # a reason, not a document
KEY_ID = re.compile(r"[0-9a-f]{12}")  # what API keys are called, and no person may be


@dataclass(frozen=True, slots=True)
class HumanAct:
    """What somebody did: `action` in the past tense, `kind` and `subject` name what it was done to.

    `details` are plain values, never a secret, a prompt or an answer.
    """

    actor: str
    action: str
    kind: str
    subject: str
    application: str | None = None
    reason: str = ""
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])


def record(session: Session, act: HumanAct) -> AuditEntry:
    """Add the entry of what was done to the session, and return it; the caller commits both."""
    entry = AuditEntry(
        id=new_id(),
        actor=act.actor,
        action=act.action,
        kind=act.kind,
        subject=act.subject,
        application=act.application,
        reason=act.reason[:MAX_REASON_CHARS],
        details=dict(act.details),
    )
    session.add(entry)
    return entry


def keep(store: Store, act: HumanAct) -> None:
    """Keep an act by itself: what it did commits elsewhere, or is no change of the store."""
    with store.session() as session:
        record(session, act)
        session.commit()


def actor_named(name: str) -> str:
    """Return the actor of this name: a person, or the key that has it as its id."""
    return f"key {name}" if KEY_ID.fullmatch(name) else name


def machine_user() -> str:
    """Return who runs this process, as the machine knows them: the actor of a command."""
    try:
        return f"{pwd.getpwuid(os.getuid()).pw_name} (command line)"
    except KeyError:  # a container may run as a number alone
        return f"user {os.getuid()} (command line)"
