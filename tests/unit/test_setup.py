"""Set-up does only what is not done yet, and says what a machine lacks."""

import json
import os
from pathlib import Path

import chromium
import machine
import pytest
import setup


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point the set-up at an empty folder; the lock files stay those of the repository."""
    environment = tmp_path / ".venv"
    (environment / "bin").mkdir(parents=True)
    for name, path in {
        "VENV": environment,
        "PYTHON": environment / "bin" / "python",
        "STAMPS": environment / "ratchet-setup.json",
        "LOG": environment / "ratchet-setup.log",
        "MODEL": tmp_path / "model",
    }.items():
        monkeypatch.setattr(setup, name, path)
    monkeypatch.setattr(chromium, "INSTALLED", tmp_path / "bin" / "chromium")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    write_program(tmp_path, "chromium")
    return tmp_path


def write_program(checkout: Path, name: str, script: str = "") -> None:
    """Put a program on the path, which has no others."""
    folder = checkout / "bin"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def finish(checkout: Path, engine: str, *, with_tests: bool) -> None:
    """Leave behind what a whole set-up leaves."""
    setup.PYTHON.touch()
    setup.MODEL.mkdir()
    (setup.MODEL / "config.json").touch()
    stamps = {step.name: step.stamp for step in setup.plan(engine, with_tests=with_tests)}
    setup.STAMPS.write_text(json.dumps({"engine": engine} | stamps))


def names(steps: list[setup.Step]) -> list[str]:
    return [step.name for step in steps]


def test_a_fresh_checkout_needs_every_step(checkout: Path) -> None:
    """Nothing is there, so everything is to be done, the environment first."""
    todo = setup.pending(setup.plan("cpu", with_tests=False))
    assert names(todo)[0] == "environment"
    assert {"torch", "packages", "project", "model"} <= set(names(todo))


def test_a_finished_checkout_needs_nothing(checkout: Path) -> None:
    """The second call does nothing."""
    finish(checkout, "cpu", with_tests=True)
    assert setup.pending(setup.plan("cpu", with_tests=True)) == []


def test_test_packages_come_on_top(checkout: Path) -> None:
    """`make test` after `make demo` adds only what tests need."""
    finish(checkout, "cpu", with_tests=False)
    assert names(setup.pending(setup.plan("cpu", with_tests=True))) == [
        "tests",
        "tested",
        "browser",
    ]


def test_another_engine_means_a_new_environment(checkout: Path) -> None:
    """The two builds of vLLM never meet in one environment."""
    finish(checkout, "cpu", with_tests=False)
    assert names(setup.pending(setup.plan("gpu", with_tests=False)))[0] == "environment"


def test_a_deleted_model_is_made_again(checkout: Path) -> None:
    """A stamp says that a step was done, not that its result is still there."""
    finish(checkout, "cpu", with_tests=False)
    (setup.MODEL / "config.json").unlink()
    assert names(setup.pending(setup.plan("cpu", with_tests=False))) == ["model"]


def test_a_deleted_environment_is_made_again(checkout: Path) -> None:
    """Without its Python an environment is none, whatever the stamps say."""
    finish(checkout, "cpu", with_tests=False)
    setup.PYTHON.unlink()
    assert names(setup.pending(setup.plan("cpu", with_tests=False)))[0] == "environment"


def test_a_browser_that_went_away_is_installed_again(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where packages can be installed the browser is part of the set-up, found again or not."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    finish(checkout, "cpu", with_tests=True)
    (checkout / "bin" / "chromium").unlink()
    told = checkout / "told"
    write_program(
        checkout,
        "apt-get",
        f'echo "$DEBIAN_FRONTEND $*" >> {told}\n'
        f"[ $1 = update ] || /bin/cp {checkout}/bin/apt-get {checkout}/bin/chromium",
    )
    todo = setup.pending(setup.plan("cpu", with_tests=True))
    assert names(todo) == ["browser"]
    setup.install_browser(setup.Progress(1))
    update, install = told.read_text().splitlines()
    assert update == "noninteractive update"
    assert install.startswith("noninteractive install -y --no-install-recommends")
    assert install.endswith("chromium")
    assert chromium.find_chromium() == checkout / "bin" / "chromium"


def test_a_browser_that_cannot_be_installed_is_only_told(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the right to install, set-up goes on and says the commands, once."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    (checkout / "bin" / "chromium").unlink()
    finish(checkout, "cpu", with_tests=True)
    assert setup.pending(setup.plan("cpu", with_tests=True)) == []
    setup.install_browser(setup.Progress(1))
    assert "As root: apt-get update && apt-get install -y" in capsys.readouterr().out


def test_a_browser_that_apt_cannot_bring_stops_the_set_up(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message carries apt's own words."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (checkout / "bin" / "chromium").unlink()
    write_program(checkout, "apt-get", "echo no such host; exit 100")
    with pytest.raises(setup.SetupError, match="no such host"):
        setup.install_browser(setup.Progress(1))


def test_a_failed_command_is_reported_with_its_last_words(checkout: Path) -> None:
    """Whoever reads the error need not look for the log first."""
    command: list[str | Path] = ["/bin/sh", "-c", "echo all is lost; exit 3"]
    with pytest.raises(setup.SetupError, match=r"all is lost(.|\n)*ratchet-setup.log"):
        setup.run_in_log(command, lambda line: None)


@pytest.mark.parametrize(
    ("line", "megabytes"),
    [
        ("  Downloading https://host/a-1.0.whl (132.7 MB)\n", 132.7),
        ("  Downloading https://host/a-1.0.whl (9.7 kB)\n", 0.0),
        ("Collecting a==1.0\n", 0.0),
    ],
)
def test_download_sizes_are_read(line: str, megabytes: float) -> None:
    """Only large downloads are worth a line."""
    assert setup.megabytes(line) == megabytes


def test_a_full_disk_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says how much is free and how much is needed."""
    monkeypatch.setitem(machine.NEEDED_GB, "cpu", 1e6)
    faults = machine.faults("cpu", tmp_path, fresh=True)
    assert any("1000000 GB needed" in fault for fault in faults)


def test_another_python_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The locked packages were chosen for one version."""
    monkeypatch.setattr(machine, "PYTHON", (3, 9))
    assert any("is not 3.9" in fault for fault in machine.faults("cpu", tmp_path, fresh=False))
