"""CURATE: all candidates of a build, on disk as shards: the store's, and what reviewers let in.

What people's signals make of interactions comes first, then examples that a model wrote and people
approved, then pairs that an AI judge decided, then the prompts of earlier versions that nobody
proposes now, as kind `history`: like prompts must follow them. Done once a build; a build that goes
on reads what is there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pyarrow as pa

from core.files import write_atomic
from curation.build import Build
from curation.chain import HISTORY, Account
from curation.judgements import judged_candidates
from curation.ledger import demonstrations_in
from curation.review.products import approved_products
from curation.selection import exposures, read_interactions, select_candidates
from curation.shards import read_shard, shard_paths, write_shards
from curation.table import CANDIDATES, Table, with_column
from feedback.store import Store

SEALED = "selected.json"


def gather(store: Store, build: Build) -> list[Path]:
    """Write the candidates as shards, unless an earlier try has; return the shards.

    Raises: DataError when there are fewer demonstrations than a dataset needs.
    """
    build.ledger.begin("select")
    folder, sealed = build.folder / "selected", build.folder / SEALED
    if not sealed.is_file():
        account = Account("select")
        shutil.rmtree(folder, ignore_errors=True)  # of a try that died
        tables = _Gathered(store, build, account)
        write_shards(folder, tables, build.settings.curation.shard_rows)
        write_atomic(sealed, json.dumps(account.entry()))
    build.ledger.enter([Account.from_entry(json.loads(sealed.read_text()))])
    paths = shard_paths(folder)
    build.ledger.require(sum(demonstrations_in(read_shard(path, ["kind"])) for path in paths))
    return paths


@dataclass(frozen=True)
class _Gathered:
    """The tables that become shards; what is selected is counted in `account`."""

    store: Store
    build: Build
    account: Account

    def __iter__(self) -> Iterator[Table]:
        seen: set[str] = set()
        for table in chain(self._selected(), (self._products(),), self._judged()):
            seen.update(table["interaction_id"].to_pylist())
            yield table
        yield from self._earlier(seen)

    def _selected(self) -> Iterator[Table]:
        build, debias = self.build, self.build.settings.curation.debias
        with self.store.session() as session:
            shown = exposures(session, build.application, build.selection)
            for outcome in select_candidates(
                session,
                build.application,
                build.selection,
                leave_out_anomalies=debias.leave_out_anomalies,
            ):
                self.account.add(outcome.kept.num_rows + outcome.drops.num_rows, outcome)
                adapters = outcome.kept["adapter"].to_pylist()
                weights = [shown.weight(adapter, debias.max_weight) for adapter in adapters]
                yield with_column(outcome.kept, "weight", weights, pa.float64())

    def _products(self) -> Table:
        with self.store.session() as session:
            table = approved_products(session, self.build.application)
        self.account.before += table.num_rows
        self.account.after += table.num_rows
        return table

    def _judged(self) -> Iterator[Table]:
        with self.store.session() as session:
            for outcome in judged_candidates(session, self.build.application, self.build.selection):
                self.account.add(outcome.kept.num_rows + outcome.drops.num_rows, outcome)
                yield outcome.kept

    def _earlier(self, seen: set[str]) -> Iterator[Table]:
        ids = [id_ for id_ in self.build.history.interactions if id_ not in seen]
        with self.store.session() as session:
            for batch in read_interactions(session, self.build.application, ids):
                rows = [
                    {
                        "candidate_id": f"{judged.id}:{HISTORY}",
                        "interaction_id": judged.id,
                        "kind": HISTORY,
                        "started_at": judged.started_at,
                        "messages": [*judged.messages, {"role": "assistant", "content": ""}],
                        "placeholders": list(judged.redactions),
                    }
                    for judged in batch
                ]
                yield pa.Table.from_pylist(rows, CANDIDATES)
