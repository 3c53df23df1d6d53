"""CURATE, last stage: the version that a build has made, told from its parent and described.

Rows by their keys, each with its split, come in; a dataset version goes out: the parent's, if the
rows are the same, else a new one with its manifest. How files are written, `dataset_files` knows.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import structlog
from sqlmodel import Session

from core.clock import utc_now
from core.files import file_sha256, json_sha256
from curation.build import Build, iso, span
from curation.contests import JUDGE
from curation.dataset_files import read_identities, sorted_identities, write_examples
from curation.dataset_version import Draft, kinds_of, write_dataset
from curation.judgements import judgements_of, measured_agreement
from curation.keyed import Keyed
from curation.selection import recent_prompts
from curation.stages.coverage import Tally, coverage_report, tally
from curation.stages.tokens import TOKENIZER_FILE
from curation.stages.topics import Topics
from curation.table import Table, pc, with_column
from curation.work import code_hash
from feedback.store import Store
from feedback.tables import DatasetVersion
from feedback.versions import version_number

log = structlog.get_logger()


def publish(
    store: Store, build: Build, keyed: Keyed, table: Table, topics: Topics
) -> DatasetVersion:
    """Return the version that holds the rows of `table`; the parent where they are the same.

    Raises: ConflictError when another build has taken the same version.
    """
    build.ledger.begin("write")
    parent = build.history.parent
    known = _known(build)
    if known is not None and known.equals(sorted_identities(table)):
        assert parent is not None
        log.info("dataset_unchanged", dataset=parent.id)
        return parent
    table = with_column(table, "is_new", _is_new(table, known), pa.bool_())
    counted: list[Tally] = []
    number = 1 if parent is None else version_number(parent) + 1

    def write(folder: Path) -> dict[str, Any]:
        buckets = build.folder / "buckets"
        shutil.rmtree(buckets, ignore_errors=True)  # of a try that died
        buckets.mkdir()
        write_examples(folder, buckets, _counting(keyed.wholes(table), counted), table.num_rows)
        return _facts(store, build, table, counted, topics)

    draft = Draft(
        id=f"{build.application}--d{number}",
        application=build.application,
        parent=None if parent is None else parent.id,
        members=table,
        write=write,
        created_at=utc_now(),
    )
    row = write_dataset(store, build.settings.folder("datasets"), draft)
    log.info("dataset_written", dataset=row.id, new_rows=row.new_rows, **draft.split_rows)
    return row


def _known(build: Build) -> Table | None:
    parent = build.history.parent
    return None if parent is None else read_identities(Path(parent.path), kinds_of(parent))


def _is_new(table: Table, known: Table | None) -> list[bool]:
    """Return of each row whether the parent did not have it, in whatever split."""
    if known is None:
        return [True] * table.num_rows
    held = pc.is_in(_named(table), value_set=_named(known).combine_chunks())
    return pc.invert(held).to_pylist()


def _named(table: Table) -> Table:
    return pc.binary_join_element_wise(table["kind"], table["example_id"], " ")


def _counting(tables: Iterator[Table], counted: list[Tally]) -> Iterator[Table]:
    """Yield the tables; count, on their way, what their demonstrations cover."""
    for part in tables:
        counted.append(tally(part.filter(pc.equal(part["kind"], "demonstration"))))
        yield part


def _facts(
    store: Store, build: Build, table: Table, counted: list[Tally], topics: Topics
) -> dict[str, Any]:
    """Return what the manifest says besides the version's own columns."""
    rules = {
        "curation": build.settings.curation.model_dump(mode="json"),
        "selection": span(build.selection),
        "tokenizer": file_sha256(build.settings.engine.model / TOKENIZER_FILE),
    }
    shown = table.filter(pc.equal(table["kind"], "demonstration"))
    with store.session() as session:
        traffic = topics.nearest(recent_prompts(session, build.application))
        preferences = _preferences(session, build.application, table)
    return {
        "settings": rules,
        "settings_hash": json_sha256(rules),
        "code_hash": code_hash(),
        "stages": build.ledger.entries,
        "coverage": coverage_report(
            sum(counted, Tally()), topics.names, Counter(int(topic) for topic in traffic)
        ),
        "lineage": {
            "interactions": len(table["interaction_id"].unique()),
            "subjects": len(table["subject"].drop_null().unique()),
            "without_subject": shown["subject"].null_count,  # of demonstrations, as sources
            "sources": dict(Counter(shown["source"].to_pylist()).most_common()),
            "preferences": preferences,
            "oldest": iso(pc.min(table["started_at"]).as_py()),
            "newest": iso(pc.max(table["started_at"]).as_py()),
        },
    }


def _preferences(session: Session, application: str, table: Table) -> dict[str, Any]:
    """Return how many pairs people decided and how many a judge did, and how good that judge is."""
    pairs = table.filter(pc.equal(table["kind"], "pair"))
    by_judge = pairs.filter(pc.equal(pairs["source"], JUDGE))
    people = pairs.num_rows - by_judge.num_rows
    told: dict[str, Any] = {"people": people, "judge": by_judge.num_rows, "judges": []}
    if by_judge.num_rows == 0:
        return told
    names = zip(by_judge["judge"].to_pylist(), by_judge["rubric"].to_pylist(), strict=True)
    for (judge, rubric), count in Counter(names).most_common():
        measured = measured_agreement(judgements_of(session, application, judge, rubric))
        own = {"judge": judge, "rubric": rubric, "pairs": count, "agreement": measured.as_dict()}
        told["judges"].append(own)
    return told
