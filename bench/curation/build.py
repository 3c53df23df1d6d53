"""One build of a dataset version, in a process of its own: when each stage began, and its CPU.

A corpus and a data folder come in as arguments; JSON goes to standard output. Row stages are timed
where they run, in the workers, one entry for each stage and shard.

    python -m bench.curation.build CORPUS DATA INTERACTIONS
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.curation.corpus import APPLICATION, Corpus
from core.curation_settings import DecontaminationSettings, LanguageSettings
from core.settings import CurationSettings, Settings
from curation import pipeline
from curation.chain import Chain
from curation.engine import Done, LocalEngine
from curation.minhash import BandHashes, Pairs
from curation.shards import Report
from curation.table import Outcome, Stage, Table
from feedback.store import Store
from feedback.tables import DatasetVersion

KEYS_READ = "read keys"  # our names for what lies between the stages that are told
LEARN = "learn"
ROWS = "row stages"
COLLIDE = "share a bucket"


@dataclass(frozen=True, slots=True)
class Timed:
    """A row stage that writes down how long it takes, one line for each table."""

    name: str
    stage: Stage
    folder: Path

    def __call__(self, table: Table) -> Outcome:
        """Return what the stage returns."""
        began_s, spent_s = time.perf_counter(), time.process_time()
        outcome = self.stage(table)
        told = {
            "name": self.name,
            "rows": table.num_rows,
            "dropped": outcome.drops.num_rows,
            "changed": outcome.changed,
            "wall_s": time.perf_counter() - began_s,
            "cpu_s": time.process_time() - spent_s,
        }
        with (self.folder / f"{os.getpid()}.jsonl").open("a") as file:
            file.write(json.dumps(told) + "\n")
        return outcome


@dataclass(frozen=True, slots=True)
class Mark:
    """That a stage began, by the clock and by the CPU seconds of this process so far."""

    name: str
    at_s: float
    spent_s: float

    @classmethod
    def now(cls, name: str) -> Mark:
        """Return the mark of this moment."""
        return cls(name, time.perf_counter(), time.process_time())


class TimedEngine:
    """The local engine, its row stages timed, and when its passes began and ended."""

    def __init__(self, workers: int | None, folder: Path, marks: list[Mark]) -> None:
        self._engine = LocalEngine(workers)
        self._folder = folder
        self._marks = marks

    def map(self, chain: Chain, sources: Sequence[Path], folder: Path, done: Done) -> list[Report]:
        """Run the chain with each of its stages timed."""
        self._folder.mkdir(parents=True, exist_ok=True)
        steps = [
            replace(step, stage=Timed(step.name, step.stage, self._folder)) for step in chain.steps
        ]
        self._mark(ROWS)
        try:
            return self._engine.map(Chain(tuple(steps)), sources, folder, done)
        finally:
            self._mark(KEYS_READ)

    def colliding(self, bands: BandHashes) -> Pairs:
        """Return the pairs of rows that share a band."""
        self._mark(COLLIDE)
        try:
            return self._engine.colliding(bands)
        finally:
            self._mark("near duplicates")

    def _mark(self, name: str) -> None:
        self._marks.append(Mark.now(name))


def settings_for(corpus: Corpus, data: Path) -> Settings:
    """Return the default settings, with the corpus's store and suite, and English alone."""
    rules = CurationSettings(
        decontamination=DecontaminationSettings(suites=(corpus.suite,)),
        language=LanguageSettings(allowed=("en",)),
    )
    return Settings(data_dir=data, store_url=corpus.store_url, curation=rules)


def build(corpus: Corpus, data: Path) -> dict[str, Any]:
    """Build a version and return when its stages began, what they took, and what came of it."""
    settings = settings_for(corpus, data)
    marks: list[Mark] = []
    # The pipeline makes its engine itself; all else is what `ratchet curate` runs.
    pipeline.engine_of = lambda rules: TimedEngine(rules.workers, data / "timed", marks)
    store = Store(settings.store_address)

    def progress(stage: str, _finished: int, _stages: int) -> None:
        marks.append(Mark.now(stage))

    began_s = time.perf_counter()
    try:
        version = pipeline.build_dataset(store, settings, APPLICATION, progress=progress)
    finally:
        store.close()
    return {
        "wall_s": time.perf_counter() - began_s,
        "spans": spans([*marks, Mark.now("")]),
        "row_stages": row_stages(data / "timed"),
        "cpu_s": _cpu_s(),
        **_told(version),
    }


def spans(marks: Sequence[Mark]) -> dict[str, dict[str, float]]:
    """Return seconds by stage, of the clock and of this process's CPU; row stages are one.

    The last mark is the end. What is no stage's own is told of the stage before it.
    """
    named: dict[str, dict[str, float]] = {}
    since = marks[0]
    for mark in marks[1:]:
        if since.name == ROWS and mark.name != KEYS_READ:
            continue  # the row stages' own progress, which is a guess
        own = named.setdefault(since.name, {"wall_s": 0.0, "cpu_s": 0.0})
        own["wall_s"] += mark.at_s - since.at_s
        own["cpu_s"] += mark.spent_s - since.spent_s
        since = mark
    return named


def row_stages(folder: Path) -> dict[str, dict[str, float]]:
    """Return rows and seconds of each row stage, over all workers."""
    whole: dict[str, dict[str, float]] = {}
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            told = json.loads(line)
            own = whole.setdefault(told.pop("name"), dict.fromkeys(told, 0))
            for name, value in told.items():
                own[name] += value
    return whole


def _cpu_s() -> float:
    """Return the CPU seconds of this process and its ended children."""
    spent = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(own.ru_utime + own.ru_stime for own in spent)


def _told(version: DatasetVersion) -> dict[str, Any]:
    manifest = version.manifest
    return {
        "version": version.path,
        "rows": {
            "train": version.train_rows,
            "validation": version.validation_rows,
            "test": version.test_rows,
        },
        "stages": [
            {name: stage[name] for name in ("name", "before", "after", "changed", "dropped")}
            for stage in manifest["stages"]
        ],
    }


if __name__ == "__main__":
    folder, data, count = sys.argv[1:]
    json.dump(build(Corpus(Path(folder), int(count)), Path(data)), sys.stdout)
