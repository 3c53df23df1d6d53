"""CURATE: the account of a build, for its manifest and for error messages.

Stages are told to the ledger in their order; it reports progress, and stops the build as soon as
too few demonstrations are left. Knows nothing of what the stages do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from core.errors import DataError
from curation.chain import Account
from curation.table import Outcome, Table, pc

Progress = Callable[[str, int, int], None]  # stage that begins, stages finished, stages in all


class Ledger:
    """The stages of one build so far."""

    def __init__(
        self,
        application: str,
        stages: Sequence[str],
        min_examples: int,
        progress: Progress | None = None,
    ) -> None:
        self.accounts: list[Account] = []
        self._application = application
        self._stages = stages
        self._min_examples = min_examples
        self._progress = progress
        self._begun: set[str] = set()

    @property
    def entries(self) -> list[dict[str, Any]]:
        """The accounts as the manifest tells them."""
        return [account.entry() for account in self.accounts]

    def begin(self, name: str) -> None:
        """Report that stage `name` begins, once."""
        if self._progress is not None and name not in self._begun:
            self._begun.add(name)
            self._progress(name, self._stages.index(name), len(self._stages))

    def enter(self, accounts: Iterable[Account]) -> None:
        """Take in what stages told of themselves."""
        self.accounts += accounts

    def run(self, name: str, stage: Callable[..., Outcome], table: Table, *arguments: Any) -> Table:
        """Return what `stage` keeps of `table`, once it is counted.

        Raises: DataError when fewer demonstrations are left than a dataset needs.
        """
        self.begin(name)
        outcome = stage(table, *arguments)
        account = Account(name)
        account.add(table.num_rows, outcome)
        self.accounts.append(account)
        self.require(demonstrations_in(outcome.kept))
        return outcome.kept

    def require(self, demonstrations: int) -> None:
        """Raise DataError when that is fewer than a dataset needs."""
        if demonstrations >= self._min_examples:
            return
        lost = Counter[str]()
        for account in self.accounts:
            lost.update(account.dropped)
        reasons = ", ".join(f"{count} {reason}" for reason, count in lost.most_common())
        raise DataError(
            f"application {self._application} has {demonstrations} usable examples, and a dataset "
            f"needs {self._min_examples} (dropped: {reasons or 'none'}): gather more approvals and "
            "corrections, or lower curation.min_examples"
        )


def demonstrations_in(table: Table) -> int:
    """Return how many rows are demonstrations."""
    return pc.sum(pc.equal(table["kind"], "demonstration")).as_py() or 0
