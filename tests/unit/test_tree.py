"""The tree shows the loop, and stays readable: names, sizes, and what files may not hold."""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"core", "feedback", "serving", "curation", "monitoring", "retrain", "loop"}
OTHER_CODE = {"tests", "docs", "deploy", "bench"}
MAX_LINES = 500
FORBIDDEN_NAMES = {"utils", "util", "common", "base", "manager", "helpers", "helper", "misc"}
# Folders of somebody's own machine; not SageMaker's, which every job there has. Written so that
# this file does not match itself.
MACHINE_PATH = re.compile(r"(?<![\w.~$}/-])/(?:work|root|home|Users|mnt|opt)/(?!ml/)[\w.]")
# A package index is the reader's own affair: files name packages and versions, never a server.
INDEX_HOST = re.compile(
    r"https?://[^/\s\"')]*(?:pypi|pythonhosted|npmjs|registry|artifactory|nexus|debian|mirror)",
    re.IGNORECASE,
)


def tracked_files() -> list[Path]:
    """Return what git holds or would take."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def python_files() -> list[Path]:
    return [path for path in tracked_files() if path.suffix == ".py"]


def texts() -> Iterator[tuple[str, str]]:
    """Yield name and text of each tracked file that is text."""
    for path in tracked_files():
        try:
            yield path.relative_to(ROOT).as_posix(), path.read_text()
        except UnicodeDecodeError:
            continue


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_top_level_packages_are_the_stages_of_the_loop() -> None:
    """No package stands beside the seven, and none of the seven is missing."""
    found = {
        path.relative_to(ROOT).parts[0] for path in python_files() if path.parent != ROOT
    } - OTHER_CODE
    assert found == PACKAGES


def test_no_python_file_lies_in_the_root() -> None:
    """Code belongs to a stage."""
    assert [path.name for path in python_files() if path.parent == ROOT] == []


def test_import_linter_checks_every_package() -> None:
    """A package that the layers do not know would escape them."""
    assert set(project()["tool"]["importlinter"]["root_packages"]) == PACKAGES


def test_coverage_is_demanded_of_exactly_the_pure_modules() -> None:
    """What import-linter holds to be pure is what `make test` wants every branch of."""
    tools = project()["tool"]
    pure = next(
        contract["source_modules"]
        for contract in tools["importlinter"]["contracts"]
        if contract["name"].startswith("Pure decisions")
    )
    files = [name.replace(".", "/") + ".py" for name in sorted(pure)]
    assert tools["coverage"]["run"]["include"] == files


def test_no_file_is_longer_than_a_reader_bears() -> None:
    """A file over the limit holds more than one noun."""
    lengths = {str(path.relative_to(ROOT)): _lines(path) for path in python_files()}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}


def test_modules_are_named_by_what_they_hold() -> None:
    """`utils` and its like say nothing."""
    bad = [
        str(path.relative_to(ROOT))
        for path in python_files()
        if FORBIDDEN_NAMES & {path.stem, *path.relative_to(ROOT).parts}
    ]
    assert bad == []


def test_every_module_of_ours_opens_with_a_docstring() -> None:
    """A module says which part of the loop it is."""
    silent = [
        str(path.relative_to(ROOT))
        for path in python_files()
        if path.relative_to(ROOT).parts[0] in PACKAGES
        and ast.get_docstring(ast.parse(path.read_text())) is None
    ]
    assert silent == []


def test_no_path_of_a_machine_is_written_down() -> None:
    """What runs here must run anywhere."""
    assert _matches(MACHINE_PATH) == []


def test_no_package_index_is_named() -> None:
    """Lock files and scripts work with whatever index the reader has set."""
    assert _matches(INDEX_HOST) == []


@pytest.mark.parametrize(
    ("pattern", "bad", "good"),
    [
        (MACHINE_PATH, "open('/ro" + "ot/x')", "open('~/x'); see docs/opt/(?!ml/)y; {home}/z"),
        (INDEX_HOST, "see https://py" + "pi.org/x", "see https://arxiv.org/abs/1234"),
    ],
)
def test_the_patterns_find_what_they_look_for(
    pattern: re.Pattern[str], bad: str, good: str
) -> None:
    """A pattern that never matches would prove nothing."""
    assert pattern.search(bad)
    assert not pattern.search(good)


def test_every_import_is_a_declared_dependency() -> None:
    """What the packages import comes with the package, not by the grace of something else."""
    providers = packages_distributions()
    imported = {
        name
        for path in python_files()
        if path.relative_to(ROOT).parts[0] in PACKAGES
        for name in _imported(path)
    }
    undeclared = {
        name
        for name in imported
        if name in providers and not {_normal(dist) for dist in providers[name]} & _declared()
    }
    assert undeclared == set()


def _declared() -> set[str]:
    table = project()["project"]
    optional: dict[str, list[str]] = table["optional-dependencies"]
    runtime = [line for extra, lines in optional.items() if extra != "test" for line in lines]
    names = [re.split(r"[\s<>=!~\[;]", line)[0] for line in [*table["dependencies"], *runtime]]
    return {_normal(name) for name in [*names, table["name"]]}


def _imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def _matches(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]
