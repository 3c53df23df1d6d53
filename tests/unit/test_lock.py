"""The lock files are complete, agree with pyproject.toml, and let in nothing that was left out."""

import re
import tomllib
from collections import defaultdict
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import Any

import pytest
from lock import MODEL_PACKAGE, ROOT, lock_file, read_pins
from omitted import ALWAYS, omitted
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from loop.doctor import UNWANTED

ENGINES = ("cpu", "gpu")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def versions(name: str) -> dict[str, str]:
    """Return the pins of a lock file: name → version."""
    pairs = (pin.split("==") for pin in read_pins(lock_file(name)))
    return {canonicalize_name(name): version for name, version in pairs}


@pytest.mark.parametrize("name", ["cpu", "gpu", "test"])
def test_each_line_is_one_name_and_one_version(name: str) -> None:
    """No range, no index, no path: equal files give equal environments anywhere."""
    pins = read_pins(lock_file(name))
    assert [pin for pin in pins if not re.fullmatch(r"[\w.-]+==[\w.+!]+", pin)] == []
    assert len(versions(name)) == len(pins) > 10


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_left_out_is_not_locked(engine: str) -> None:
    """torchvision, torchaudio and torchcodec, among others, never enter."""
    locked = versions(engine) | versions("test")
    assert set(omitted(engine)) & set(locked) == set()
    assert set(UNWANTED) <= set(ALWAYS)


def test_the_cpu_set_takes_torch_without_cuda() -> None:
    """The `+cpu` build is named, and no package of NVIDIA's comes with it."""
    locked = versions("cpu")
    assert locked["torch"].endswith("+cpu")
    assert [name for name in locked if name.startswith(("nvidia-", "cuda-"))] == []


@pytest.mark.parametrize("engine", ENGINES)
def test_test_packages_do_not_contradict_the_engine(engine: str) -> None:
    """test.txt comes on top: what both name, both name at one version."""
    ours, theirs = versions(engine), versions("test")
    assert {name: ours[name] for name in ours.keys() & theirs if ours[name] != theirs[name]} == {}


@pytest.mark.parametrize("engine", ENGINES)
def test_every_declared_dependency_is_locked(engine: str) -> None:
    """pyproject.toml and the lock files speak of the same things."""
    optional: dict[str, list[str]] = PROJECT["optional-dependencies"]
    declared = [*PROJECT["dependencies"], *optional[engine], *optional["train"], *optional["test"]]
    locked = versions(engine) | versions("test")
    wrong = [
        line
        for line in [*declared, MODEL_PACKAGE]
        if not _is_met(Requirement(line), locked.get(canonicalize_name(Requirement(line).name)))
    ]
    assert wrong == []


def test_the_cpu_set_is_complete() -> None:
    """With `--no-deps` nothing adds what was forgotten: all that locked packages need is locked."""
    locked = versions("cpu") | versions("test")
    installed = _installed(locked)
    assert len(installed) > 100, "run this in the environment that `make setup-test` made"
    missing = [
        f"{name} needs {wanted}"
        for name, wanted in _requirements(installed)
        if canonicalize_name(wanted.name) not in omitted("cpu")
        and not _is_met(wanted, locked.get(canonicalize_name(wanted.name)))
    ]
    assert missing == []


def _installed(names: dict[str, str]) -> dict[str, Distribution]:
    found: dict[str, Distribution] = {}
    for name in names:
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue
    return found


def _requirements(installed: dict[str, Distribution]) -> list[tuple[str, Requirement]]:
    """Return what each package needs on this machine, with the extras that others ask of it."""
    parsed = {
        name: [Requirement(line) for line in found.requires or []]
        for name, found in installed.items()
    }
    extras: defaultdict[str, set[str]] = defaultdict(lambda: {""})
    for requirements in parsed.values():
        for wanted in requirements:
            if _applies(wanted, {""}):
                extras[canonicalize_name(wanted.name)] |= wanted.extras
    return [
        (name, wanted)
        for name, requirements in parsed.items()
        for wanted in requirements
        if _applies(wanted, extras[name])
    ]


def _applies(wanted: Requirement, extras: set[str]) -> bool:
    return wanted.marker is None or any(wanted.marker.evaluate({"extra": e}) for e in extras)


def _is_met(wanted: Requirement, version: str | None) -> bool:
    return version is not None and wanted.specifier.contains(version, prereleases=True)
