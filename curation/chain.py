"""CURATE: row stages one after another over a table, with an account of each.

A step says which rows its stage looks at. Rows of earlier versions come along as kind `history`, so
that their prompts are redacted and signed like today's; they are no candidates and never counted.
Pure, and picklable when its stages are: it runs in worker processes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

from curation.table import Outcome, Stage, Table, is_taught, pc

HISTORY = "history"  # the kind of rows that only tell what earlier versions asked
SAMPLES = 5  # of drops, per stage

Rows = Literal["every", "candidates", "taught"]


@dataclass(frozen=True, slots=True)
class Step:
    """A stage by name, and which rows it looks at; the others pass."""

    name: str
    stage: Stage
    rows: Rows = "candidates"
    is_told: bool = True  # in the account


@dataclass(slots=True)
class Account:
    """What one stage kept and dropped, over any number of tables."""

    name: str
    before: int = 0
    after: int = 0
    changed: int = 0
    added: int = 0
    dropped: Counter[str] = field(default_factory=Counter[str])
    samples: list[dict[str, str]] = field(default_factory=list[dict[str, str]])

    def add(self, before: int, outcome: Outcome, added: int = 0) -> None:
        """Count an outcome in, of `before` candidates, by which `added` came to them."""
        self.before += before
        self.after += before - outcome.drops.num_rows + added
        self.added += added
        self.changed += outcome.changed
        self.dropped.update(outcome.drops["reason"].to_pylist())
        missing = SAMPLES - len(self.samples)
        self.samples += [_sample(drop) for drop in outcome.drops.slice(0, missing).to_pylist()]

    def merge(self, other: Account) -> None:
        """Count another account of the same stage in."""
        self.before += other.before
        self.after += other.after
        self.changed += other.changed
        self.added += other.added
        self.dropped.update(other.dropped)
        self.samples = [*self.samples, *other.samples][:SAMPLES]

    def entry(self) -> dict[str, Any]:
        """Return it as the manifest tells it."""
        return {
            "name": self.name,
            "before": self.before,
            "after": self.after,
            "changed": self.changed,
            "added": self.added,
            "dropped": dict(self.dropped.most_common()),
            "samples": self.samples,
        }

    @classmethod
    def from_entry(cls, entry: dict[str, Any]) -> Account:
        """Return the account that `entry` tells."""
        values: dict[str, Any] = {**entry, "dropped": Counter[str](entry["dropped"])}
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Chain:
    """Steps in their order."""

    steps: Sequence[Step]

    def __call__(self, table: Table) -> tuple[Table, list[Account]]:
        """Return the rows that passed every step, and the account of each that is told."""
        accounts: list[Account] = []
        for step in self.steps:
            before = candidates_in(table)
            table, outcome = _run(step, table)
            if step.is_told:
                account = Account(step.name)
                account.add(before, outcome, candidates_in(table) - before + outcome.drops.num_rows)
                accounts.append(account)
        return table, accounts


def merged(accounts: Iterable[Sequence[Account]]) -> list[Account]:
    """Return one account for each step, of those of many tables."""
    whole: dict[str, Account] = {}
    for own in accounts:
        for account in own:
            whole.setdefault(account.name, Account(account.name)).merge(account)
    return list(whole.values())


def candidates_in(table: Table) -> int:
    """Return how many rows are candidates."""
    return pc.sum(pc.not_equal(table["kind"], HISTORY)).as_py() or 0


def _run(step: Step, table: Table) -> tuple[Table, Outcome]:
    mask = _looked_at(step.rows, table)
    outcome = step.stage(table if mask is None else table.filter(mask))
    if mask is None:
        return outcome.kept, outcome
    passed = table.filter(pc.invert(mask))
    if passed.num_rows == 0:
        return outcome.kept, outcome
    return pa.concat_tables([outcome.kept, passed], promote_options="default"), outcome


def _looked_at(rows: Rows, table: Table) -> Table | None:
    """Return which rows a step looks at; None for all."""
    if rows == "every":
        return None
    return is_taught(table) if rows == "taught" else pc.not_equal(table["kind"], HISTORY)


def _sample(drop: dict[str, str]) -> dict[str, str]:
    told = {"interaction_id": drop["interaction_id"], "reason": drop["reason"]}
    return {**told, "detail": drop["detail"]} if drop["detail"] else told
