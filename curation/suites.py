"""CURATE: the evaluation suites, of which nothing may be learnt.

Files come in: JSONL (one item a line), TOML (`[[examples]]`), or folders of both. Suites of items,
each a prompt and its reference answer, go out. What cannot be read stops the work with the file and
the line: a suite that is read in part protects in part. Knows nothing of candidates.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec

from core.errors import DataError

# What data sets of evaluation call them; the first that an item has counts.
PROMPTS = ("prompt", "question", "input", "messages")
ANSWERS = ("answer", "reference", "expected")

_EXAMPLE = re.compile(r"^\s*\[\[\s*examples\s*\]\]", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that a suite asks. `number` counts from 1 in its file."""

    number: int
    prompt: str  # of a conversation: what the user says, one turn a line
    answer: str = ""  # "" where none is given


@dataclass(frozen=True, slots=True)
class Suite:
    """The items of one file, by the file's name, in a folder with the folder's before it."""

    name: str
    items: tuple[Item, ...]


Suites = tuple[Suite, ...]


def read_suites(paths: Iterable[Path]) -> Suites:
    """Return the suites of all files and folders, each file once.

    Raises: DataError that names the file and line that is not a suite's, or two suites of one name.
    """
    files: dict[Path, tuple[str, Path]] = {}
    for path in paths:
        for name, file in _files(path):
            files.setdefault(file.resolve(), (name, file))
    names = Counter(name for name, _ in files.values())
    for name, file in files.values():
        if names[name] > 1:
            raise DataError(f"{file}: another suite is called {name!r} too; rename one file")
    return tuple(Suite(name, tuple(_items(file))) for name, file in files.values())


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    if path.is_file():
        yield path.stem, path
        return
    if not path.is_dir():
        raise DataError(f"{path}: no such file or folder of an evaluation suite")
    found = sorted(file for file in path.rglob("*") if file.suffix in (".jsonl", ".toml"))
    if not found:
        raise DataError(f"{path}: holds no .jsonl or .toml file of an evaluation suite")
    for file in found:
        yield f"{path.name}/{file.relative_to(path).with_suffix('').as_posix()}", file


def _items(file: Path) -> Iterator[Item]:
    """Yield the file's items, at least one."""
    if file.suffix not in (".jsonl", ".toml"):
        raise DataError(f"{file}: a suite is a .jsonl or a .toml file, not {file.suffix!r}")
    number = 0
    for number, (line, value) in enumerate(
        _jsonl(file) if file.suffix == ".jsonl" else _toml(file), start=1
    ):
        yield _item(number, value, f"{file}:{line}")
    if number == 0:
        raise DataError(f"{file}: the suite is empty; add items or leave the file out")


def _jsonl(file: Path) -> Iterator[tuple[int, Any]]:
    """Yield each item with its line; blank lines are none."""
    with file.open("rb") as lines:
        for line, raw in enumerate(lines, start=1):
            if raw.strip():
                yield line, _json(raw, f"{file}:{line}")


def _json(raw: bytes, where: str) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{where}: not a line of JSON in UTF-8: {error}") from error


def _toml(file: Path) -> Iterator[tuple[int, Any]]:
    """Yield each of the `examples` with the line of its header."""
    try:
        text = file.read_text("utf-8")
        content = tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = file.read_bytes()[: error.start].count(b"\n") + 1
        raise DataError(f"{file}:{line}: not UTF-8: {error.reason}") from error
    except tomllib.TOMLDecodeError as error:
        line = _line(str(error)) or file.read_bytes().count(b"\n") + 1
        raise DataError(f"{file}:{line}: not TOML: {error}") from error
    examples = content.get("examples")
    if not isinstance(examples, list):
        raise DataError(f"{file}:1: has no [[examples]]; give each item such a table")
    heads = [text.count("\n", 0, head.end()) + 1 for head in _EXAMPLE.finditer(text)]
    values = cast("list[Any]", examples)
    if len(heads) != len(values):  # written as an array in one place
        heads = [1] * len(values)
    yield from zip(heads, values, strict=True)


def _line(message: str) -> int | None:
    """Return the line that tomllib names; none for the end of the document."""
    found = re.search(r"at line (\d+)", message)
    return int(found[1]) if found else None


def _item(number: int, value: Any, where: str) -> Item:
    if not isinstance(value, dict):
        raise DataError(f"{where}: an item is an object with a prompt, not {_kind(value)}")
    fields = cast("Mapping[str, Any]", value)
    name = next((name for name in PROMPTS if name in fields), None)
    if name is None:
        raise DataError(f"{where}: the item has none of the fields {', '.join(PROMPTS)}")
    prompt = _prompt(fields[name], f"{where}: {name}")
    if not prompt.strip():
        raise DataError(f"{where}: {name} says nothing; write what is asked or delete the item")
    said = next((fields[field] for field in ANSWERS if field in fields), None)
    if said is None and _is_messages(fields[name]):
        said = next((m for m in reversed(fields[name]) if m.get("role") == "assistant"), None)
    return Item(number, prompt, "" if said is None else _text(said, f"{where}: the answer"))


def _prompt(value: Any, where: str) -> str:
    """Return what is asked. A conversation's system message is the application's, not asked."""
    if not _is_messages(value):
        return _text(value, where)
    asked = [message for message in value if message.get("role") == "user"]
    return "\n".join(_text(message, where) for message in asked)


def _is_messages(value: Any) -> bool:
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(part, dict) and "role" in part for part in cast("list[Any]", value))


def _text(value: Any, where: str) -> str:
    """Return the text of a string, a number, a message, a part of one, or a list of those."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, dict):
        fields = cast("Mapping[str, Any]", value)
        # a part without text is an image or a sound: nothing that could be found in text
        return _text(fields.get("content", fields.get("text")) or "", where)
    if isinstance(value, list):
        return "\n".join(_text(part, where) for part in cast("Sequence[Any]", value))
    raise DataError(f"{where} is {_kind(value)}; write a text, or a list of messages")


def _kind(value: Any) -> str:
    return "null" if value is None else f"of type {type(value).__name__}"
