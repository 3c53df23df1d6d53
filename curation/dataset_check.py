"""CURATE, checked: what is wrong with a dataset version, by its files, its manifest and its row.

A version's row comes in, sentences go out, one for each thing that is wrong; none for a version
that can be trusted. Counts what the files hold themselves, compares the two forms of the
demonstrations, and looks for leaks. Changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from core.errors import DataError
from curation.dataset_files import MESSAGES_FOLDER
from curation.dataset_version import CARD_FILE, MANIFEST_FILE, verify_dataset
from curation.examples import count_rows, parts_of, read_part
from curation.history import SPLITS
from curation.leaks import find_leaks
from feedback.tables import DatasetVersion


def problems(version: DatasetVersion) -> list[str]:
    """Return what is wrong with a version, each with its mend; nothing if all is well."""
    found: list[str] = []
    try:
        verify_dataset(version)
    except DataError as error:
        found.append(error.message)
    found += _manifest_problems(version)
    try:
        found += _count_problems(version)
        found += _jsonl_problems(version)
        found += [f"dataset {version.id}: {leak}; curate it again" for leak in find_leaks(version)]
    except DataError as error:  # what cannot be read cannot be looked into: that is the finding
        if error.message not in found:
            found.append(error.message)
    return found


def _manifest_problems(version: DatasetVersion) -> Iterator[str]:
    folder = Path(version.path)
    path = folder / MANIFEST_FILE
    try:
        manifest = msgspec.json.decode(path.read_bytes())
    except FileNotFoundError:
        yield f"dataset {version.id} lacks {path}: restore the folder from a backup"
    except msgspec.DecodeError as error:
        yield f"dataset {version.id}: {path} is no JSON ({error}); restore it from a backup"
    else:
        if manifest != version.manifest:
            found = _differing(version, manifest)
            yield f"dataset {version.id}: {path} differs from the store; {found}"
    if not (folder / CARD_FILE).is_file():
        yield f"dataset {version.id} lacks {folder / CARD_FILE}: restore the folder from a backup"


def _differing(version: DatasetVersion, manifest: Any) -> str:
    if not isinstance(manifest, dict):
        return "it is no object; restore it from a backup"
    names = {*manifest, *version.manifest}
    unlike = sorted(name for name in names if manifest.get(name) != version.manifest.get(name))
    return f"in {', '.join(unlike)}: restore it from a backup"


def _count_problems(version: DatasetVersion) -> Iterator[str]:
    """Yield where files hold other numbers of examples than the manifest and the row say."""
    told: dict[str, dict[str, int]] = version.manifest.get("kinds") or {
        "demonstration": version.manifest["splits"]
    }
    counted = {(part.kind, part.split): count_rows(version, part) for part in parts_of(version)}
    for (kind, split), rows in counted.items():
        said = told.get(kind, {}).get(split, 0)
        if rows != said:
            yield (
                f"dataset {version.id} holds {rows} examples ({kind}, {split}), and its manifest "
                f"says {said}: restore the folder from a backup"
            )
    for split in SPLITS:
        rows, said = counted["demonstration", split], getattr(version, f"{split}_rows")
        if rows != said:
            yield (
                f"dataset {version.id} holds {rows} demonstrations in {split}, and the store says "
                f"{said}: restore store and folder from one backup"
            )


def _jsonl_problems(version: DatasetVersion) -> Iterator[str]:
    """Yield where the JSON Lines do not say what the Parquet files say, and ids that repeat."""
    seen = Counter[tuple[str, str]]()
    for part in parts_of(version):
        path = Path(version.path) / MESSAGES_FOLDER / f"{part.split}.jsonl"
        shown = part.kind == "demonstration"
        lines = _lines(version, path) if shown else iter(())
        for table in read_part(version, part):
            seen.update((part.kind, id_) for id_ in table["example_id"].to_pylist())
            if shown and table["messages"].to_pylist() != [
                next(lines, None) for _ in range(len(table))
            ]:
                yield f"dataset {version.id}: {path} {_UNLIKE}"
                shown = False
        if shown and next(lines, None) is not None:
            yield f"dataset {version.id}: {path} {_UNLIKE}"
    twice = [id_ for (_, id_), count in seen.items() if count > 1]
    if twice:
        yield (
            f"dataset {version.id} holds {len(twice)} examples twice, such as {twice[0]}: "
            "curate it again"
        )


def _lines(version: DatasetVersion, path: Path) -> Iterator[list[dict[str, str]] | None]:
    """Yield the messages of each line; None for a line without any."""
    if not path.is_file():
        raise DataError(f"dataset {version.id} lacks {path}: restore the folder from a backup")
    decoder = msgspec.json.Decoder(dict[str, list[dict[str, str]]])
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield decoder.decode(line).get("messages")
            except msgspec.DecodeError as error:
                raise DataError(
                    f"dataset {version.id}: line {number} of {path} is no example ({error}); "
                    "restore the folder from a backup"
                ) from error


_UNLIKE = "holds other conversations than the Parquet file beside it; restore it from a backup"
