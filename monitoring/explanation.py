"""A stored verdict computed again from what was stored with it: is it the same?

DETECT's proof. A verdict record and its rollout come in; out go the verdict as it comes out today
and every stored number that differs. Writes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session, col, select

from core.canary_settings import rules_of
from core.errors import DataError, NotFoundError
from core.files import json_sha256
from feedback.tables import Rollout, VerdictRecord
from monitoring.arms import counts_from_dict
from monitoring.verdict import Verdict, judge, judge_watch

TOLERANCE = 1e-9  # of a number: the last bits of a logarithm depend on the machine's C library


@dataclass(frozen=True, slots=True)
class Explanation:
    """The stored verdict, the one computed from its counts and settings, and what differs."""

    record: VerdictRecord
    rollout: Rollout
    again: Verdict
    differences: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether the stored decision and all its numbers come out again."""
        return not self.differences

    def plain(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "verdict": self.record.model_dump(mode="json"),
            "settings": self.rollout.settings,
            "again": {
                "decision": self.again.decision,
                "reason": self.again.reason,
                "numbers": self.again.numbers,
            },
            "same": self.same,
            "differences": list(self.differences),
        }


def explain(session: Session, named: str) -> Explanation:
    """Return the explanation of a verdict, or of a rollout's last decisive one, by its id.

    Raises: NotFoundError for an unknown id, and of a rollout without a verdict; DataError as
    `explain_verdict`.
    """
    record = session.get(VerdictRecord, named) or _decisive(session, named)
    rollout = session.get_one(Rollout, record.rollout_id)
    again = explain_verdict(record, rollout)
    return Explanation(record, rollout, again, tuple(_differences(record, again)))


def explain_verdict(record: VerdictRecord, rollout: Rollout) -> Verdict:
    """Return the verdict computed again from the record's counts and the rollout's settings.

    It equals what was recorded. Raises: DataError when the settings are not those of the record.
    """
    settings_hash = json_sha256(rollout.settings)
    if record.settings_hash != settings_hash:
        raise DataError(
            f"verdict {record.id} was made with settings {record.settings_hash}, "
            f"rollout {rollout.id} now has {settings_hash}: restore them to compute it again"
        )
    counts = counts_from_dict(record.counts)
    rules = rules_of(rollout.settings)
    refused = record.numbers["refused"]
    if record.state == "watch":
        return judge_watch(counts, rules, refused=refused)
    return judge(counts, rules, elapsed_s=record.numbers["elapsed_s"], refused=refused)


def _decisive(session: Session, rollout_id: str) -> VerdictRecord:
    """Return the rollout's last verdict that moved it, else its last one."""
    of_it = select(VerdictRecord).where(VerdictRecord.rollout_id == rollout_id)
    newest = of_it.order_by(col(VerdictRecord.created_at).desc(), col(VerdictRecord.id).desc())
    moving = newest.where(VerdictRecord.decision != "hold")
    record = session.exec(moving).first() or session.exec(newest).first()
    if record is not None:
        return record
    if session.get(Rollout, rollout_id) is not None:
        raise NotFoundError(f"rollout {rollout_id} has no verdict yet: it is judged in canary")
    raise NotFoundError(
        f"no verdict or rollout {rollout_id!r}: `ratchet canary list` shows the rollouts"
    )


def _differences(record: VerdictRecord, again: Verdict) -> Iterator[str]:
    """Yield what differs. What an older version did not store cannot differ."""
    for name, stored, new in (
        ("decision", record.decision, again.decision),
        ("reason", record.reason, again.reason),
    ):
        if stored != new:
            yield f"{name}: stored {stored!r}, now {new!r}"
    yield from _unequal("numbers", record.numbers, again.numbers)


def _unequal(name: str, stored: Any, new: Any) -> Iterator[str]:
    if isinstance(stored, dict) and isinstance(new, dict):
        for key, inner in stored.items():
            yield from _unequal(f"{name}.{key}", inner, new.get(key))
    elif not _equal(stored, new):
        yield f"{name}: stored {stored!r}, now {new!r}"


def _equal(stored: Any, new: Any) -> bool:
    if isinstance(stored, float) and isinstance(new, int | float):
        return math.isclose(stored, new, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return stored == new
