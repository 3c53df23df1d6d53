"""Suites as files: those that come with Ratchet (`suites/*.toml`), and a user's own.

Names or paths go in, `Suite` values come out, with the limits of the settings where a file sets
none. What is wrong is told with the file's name before anything is asked.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from core.errors import SettingsError
from core.gate_settings import GateSettings
from retrain.gate.perturb import PERTURBATIONS
from retrain.gate.scores import METRICS, NEEDS_REFERENCE
from retrain.gate.suite import Item, Suite

FOLDER = Path(__file__).with_name("suites")
ALWAYS = ("test", "regression")  # a gate without them would be none


def load_suites(settings: GateSettings) -> tuple[Suite, ...]:
    """Return the suites of the settings, each once, the obligatory ones first.

    Raises: SettingsError that names the file and the value.
    """
    names = list(dict.fromkeys((*ALWAYS, *settings.suites)))
    suites = [load_suite(name, settings) for name in names]
    seen: dict[str, str] = {}
    for name, suite in zip(names, suites, strict=True):
        if suite.name in seen:
            raise SettingsError(
                f"gate.suites: {name} and {seen[suite.name]} are both called {suite.name!r}: "
                "rename one file"
            )
        seen[suite.name] = name
    return tuple(suites)


def load_suite(name: str, settings: GateSettings) -> Suite:
    """Return one suite by its name or its file.

    Raises: SettingsError.
    """
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(suite_names())
        raise SettingsError(f"no suite {name!r}: give a .toml file, or one of {known}")
    try:
        values = tomllib.loads(path.read_text())
        suite = msgspec.convert(values, Suite, strict=True)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise SettingsError(f"{path}: {error}") from error
    suite = msgspec.structs.replace(
        suite,
        name=suite.name or path.stem,
        limit=suite.limit or settings.examples,
        examples=(*suite.examples, *_read_file(path, suite)),
        **_limits(suite, settings),
    )
    for fault in _faults(suite):
        raise SettingsError(f"{path}: {fault}")
    return suite


def suite_names() -> list[str]:
    """Return the names of the suites that come with Ratchet."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def asking_files(names: Sequence[str]) -> tuple[Path, ...]:
    """Return the files whose questions must not become training data."""
    paths = [Path(n) if n.endswith(".toml") else FOLDER / f"{n}.toml" for n in names]
    return tuple(path for path in paths if path.is_file() and "[[examples]]" in path.read_text())


def _limits(suite: Suite, settings: GateSettings) -> dict[str, float]:
    """Return the limits that the file leaves to the settings."""
    if suite.against == "none":
        return {}
    limits: dict[str, float] = {}
    if suite.max_doubt is None:
        limits["max_doubt"] = settings.max_doubt
    if suite.max_drop is None and suite.min_kept is None:
        retention = suite.against == "base"
        name = "min_kept" if retention else "max_drop"
        limits[name] = settings.min_retention if retention else settings.max_drop
    return limits


def _read_file(path: Path, suite: Suite) -> list[Item]:
    if not suite.file:
        return []
    file = path.parent / suite.file
    if not file.is_file():
        raise SettingsError(f"{path}: its file {suite.file!r} is not beside it")
    items: list[Item] = []
    for number, line in enumerate(file.read_text().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            items.append(msgspec.json.decode(line, type=Item))
        except msgspec.DecodeError as error:
            raise SettingsError(f"{file}, line {number}: {error}") from error
    return items


def _faults(suite: Suite) -> Iterator[str]:
    if suite.metric not in METRICS:
        yield f"metric is {suite.metric!r}, not one of {', '.join(sorted(METRICS))}"
    if suite.source == "examples" and not suite.examples:
        yield "source is 'examples', but there are none: add [[examples]], or name a file"
    if suite.source != "examples" and suite.examples:
        yield f"has [[examples]], but asks those of source {suite.source!r}"
    for name in suite.perturb:
        if name not in PERTURBATIONS:
            yield f"perturb has {name!r}, not one of {', '.join(PERTURBATIONS)}"
    if suite.against == "none" and suite.min_score is None and suite.worst != "report":
        yield "against is 'none' and there is no min_score: nothing could fail"
    if suite.metric == "accuracy" and len(suite.labels) < 2:
        yield f"accuracy needs labels, at least two (labels is {list(suite.labels)})"
    if suite.metric == "fits_pattern" and not suite.pattern:
        yield "fits_pattern needs a pattern"
    for number, item in enumerate(suite.examples, start=1):
        yield from _item_faults(suite, number, item)


def _item_faults(suite: Suite, number: int, item: Item) -> Iterator[str]:
    if bool(item.prompt) == bool(item.messages):
        yield f"example {number}: give a prompt, or messages"
    for message in item.messages:
        if set(message) != {"role", "content"}:
            yield f"example {number}: a message has role and content, not {sorted(message)}"
    if suite.metric in NEEDS_REFERENCE and not item.answer:
        yield f"example {number}: the metric {suite.metric} needs an answer to compare with"
    if suite.metric == "fits_schema" and item.schema is None:
        yield f"example {number}: the metric fits_schema needs a schema"
