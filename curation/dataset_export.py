"""CURATE, outwards: a dataset version as a folder that other tools train from.

A version and a format come in; a folder with one file for each kind and split, and a card that
says what it is and what was left out, goes out: whole, or not at all. `parquet` is the version
itself, file by file. Empty files are not written: Hugging Face's tools take none. Knows nothing of
how formats are worded.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import msgspec

from core.errors import ConflictError, RequestError
from core.files import write_atomic
from curation.dataset_files import MESSAGES_FOLDER
from curation.dataset_version import (
    CARD_FILE,
    MANIFEST_FILE,
    scratch_folder,
    sync_folder,
    verify_dataset,
)
from curation.examples import Part, count_rows, parts_of, read_part, text_columns
from curation.export_formats import LINE_FORMATS, FormatName, LineFormat
from curation.history import SPLITS
from feedback.tables import DatasetVersion

Progress = Callable[[int, int], None]  # examples done, examples in all


class Export(msgspec.Struct, frozen=True):
    """What was written: files with their examples, and what has no place in the format."""

    dataset: str
    content_hash: str
    format: str
    folder: str
    files: dict[str, int]
    left_out: dict[str, int]


def export_version(
    version: DatasetVersion, folder: Path, format: str, progress: Progress | None = None
) -> Export:
    """Write a version into `folder`, which must be new or empty, in one of the formats.

    Raises: RequestError when there is no such format; ConflictError when something is in the
    folder; DataError when the version's files are not those that were written.
    """
    if format not in get_args(FormatName):
        known = ", ".join(get_args(FormatName))
        raise RequestError(f"no format {format!r}: take one of {known}", field="format")
    place = folder.absolute()
    _require_empty(place)
    verify_dataset(version)
    place.parent.mkdir(parents=True, exist_ok=True)
    account = _Account(sum(count_rows(version, part) for part in parts_of(version)), progress)
    with scratch_folder(place.parent, place.name) as scratch:
        if format == "parquet":
            _copy(version, scratch, account)
        else:
            _write_lines(version, scratch, LINE_FORMATS[format], account)
        done = Export(
            version.id, version.content_hash, format, str(place), account.files, account.left_out
        )
        if format != "parquet":
            write_atomic(scratch / CARD_FILE, _card(done))
        _settle(scratch, place)
    return done


class _Account:
    """What is done so far."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.files: dict[str, int] = {}
        self.left_out = Counter[str]()
        self._total = total
        self._done = 0
        self._progress = progress
        self.add(0)

    def add(self, rows: int) -> None:
        """Report so many examples more."""
        self._done += rows
        if self._progress is not None:
            self._progress(self._done, self._total)


def _require_empty(place: Path) -> None:
    if place.is_dir() and any(place.iterdir()):
        raise ConflictError(f"{place} is not empty: name a new folder, or empty this one")
    if place.exists() and not place.is_dir():
        raise ConflictError(f"{place} is no folder: name a new one")


def _copy(version: DatasetVersion, scratch: Path, account: _Account) -> None:
    """Copy the version's files as they are, card and manifest too."""
    source = Path(version.path)
    for part in parts_of(version):
        _copy_file(source, scratch, part.file)
        account.files[part.file.as_posix()] = count_rows(version, part)
        account.add(account.files[part.file.as_posix()])
    lines = [Path(MESSAGES_FOLDER) / f"{split}.jsonl" for split in SPLITS]
    for file in (*lines, Path(MANIFEST_FILE), Path(CARD_FILE)):
        _copy_file(source, scratch, file)


def _copy_file(source: Path, target: Path, file: Path) -> None:
    (target / file).parent.mkdir(exist_ok=True)
    shutil.copyfile(source / file, target / file)


def _write_lines(
    version: DatasetVersion, scratch: Path, format: LineFormat, account: _Account
) -> None:
    for part in parts_of(version):
        if part.kind not in format.forms:
            rows = count_rows(version, part)
            account.left_out.update({_no_place(part.kind): rows} if rows else {})
            account.add(rows)
            continue
        file = Path(format.folders[part.kind]) / f"{part.split}.jsonl"
        (scratch / file).parent.mkdir(exist_ok=True)
        written = 0
        with (scratch / file).open("wb") as out:
            for line in _lines(version, part, format, account):
                out.write(line)
                written += 1
        if written:
            account.files[file.as_posix()] = written
        else:
            (scratch / file).unlink()


def _lines(
    version: DatasetVersion, part: Part, format: LineFormat, account: _Account
) -> Iterator[bytes]:
    """Yield the lines of a file, and count what cannot be one."""
    encoder = msgspec.json.Encoder()
    form = format.forms[part.kind]
    columns = [*text_columns(part.kind), *(["label"] if part.kind == "label" else [])]
    for table in read_part(version, part, columns):
        for row in table.to_pylist():
            line = form(row)
            if line is None:
                account.left_out.update([f"{part.kind}: {format.cannot}"])
            else:
                yield encoder.encode(line) + b"\n"
        account.add(table.num_rows)


def _no_place(kind: str) -> str:
    if kind == "safety":
        return "safety: tests, never trained on"
    return f"{kind}: no place in this format"


def _settle(scratch: Path, place: Path) -> None:
    """Make the files durable and put the folder in its place."""
    folders = [path for path in scratch.rglob("*") if path.is_dir()]
    for path in folders:
        if not any(path.iterdir()):
            path.rmdir()
    for path in scratch.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    for path in (scratch, *(path for path in folders if path.is_dir())):
        sync_folder(path)
    try:
        scratch.rename(place)
    except OSError as error:
        raise ConflictError(
            f"{place} cannot be written ({error.strerror}): name a new folder"
        ) from error
    sync_folder(place.parent)


def _card(done: Export) -> str:
    """Return the README.md of an export; by its head `datasets.load_dataset` finds the files."""
    folders: dict[str, list[str]] = {}
    for file in done.files:
        folders.setdefault(Path(file).parent.as_posix(), []).append(file)
    configs = "\n".join(
        "\n".join([
            f"- config_name: {'default' if folder == '.' else folder}",
            "  data_files:",
            *(f"  - split: {Path(file).stem}\n    path: {file}" for file in files),
        ])
        for folder, files in folders.items()
    )  # fmt: skip
    rows = "\n".join(f"| `{file}` | {count} |" for file, count in done.files.items())
    left = "\n".join(f"- {count} {reason}" for reason, count in done.left_out.items())
    return f"""---
configs:
{configs}
---

# {done.dataset} as {done.format}

Written from the dataset version `{done.dataset}` with the content hash
`{done.content_hash}`.

| File | Examples |
| --- | ---: |
{rows}

Left out:

{left or "- nothing"}
"""
