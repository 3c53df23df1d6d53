"""Evidently's reports beside ours: one of the data, one of the texts, one of the quality.

DETECT's second opinion, for people: the same rows come in, HTML and JSON files go out. They decide
nothing (decision 0037). Evidently is imported inside a call, never at import time; it is told to
report to nobody, and its own deprecation warnings are not ours to mend.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from monitoring.drift.columns import COLUMNS, Column
from monitoring.drift.reading import Texts
from monitoring.drift.sample import Sample

MISSING = (
    "Evidently's reports are not written, because it is not installed: "
    "pip install 'ratchet-llm[drift]'"
)
QUALITY = ("rating", "rated", "refusal", "format_valid", "error", "latency_s")


@dataclass(frozen=True, eq=False)
class Side:
    """One side of the comparison: its columns, and the texts of some rows."""

    sample: Sample
    texts: Sequence[Texts]


def is_installed() -> bool:
    """Whether Evidently is there; it is not imported for that."""
    return find_spec("evidently") is not None


def write_evidently(reference: Side, window: Side, folder: Path) -> list[str]:
    """Write `evidently_<data|text|quality>.html` and `.json`; return the files' names.

    The text report is left out where no texts are stored; of texts only lengths and counts are
    shown, so that a person's erasure need not look here.
    """
    makers: dict[str, Callable[[Side, Side], Any]] = {
        "data": _data,
        "text": _text,
        "quality": _quality,
    }
    names: list[str] = []
    os.environ["DO_NOT_TRACK"] = "1"  # read by Evidently's telemetry when it is imported
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, make in makers.items():
            snapshot = make(reference, window)
            if snapshot is not None:
                snapshot.save_html(str(folder / f"evidently_{name}.html"))
                snapshot.save_json(str(folder / f"evidently_{name}.json"))
                names += [f"evidently_{name}.html", f"evidently_{name}.json"]
    return names


def data_snapshot(reference: Sample, window: Sample) -> Any:
    """Return Evidently's run of its `DataDriftPreset` with its defaults on all our columns."""
    from evidently import Report
    from evidently.presets import DataDriftPreset

    columns = _shared(reference, window, [column.name for column in COLUMNS])
    if not columns:
        return None
    return Report([DataDriftPreset()]).run(_dataset(window, columns), _dataset(reference, columns))


def _data(reference: Side, window: Side) -> Any:
    return data_snapshot(reference.sample, window.sample)


def _quality(reference: Side, window: Side) -> Any:
    from evidently import Report
    from evidently.presets import DataSummaryPreset

    columns = _shared(reference.sample, window.sample, QUALITY)
    if not columns:
        return None
    return Report([DataSummaryPreset()]).run(
        _dataset(window.sample, columns), _dataset(reference.sample, columns)
    )


def _text(reference: Side, window: Side) -> Any:
    from evidently import Report
    from evidently.presets import TextEvals

    if not reference.texts or not window.texts:
        return None
    return Report([TextEvals()]).run(_described(window.texts), _described(reference.texts))


def _described(texts: Sequence[Texts]) -> Any:
    """Return lengths and counts of the texts: descriptors that need no model and no download."""
    import pandas as pd
    from evidently import DataDefinition, Dataset
    from evidently.descriptors import (
        NonLetterCharacterPercentage,
        SentenceCount,
        TextLength,
        WordCount,
    )

    kinds = (TextLength, WordCount, SentenceCount, NonLetterCharacterPercentage)
    words = ("characters", "words", "sentences", "% not letters")
    descriptors: list[Any] = [
        kind(name, alias=f"{name}: {word}")
        for name in ("prompt", "answer")
        for kind, word in zip(kinds, words, strict=True)
    ]
    frame = pd.DataFrame(
        {"prompt": [one.prompt for one in texts], "answer": [one.answer for one in texts]}
    )
    definition = DataDefinition(text_columns=["prompt", "answer"])
    return Dataset.from_pandas(frame, data_definition=definition, descriptors=descriptors)


def _shared(reference: Sample, window: Sample, names: Sequence[str]) -> list[Column]:
    """Return those columns that both sides have values in."""
    by_name = {column.name: column for column in COLUMNS}
    return [
        by_name[name]
        for name in names
        if _has_values(reference, by_name[name]) and _has_values(window, by_name[name])
    ]


def _has_values(sample: Sample, column: Column) -> bool:
    if column.kind == "number":
        values = sample.numbers.get(column.name)
    elif column.kind == "flag":
        values = sample.flags.get(column.name)
    else:
        labels = sample.labels.get(column.name)
        return labels is not None and bool((labels != "").any())
    return values is not None and bool((values == values).any())


def _dataset(sample: Sample, columns: Sequence[Column]) -> Any:
    import pandas as pd
    from evidently import DataDefinition, Dataset

    numbers = {one.name: sample.numbers[one.name] for one in columns if one.kind == "number"}
    flags = {one.name: _yes_no(sample.flags[one.name]) for one in columns if one.kind == "flag"}
    labels = {one.name: sample.labels[one.name] for one in columns if one.kind == "label"}
    definition = DataDefinition(
        numerical_columns=list(numbers), categorical_columns=[*flags, *labels]
    )
    return Dataset.from_pandas(pd.DataFrame(numbers | flags | labels), data_definition=definition)


def _yes_no(flags: Any) -> list[str | None]:
    """Return flags as categories: of 0 and 1 Evidently would make a number."""
    return [None if flag != flag else ("yes" if flag else "no") for flag in flags]
