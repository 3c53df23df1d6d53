"""CURATE: the files of a dataset version, written in the order of their examples' ids.

    train.parquet …            demonstrations: `messages`
    pairs/train.parquet …      preferences: `prompt`, `chosen`, `rejected`; of an AI judge's: who
    labels/train.parquet …     thumbs: `prompt`, `completion`, `label`
    safety/test.parquet        what people flagged: `messages`, `category`; never trained on
    messages/train.jsonl …     the demonstrations again, one `{"messages": …}` a line

The shapes are those of TRL's trainers. Rows come in with their splits, from any number of shards;
they are put into buckets by id first, so that memory holds one bucket and order tells nothing of
time. Knows nothing of how examples were chosen.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from curation.history import SAFETY, SPLITS
from curation.table import MESSAGES, Table, conversations, pc, roles, with_column

KINDS = ("demonstration", "pair", "label", "safety")
FOLDERS = {"demonstration": "", "pair": "pairs", "label": "labels", "safety": "safety"}
MESSAGES_FOLDER = "messages"
BUCKET_ROWS = 20_000
IDENTITY = ("kind", "example_id", "interaction_id", "split")

_COMMON = [
    ("example_id", pa.string()),
    ("interaction_id", pa.string()),
    ("subject", pa.string()),
    ("source", pa.string()),
    ("is_new", pa.bool_()),  # the parent did not have it
    ("weight", pa.float64()),  # inverse exposure, 1 on average
]
# Of what a model wrote or decided: interactions that it was made from
SEEDS = ("seeds", pa.list_(pa.string()))
# Of a pair that an AI judge decided (source "judge"): the model, and the hash of its question
JUDGED_BY = [("judge", pa.string()), ("rubric", pa.string())]
SCHEMAS = {
    "demonstration": pa.schema([*_COMMON, SEEDS, ("messages", MESSAGES)]),
    "pair": pa.schema(
        [
            *(*_COMMON, SEEDS),
            *(("prompt", MESSAGES), ("chosen", MESSAGES), ("rejected", MESSAGES)),
            *JUDGED_BY,
        ]
    ),
    "label": pa.schema(
        [*_COMMON, SEEDS, ("prompt", MESSAGES), ("completion", MESSAGES), ("label", pa.bool_())]
    ),
    "safety": pa.schema([*_COMMON, SEEDS, ("messages", MESSAGES), ("category", pa.string())]),
}


def example_file(kind: str, split: str) -> Path:
    """Return where the examples of a kind and split are, below the version's folder."""
    return Path(FOLDERS[kind]) / f"{'test' if split == SAFETY else split}.parquet"


def example_files(kinds: Iterable[str]) -> Iterator[tuple[str, str, Path]]:
    """Yield kind, split and file of all that a version with examples of these kinds has."""
    for kind in KINDS:
        if kind in kinds or kind == "demonstration":
            for split in (SAFETY,) if kind == "safety" else SPLITS:
                yield kind, split, example_file(kind, split)


def write_examples(folder: Path, scratch: Path, tables: Iterable[Table], rows: int) -> None:
    """Write the example files of a version into `folder`, of tables with `rows` rows in all.

    The tables have the columns of candidates and keys, and `split` and `is_new`. `scratch` is a
    folder for the buckets.
    """
    buckets = max(1, math.ceil(rows / BUCKET_ROWS))
    kinds: set[str] = set()
    for table in tables:
        kinds.update(table["kind"].unique().to_pylist())
        _put_into_buckets(scratch, table, buckets)
    with ExitStack() as stack:
        files = _open(folder, kinds, stack)
        texts = {split: stack.enter_context(_jsonl(folder, split)) for split in SPLITS}
        for number in range(buckets):
            bucket = _read_bucket(scratch, number)
            if bucket is None:
                continue
            for (kind, split), file in files.items():
                mine = bucket.filter(
                    pc.and_(_is(bucket, "kind", kind), _is(bucket, "split", split))
                )
                file.write_table(_shaped(kind, mine))
                if kind == "demonstration":
                    _write_lines(texts[split], mine)


def read_identities(folder: Path, kinds: Iterable[str]) -> Table:
    """Return kind, example_id, interaction_id and split of all examples in a version's folder."""
    parts: list[Table] = []
    for kind, split, file in example_files(kinds):
        part = pq.ParquetFile(folder / file).read(["example_id", "interaction_id"])
        part = with_column(part, "kind", [kind] * part.num_rows, pa.string())
        parts.append(with_column(part, "split", [split] * part.num_rows, pa.string()))
    return sorted_identities(pa.concat_tables(parts))


def sorted_identities(table: Table) -> Table:
    """Return what makes examples the same in two versions, in an order of its own."""
    return table.select(list(IDENTITY)).sort_by([(name, "ascending") for name in IDENTITY])


def _put_into_buckets(scratch: Path, table: Table, buckets: int) -> None:
    """Append a table's rows to the files of their buckets, which are ranges of ids."""
    width = 1 << 32
    leading = [int(id_[:8], 16) * buckets // width for id_ in table["example_id"].to_pylist()]
    numbers = pa.array(leading, pa.int32())
    for number in sorted(set(leading)):
        part = table.filter(pc.equal(numbers, number))
        folder = scratch / f"bucket-{number:06}"
        folder.mkdir(exist_ok=True)
        pq.write_table(part, folder / f"{len(list(folder.iterdir())):06}.parquet")


def _read_bucket(scratch: Path, number: int) -> Table | None:
    """Return the rows of a bucket in the order of their ids, or None if it has none."""
    paths = sorted((scratch / f"bucket-{number:06}").glob("*.parquet"))
    if not paths:
        return None
    whole = pa.concat_tables([pq.ParquetFile(path).read() for path in paths])
    return whole.sort_by([("example_id", "ascending"), ("candidate_id", "ascending")])


def _open(folder: Path, kinds: Iterable[str], stack: ExitStack) -> dict[tuple[str, str], Any]:
    files: dict[tuple[str, str], Any] = {}
    for kind, split, file in example_files(kinds):
        path = folder / file
        path.parent.mkdir(exist_ok=True)
        writer = pq.ParquetWriter(path, SCHEMAS[kind], compression="zstd")
        files[kind, split] = stack.enter_context(writer)
    return files


def _jsonl(folder: Path, split: str) -> Any:
    path = folder / MESSAGES_FOLDER / f"{split}.jsonl"
    path.parent.mkdir(exist_ok=True)
    return path.open("wb")


def _shaped(kind: str, table: Table) -> Table:
    """Return rows of one kind in the columns of its files."""
    columns = {name: table[name] for name, _ in _COMMON}
    later = (SEEDS, *JUDGED_BY) if kind == "pair" else (SEEDS,)
    columns |= {name: _column(table, name, type_) for name, type_ in later}
    if kind in ("demonstration", "safety"):
        columns["messages"] = table["messages"]
    else:
        columns |= _parted(kind, table)
    if kind == "label":
        columns["label"] = table["label"]
    if kind == "safety":
        columns["category"] = table["category"]
    return pa.table(columns).select(SCHEMAS[kind].names).cast(SCHEMAS[kind])


def _column(table: Table, name: str, type_: Any) -> Any:
    """Return a column; of nulls where no row of the build has it."""
    return table[name] if name in table.column_names else pa.nulls(table.num_rows, type_)


def _parted(kind: str, table: Table) -> Mapping[str, Any]:
    """Return prompt and answers apart, as TRL's trainers want them."""
    prompts: list[list[dict[str, str]]] = []
    answers: list[list[dict[str, str]]] = []
    lost: list[list[dict[str, str]]] = []
    for names, texts in zip(roles(table), conversations(table), strict=True):
        messages = [
            {"role": role, "content": text} for role, text in zip(names, texts, strict=False)
        ]
        prompts.append(messages[:-1])
        answers.append(messages[-1:])
        lost.append([{"role": "assistant", "content": text} for text in texts[len(names) :]])
    columns = {"prompt": pa.array(prompts, MESSAGES)}
    if kind == "label":
        return columns | {"completion": pa.array(answers, MESSAGES)}
    return columns | {"chosen": pa.array(answers, MESSAGES), "rejected": pa.array(lost, MESSAGES)}


def write_messages(folder: Path, split: str, table: Table) -> None:
    """Write the JSON Lines of a split's demonstrations."""
    with _jsonl(folder, split) as file:
        _write_lines(file, table)


def _write_lines(file: Any, table: Table) -> None:
    encoder = msgspec.json.Encoder()
    for messages in table["messages"].to_pylist():
        file.write(encoder.encode({"messages": messages}) + b"\n")


def _is(table: Table, column: str, value: str) -> Table:
    return pc.equal(table[column], value)
