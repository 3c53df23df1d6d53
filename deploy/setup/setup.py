"""Makes a checkout ready to run: `.venv` with the locked packages, and the model.

Runs on a bare Python 3.11 (standard library only), from `make setup` and `make setup-test`.
Each step leaves a stamp with the hash of what it was made from, so running it again does
only what changed, and nothing in well under a second. Packages are installed with
`--no-deps` from complete lock files: what is not in them cannot come in (see omitted.py).

    python3.11 deploy/setup/setup.py [--engine cpu|gpu] [--test]
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import chromium
import machine
from lock import ROOT, TORCH_CPU_INDEX, lock_file, read_pins
from omitted import omitted
from progress import Progress

VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMPS = VENV / "ratchet-setup.json"
LOG = VENV / "ratchet-setup.log"
MODEL = ROOT / "models" / "smollm2-135m-instruct"
PIP = (PYTHON, "-m", "pip", "--disable-pip-version-check", "--no-input")
ENVIRONMENT = {
    "PYTHONUNBUFFERED": "1",
    "DEBIAN_FRONTEND": "noninteractive",
    "DS_BUILD_OPS": "0",  # deepspeed builds what it uses when it uses it, if at all
}
INSTALL = (*PIP, "install", "--no-deps", "--no-compile", "--progress-bar", "off")
# Never imported here, or by tests of the packages only: their bytecode can wait.
NOT_COMPILED = r"/(tests?|testing|anthropic)/|/transformers/models/(?!auto/|llama/)"
LARGE_MB = 20.0

Command = list[str | Path]


class SetupError(Exception):
    """A step failed; the message says what to do."""


@dataclass(frozen=True)
class Step:
    """A piece of set-up; done when the stamp under `name` equals `stamp` and `made` is there."""

    name: str
    title: str
    stamp: str
    run: Callable[[Progress], None]
    made: Path | None = None


def main() -> None:
    """Bring the checkout up to date and say how it went."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=("cpu", "gpu"), default=None)
    parser.add_argument("--test", action="store_true", help="also what tests and checks need")
    arguments = parser.parse_args()
    lock = os.open(ROOT, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)  # two `make` at once: the second waits, then has nothing to do
    engine: str = arguments.engine or read_stamps().get("engine", "cpu")
    try:
        set_up(engine, with_tests=arguments.test)
    except SetupError as error:
        sys.exit(f"\nSet-up stopped. {error}")
    except KeyboardInterrupt:
        sys.exit("\nSet-up interrupted; run it again to go on from the last finished step.")


def set_up(engine: str, *, with_tests: bool) -> None:
    """Run the steps that are not done yet.

    Raises: SetupError.
    """
    todo = pending(plan(engine, with_tests=with_tests))
    if not todo:
        return
    if faults := machine.faults(engine, ROOT, fresh=not STAMPS.is_file()):
        raise SetupError("This machine lacks something:\n" + "\n".join(f"  - {f}" for f in faults))
    for warning in machine.warnings(engine):
        print(f"Note: {warning}")
    progress = Progress(len(todo))
    for step in todo:
        progress.begin(step.title)
        try:
            step.run(progress)
        except SetupError:
            progress.end_line()
            raise
        _write_stamps({**read_stamps(), "engine": engine, step.name: step.stamp})
        progress.done()
    print(f"Set-up is complete: {VENV.relative_to(ROOT)} with the {engine} engine.")


def plan(engine: str, *, with_tests: bool) -> list[Step]:
    """Return all steps for `engine`, in order, whether done or not."""
    pins, test_pins = lock_file(engine), lock_file("test")
    torch = next(pin for pin in read_pins(pins) if pin.startswith("torch=="))
    place = _hash(str(ROOT), engine)  # an environment cannot be moved, or hold both engines
    packages = _hash(place, pins.read_text())
    tests = _hash(packages, test_pins.read_text())
    project = _hash(packages, (ROOT / "pyproject.toml").read_text())
    steps = [
        Step("environment", "virtual environment", place, _make_environment),
        Step("torch", torch, _hash(place, torch), lambda p: _install_torch(torch, engine, p)),
        Step("packages", f"{engine} packages", packages, lambda p: _install(pins, p)),
        Step("project", "ratchet itself", project, _install_project),
        Step("complete", "completeness", packages, lambda p: _check_complete(engine)),
        Step("bytecode", "bytecode", packages, _compile),
        Step("model", "model", packages, _prepare_model, made=MODEL / "config.json"),
    ]
    if with_tests:
        steps.append(Step("tests", "test packages", tests, lambda p: _install(test_pins, p)))
        steps.append(Step("tested", "completeness", tests, lambda p: _check_complete(engine)))
        steps.append(_browser_step())
    return steps


def _browser_step() -> Step:
    """Return the step that brings a browser; where it cannot, it is done once it has said so."""
    installed = chromium.INSTALLED if chromium.can_install() else None
    browser = chromium.find_chromium() or installed
    return Step("browser", "browser", _hash("chromium"), install_browser, made=browser)


def pending(steps: list[Step]) -> list[Step]:
    """Return the steps to run; a new environment makes all of them pending."""
    stamps = read_stamps()
    if stamps.get("environment") != steps[0].stamp:
        return steps
    return [s for s in steps if stamps.get(s.name) != s.stamp or (s.made and not s.made.exists())]


def read_stamps() -> dict[str, str]:
    """Return what the last set-up left: the engine, and a hash for each finished step."""
    return json.loads(STAMPS.read_text()) if STAMPS.is_file() and PYTHON.exists() else {}


def _write_stamps(stamps: dict[str, str]) -> None:
    partial = STAMPS.with_suffix(".partial")
    partial.write_text(json.dumps(stamps, indent=1))
    partial.replace(STAMPS)


def _make_environment(progress: Progress) -> None:
    if VENV.exists():
        progress.note("replacing .venv", passing=False)
    shutil.rmtree(VENV, ignore_errors=True)
    venv.EnvBuilder(with_pip=True, symlinks=True).create(VENV)


def _install_torch(pin: str, engine: str, progress: Progress) -> None:
    """Install torch alone and first: it is the one package whose builds differ by index."""
    try:
        _run([*INSTALL, pin], progress)
    except SetupError:
        if engine != "cpu":
            raise
        progress.note("not in the configured index; asking PyTorch's own", passing=False)
        _run([*INSTALL, "--index-url", TORCH_CPU_INDEX, pin], progress)
    asked = "import importlib.metadata as m; print(m.version('torch'))"
    version = subprocess.run([PYTHON, "-c", asked], capture_output=True, text=True).stdout.strip()
    if version.endswith("+cpu") != (engine == "cpu"):
        raise SetupError(
            f"The package index gave torch {version or '(none)'}, which is not a build for "
            f"{engine}: point pip at an index that has {pin}"
        )


def _install(pins: Path, progress: Progress) -> None:
    total, seen = len(read_pins(pins)), 0

    def show(line: str) -> None:
        nonlocal seen
        words = line.split()
        if line.startswith(("Collecting ", "Requirement already satisfied: ")):
            seen += 1
            progress.note(f"{seen}/{total} {words[1] if words[0] == 'Collecting' else words[3]}")
        elif words[:1] == ["Downloading"] and megabytes(line) >= LARGE_MB:
            progress.note(f"{seen}/{total} downloading {_file(line)}", passing=False)
        elif line.startswith("Installing collected"):
            progress.note(f"unpacking {total} packages", passing=False)

    run_in_log([*INSTALL, "-r", pins], show)


def megabytes(line: str) -> float:
    """Return the size at the end of pip's `Downloading https://…/x.whl (12.3 MB)`."""
    size = line.rpartition("(")[2].strip(")\n ").split()
    return float(size[0]) if len(size) == 2 and size[1] == "MB" else 0.0


def _file(line: str) -> str:
    _, address, size = line.split(maxsplit=2)
    return f"{address.rpartition('/')[2]} {size.strip()}"


def _install_project(progress: Progress) -> None:
    _run([*INSTALL, "--no-build-isolation", "--editable", ROOT], progress)


def _check_complete(engine: str) -> None:
    """Raise unless all that pip misses is left out on purpose."""
    checked = subprocess.run([*PIP, "check"], capture_output=True, text=True, cwd=ROOT)
    forgiven = tuple(f" requires {name}, which is not installed." for name in omitted(engine))
    missing = [
        line
        for line in checked.stdout.splitlines()
        if not line.endswith(forgiven) and line != "No broken requirements found."
    ]
    if missing:
        raise SetupError("The locked packages do not fit together:\n  " + "\n  ".join(missing))


def _compile(progress: Progress) -> None:
    """Compile on all cores what pip would have compiled on one.

    Packages carry a few files that no Python can compile: their faults are not ours.
    """
    site = next((VENV / "lib").glob("python*/site-packages"))
    command = [PYTHON, "-m", "compileall", "-qq", "-j", "0", "-x", NOT_COMPILED, site]
    subprocess.run(command, capture_output=True)


def _prepare_model(progress: Progress) -> None:
    progress.note(f"converting to {MODEL.relative_to(ROOT)}")
    _run([PYTHON, "-m", "retrain.model", MODEL], progress)


def install_browser(progress: Progress) -> None:
    """Bring chromium to the path, or say how; without the right to install that is no error.

    Raises: SetupError when apt-get fails.
    """
    if chromium.find_chromium() is not None:
        return
    if not chromium.can_install():
        commands = " && ".join(" ".join(command) for command in chromium.INSTALL_COMMANDS)
        progress.note(f"no chromium, tests in it are skipped. As root: {commands}", passing=False)
        return
    for command in chromium.INSTALL_COMMANDS:
        _run(list(command), progress)
    if chromium.find_chromium() is None:
        raise SetupError(f"apt-get brought no chromium to the path: its words are in {LOG}")


def _run(command: Command, progress: Progress) -> None:
    run_in_log(command, lambda line: progress.note(line.strip()))


def run_in_log(command: Command, on_line: Callable[[str], None]) -> None:
    """Run `command`, hand on each line that it prints, and keep them in the log.

    Raises: SetupError with the last lines if it fails.
    """
    tail: deque[str] = deque(maxlen=12)
    with LOG.open("a") as log:
        log.write(f"$ {' '.join(map(str, command))}\n")
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            env={**os.environ, **ENVIRONMENT},
        )
        with process:
            for line in process.stdout or ():
                log.write(line)
                tail.append(line.rstrip())
                on_line(line)
    if process.returncode != 0:
        raise SetupError(_failure(command, tail))


def _failure(command: Command, tail: Iterable[str]) -> str:
    words = " ".join(str(part) for part in command[1:4])
    text = "\n  ".join([f"{words} … failed:", *tail, f"All of its output: {LOG}"])
    if "pip" not in command:
        return text
    return f"{text}\nIf the package index could not be reached, check network and proxy, and go on."


def _hash(*parts: str) -> str:
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()


if __name__ == "__main__":
    main()
