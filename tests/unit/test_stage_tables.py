"""All row stages: the same result however a table is cut, and whatever engine carries it."""

from __future__ import annotations

import pickle
from pathlib import Path

import pyarrow as pa
import pytest

from core.curation_settings import LanguageSettings, QualitySettings, ScreenSettings
from curation.stages.encoding import MendEncoding
from curation.stages.language import KeepLanguages
from curation.stages.personal import RedactPersonal
from curation.stages.quality import CheckQuality
from curation.stages.screens import ScreenWords
from curation.stages.structure import CheckStructure
from curation.stages.tokens import CountTokens
from curation.table import CANDIDATES, DROPS, Outcome, Stage, Table
from tests.unit.candidate_tables import pair, row, table_of
from tests.unit.curation_world import write_tokenizer

NAMES = ["encoding", "structure", "tokens", "language", "quality", "screens", "personal"]


def stage(name: str, folder: Path) -> Stage:
    """Return the stage, after a journey to another process."""
    stages: dict[str, Stage] = {
        "encoding": MendEncoding(),
        "structure": CheckStructure(100),
        "tokens": CountTokens(write_tokenizer(folder), 60),
        "language": KeepLanguages(LanguageSettings(allowed=("en",))),
        "quality": CheckQuality(QualitySettings()),
        "screens": ScreenWords(ScreenSettings()),
        "personal": RedactPersonal({"ticket": r"\bT-\d{2}\b"}),
    }
    return pickle.loads(pickle.dumps(stages[name]))


def many() -> Table:
    """Return a table in which every stage keeps, drops and alters something."""
    key = "Zk3vQ9xT1mB7pLw2Rn8sYc4H"
    return table_of(
        row("Where is the key?", "It is below the mat. "),
        row("Wer?", "Das weiß ich leider nicht, aber ich frage gern den Hausmeister."),
        pair("Who?", "Ask bob@example.org about T-12.", "caf\ufffd"),
        row("What?", "word " * 70),
        row("What?", "y"),
        {**row("x", "y"), "messages": None},
        row("Kys", f"The key is {key}"),
        row("How?", "I'm sorry, but I can't help with that.", kind="label", label=True),
    )


def told(outcomes: list[Outcome]) -> tuple[list[object], list[object], int]:
    """Return what outcomes kept, dropped and altered together."""
    kept: list[object] = [
        {**row, "messages": row["messages"] or []}  # a stage that writes texts makes null empty
        for outcome in outcomes
        for row in outcome.kept.to_pylist()
    ]
    drops: list[object] = [row for outcome in outcomes for row in outcome.drops.to_pylist()]
    return kept, drops, sum(outcome.changed for outcome in outcomes)


@pytest.mark.parametrize("name", NAMES)
def test_a_cut_table_has_the_same_result(name: str, tmp_path: Path) -> None:
    """Slices one by one, and a table of many chunks, as the whole."""
    table, run = many(), stage(name, tmp_path)
    whole = told([run(table)])
    assert whole[1] or whole[2], "the table tests nothing of this stage"
    slices = [table.slice(start, 3) for start in range(0, table.num_rows, 3)]
    assert told([run(part) for part in slices]) == whole
    assert told([run(pa.concat_tables(slices))]) == whole


@pytest.mark.parametrize("name", NAMES)
def test_a_table_without_rows_or_chunks_is_none_the_worse(name: str, tmp_path: Path) -> None:
    """The columns are those of the other tables."""
    run = stage(name, tmp_path)
    empty = pa.Table.from_batches([], schema=CANDIDATES)
    outcome = run(empty)
    assert outcome.drops.schema == DROPS
    assert outcome.kept.num_rows == 0
    assert outcome.kept.schema == run(many()).kept.schema
